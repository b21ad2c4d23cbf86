"""Evaluate a submission: check who asks and how often, run the model, report noised means of its scores.

The order matters. Every refusal, and every step of the node that can fail, comes before the model's process
sees an image. The budget is spent before the first image, even if the evaluation fails later. Masks stay in
this process. A model that fails on an image gets the worst scores for that image and no error, because a
model could be made to fail on one person's images.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hospital_node.evaluation import evaluation_policy
from hospital_node.evaluation.evaluation_policy import EvaluationPolicy, Submitter
from hospital_node.evaluation.noised_means import mean_by_unit, noised_means, reported_metrics
from hospital_node.evaluation.predict import Predictor, open_predictor
from hospital_node.ledger.ledger import ImageRecord, ImageState
from hospital_node.node import history
from hospital_node.node.node import Node
from hospital_node.node.pair import Pair
from hospital_node.node.units import units
from sharekit.errors import NodeStateError, PolicyError, SharekitError, VerificationError
from sharekit.pictures.folder import FORMER_SINGLE_CLASS, SINGLE_CLASS
from sharekit.program.confinement import ESSENTIAL, Layer
from sharekit.program.interruption import termination_interrupts
from sharekit.program.progress import Progress, ProgressCallback, ignore
from sharekit.segmenter.contract import SegmenterContract
from sharekit.segmenter.evaluation_report import EvaluationReport
from sharekit.segmenter.metrics import WORST, ImageScores, score_image
from sharekit.segmenter.submission import SignedSubmission, Submission
from sharekit.signing import dsse


@dataclass(frozen=True)
class Process:
    """How the model's process went. For the hospital alone: no noise protects it."""

    layers: Layer  # that confined it
    failures: int  # images without a sound answer


@dataclass(frozen=True)
class Evaluation:
    """The result of a submission that was not refused."""

    report: EvaluationReport
    submitter: str  # name in the policy
    spent: int  # evaluations of this submitter, this one included
    budget: int
    epsilon_spent: float  # by all evaluations of this submitter, this one included
    epsilon_budget: float
    process: Process | None
    """None for the stored report of an earlier evaluation, which spent nothing."""

    @property
    def repeated(self) -> bool:
        """Whether the report is that of an earlier evaluation."""
        return self.process is None

    def to_json(self) -> dict[str, Any]:
        """The report's statement, and what it cost."""
        return {
            "repeated": self.repeated,
            "submitter": self.submitter,
            "spent": self.spent,
            "budget": self.budget,
            "epsilon_spent": self.epsilon_spent,
            "epsilon_budget": self.epsilon_budget,
            "confinement": self.process and self.process.layers.labels,
            "failures": self.process and self.process.failures,
            **self.report.to_statement().to_json()["predicate"],
        }


def evaluate(
    node: Node,
    signed: SignedSubmission,
    *,
    threads: int = 1,
    required: Layer = ESSENTIAL,
    now: datetime | None = None,
    on_progress: ProgressCallback = ignore,
) -> Evaluation:
    """Evaluate a submission on the node's hold-out, or return its stored report.

    Args:
        node: its write lock is taken.
        signed: the submission as `read_submission` returns it.
        threads: number of threads of the process that runs the model.
        required: layers that must confine that process.
        now: time of the evaluation, UTC; None reads the clock.
        on_progress: called after every image.

    Raises:
        PolicyError: an unregistered submitter, a spent budget, too few hold-out images of a class, a class
            by two names, or a machine that cannot confine the process.
        NodeStateError: a stored image is damaged, or the hospital has a name that no report may hold.
        VerificationError: the model is refused, or does not run as it should on a grey image.
        KeyboardInterrupt: SIGINT, SIGTERM or SIGHUP. From the first image on the evaluation is spent in every
            case; later errors say so.
    """
    submission = signed.submission
    with node.write_lock():
        policy = evaluation_policy.load_policy(node.root / evaluation_policy.NAME)
        submitter = _registered(policy, submission)
        report, process = _stored_report(node, submission), None
        if report is None:
            report, process = _new_report(
                node, signed, policy, submitter, threads, required, now or datetime.now(UTC), on_progress
            )
        return Evaluation(
            report,
            submitter.name,
            node.ledger.evaluations.count(submitter.fingerprint),
            policy.budget_of(submitter),
            node.ledger.evaluations.epsilon(submitter.fingerprint),
            policy.submitter_epsilon,
            process,
        )


def _stored_report(node: Node, submission: Submission) -> EvaluationReport | None:
    stored = node.ledger.evaluations.report(submission.sha256)
    if stored is None:
        return None
    return EvaluationReport.from_statement(dsse.Statement.from_json(json.loads(stored)))


def _new_report(
    node: Node,
    signed: SignedSubmission,
    policy: EvaluationPolicy,
    submitter: Submitter,
    threads: int,
    required: Layer,
    now: datetime,
    on_progress: ProgressCallback,
) -> tuple[EvaluationReport, Process]:
    """Spend an evaluation, and store its report in the ledger."""
    submission, contract = signed.submission, signed.submission.contract
    records = hold_out_images(node, contract, policy.min_images)
    counts = [_count_units(node, records, name) for name in contract.classes]
    metrics = reported_metrics(counts, policy.images_for_all_metrics)
    whose = {record.id: number for number, unit in enumerate(units(node, records)) for record in unit}
    blank = _blank_report(node, submission, policy, records, whose, metrics, now)
    for record in records:
        _prepared(node.load_pair(record.id), contract)
    with (
        _telling_its_cost(node, submitter.fingerprint, policy.budget_of(submitter)),
        termination_interrupts(),
    ):
        with open_predictor(
            signed.model, contract, policy.limits, threads=threads, images=len(records), required=required
        ) as predictor:
            number = node.ledger.evaluations.spend(
                submission.sha256,
                submitter.fingerprint,
                budget=policy.budget_of(submitter),
                hold_out_budget=policy.hold_out_budget,
                epsilon=policy.epsilon,
                submitter_epsilon=policy.submitter_epsilon,
                hold_out_epsilon=policy.hold_out_epsilon,
            )
            # Before any answer: a killed evaluation is spent, too.
            history.record(
                node,
                history.Action.EVALUATION,
                submission=submission.sha256,
                submitter=submitter.name,
                fingerprint=submitter.fingerprint,
                epsilon=policy.epsilon,
                images=len(records),
            )
            found = _scores(node, records, predictor, contract, on_progress)
            scores = {name: mean_by_unit(found[name], whose) for name in contract.classes}
        means = noised_means(scores, metrics, epsilon=policy.epsilon, decimals=policy.decimals)
        report = dataclasses.replace(blank, classes=means)
        node.ledger.evaluations.keep_report(number, json.dumps(report.to_statement().to_json()))
    return report, Process(predictor.layers, predictor.failures)


@contextlib.contextmanager
def _telling_its_cost(node: Node, fingerprint: str, budget: int) -> Iterator[None]:
    """Add to any error in the block that this evaluation is spent and that a repetition costs another."""
    before = node.ledger.evaluations.count(fingerprint)
    try:
        yield
    except (SharekitError, KeyboardInterrupt) as error:
        spent = node.ledger.evaluations.count(fingerprint)
        if spent == before:
            raise
        cost = (
            f"this evaluation is spent, {spent} of {budget} of this submitter; to ask again costs another one"
        )
        if isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt(f"interrupted; {cost}") from None
        raise type(error)(
            error.item,
            expected=error.expected,
            found=error.found,
            next_step=f"{error.next_step}; {cost}",
        ) from error


def _registered(policy: EvaluationPolicy, submission: Submission) -> Submitter:
    submitter = policy.submitter(submission.public_key)
    if submitter is None:
        raise PolicyError(
            "submission",
            expected="a registered submitter's signature",
            found=f"one by the key {submission.public_key.fingerprint}",
            next_step="register it with `hospital-node submitter add --node NODE --key PUB --name NAME`",
        )
    return submitter


def hold_out_images(node: Node, contract: SegmenterContract, min_images: int) -> list[ImageRecord]:
    """The hold-out images with a mask of any class of the contract, once there are enough of every class.

    Raises:
        PolicyError: a class has too few images, or two names in the contract: two predictions in one
            evaluation.
    """
    wanted = {_stored(name) for name in contract.classes}
    if len(wanted) < len(contract.classes):
        raise PolicyError(
            "submission",
            expected="every class once",
            found=f"{FORMER_SINGLE_CLASS!r} and {SINGLE_CLASS!r}, which are the same masks",
            next_step="submit a model with one output for them",
        )
    held_out = node.ledger.records(ImageState.HELD_OUT)
    for name in contract.classes:
        count = _count_units(node, held_out, name)
        if count < min_images:
            raise PolicyError(
                "hold-out",
                expected=f"at least {min_images} images of different patients, with a mask of the class "
                f"{name!r}, without copies",
                found=str(count),
                next_step="bring more in with `hospital-node ingest --hold-out`, or submit with a class "
                "that the hold-out has (--classes)",
            )
    return [record for record in held_out if wanted & set(record.mask_classes)]


def _count_units(node: Node, records: Sequence[ImageRecord], name: str) -> int:
    """How many units (patients or distinct pictures) have a mask of a class of a contract."""
    return len(units(node, [one for one in records if _stored(name) in one.mask_classes]))


def _stored(name: str) -> str:
    """The node's name for a class of a contract; segmenters of earlier releases use another name."""
    return SINGLE_CLASS if name == FORMER_SINGLE_CLASS else name


def _scores(
    node: Node,
    records: Sequence[ImageRecord],
    predictor: Predictor,
    contract: SegmenterContract,
    on_progress: ProgressCallback,
) -> Mapping[str, dict[str, ImageScores]]:
    """Class to the scores of the images that have a mask of it, by the image's identifier."""
    scores: dict[str, dict[str, ImageScores]] = {name: {} for name in contract.classes}
    for number, record in enumerate(records):
        on_progress(Progress(number, len(records)))
        image, truths = _prepared(node.load_pair(record.id), contract)
        prediction = predictor.answer(image)
        for channel, name in enumerate(contract.classes):
            if name in truths:
                scores[name][record.id] = _score(prediction, channel, truths[name], contract)
    on_progress(Progress(len(records), len(records)))
    return scores


def _prepared(
    pair: Pair, contract: SegmenterContract
) -> tuple[NDArray[np.float32], Mapping[str, NDArray[np.bool_]]]:
    """One input of the model, and the true mask of each class that the image has."""
    truths = {
        name: contract.prepare_mask(pair.masks[_stored(name)])
        for name in contract.classes
        if _stored(name) in pair.masks
    }
    return contract.prepare(pair.image), truths


def _score(
    prediction: NDArray[np.float32] | None,
    channel: int,
    truth: NDArray[np.bool_],
    contract: SegmenterContract,
) -> ImageScores:
    if prediction is None:
        return WORST
    probability = contract.probabilities(prediction[None])[0, channel]
    return score_image(probability, truth, threshold=contract.threshold)


def _blank_report(
    node: Node,
    submission: Submission,
    policy: EvaluationPolicy,
    records: Sequence[ImageRecord],
    whose: Mapping[str, int],
    metrics: Sequence[str],
    now: datetime,
) -> EvaluationReport:
    """The report that will be written, with the means of worst scores in place of figures.

    Raises:
        NodeStateError: its schema does not allow it.
    """
    keys = sorted(record.content_key for record in records)
    worst = {
        name: mean_by_unit(
            {record.id: WORST for record in records if _stored(name) in record.mask_classes}, whose
        )
        for name in submission.contract.classes
    }
    blank = EvaluationReport(
        model_sha256=submission.model_sha256,
        submission_sha256=submission.sha256,
        submitter=submission.public_key.fingerprint,
        hospital=node.hospital,
        date=now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        hold_out=node.commit(json.dumps(["hold-out", *keys]).encode()),
        images=len(records),
        decimals=policy.decimals,
        classes=noised_means(worst, metrics, epsilon=policy.epsilon, decimals=policy.decimals),
        epsilon=policy.epsilon,
    )
    try:
        return EvaluationReport.from_statement(blank.to_statement())
    except VerificationError as error:
        raise NodeStateError(
            node.root / "node.json",
            expected=error.expected,
            found=error.found,
            next_step="correct the hospital's name in that file",
        ) from error
