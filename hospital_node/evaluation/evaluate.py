"""From a submission to a report: who asks, how often, on what, and the means of what came out.

The order matters. Whatever can be refused is refused, and whatever of the node can fail is tried, before the
model's process sees an image; the budget is spent before the first one, whatever becomes of it; masks stay in
this process.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hospital_node.evaluation import evaluation_policy
from hospital_node.evaluation.evaluation_policy import EvaluationPolicy, Submitter
from hospital_node.evaluation.predict import Predictor, open_predictor
from hospital_node.intake.pairing import SINGLE_CLASS
from hospital_node.ledger.ledger import ImageRecord, ImageState
from hospital_node.node.node import Node, Pair
from sharekit.errors import NodeStateError, PolicyError, SharekitError, VerificationError
from sharekit.intervals import Interval
from sharekit.program.progress import Progress, ProgressCallback, ignore
from sharekit.segmenter.contract import SegmenterContract
from sharekit.segmenter.evaluation_report import EvaluationReport, coarse_interval
from sharekit.segmenter.metrics import METRICS, ImageScores, score_image
from sharekit.segmenter.submission import SignedSubmission, Submission
from sharekit.signing import dsse

UNNAMED_CLASS = "mask"
"""What a consumer's reader calls the masks that lie in `masks/` itself; intake calls them `SINGLE_CLASS`."""


@dataclass(frozen=True)
class Evaluation:
    """What becomes of a submission that was not refused."""

    report: EvaluationReport
    submitter: str  # name in the policy
    repeated: bool  # the stored report of an earlier evaluation; nothing was spent
    spent: int  # evaluations of this submitter, this one included
    budget: int

    def to_json(self) -> dict[str, Any]:
        return {
            "repeated": self.repeated,
            "submitter": self.submitter,
            "spent": self.spent,
            "budget": self.budget,
            **self.report.to_statement().to_json()["predicate"],
        }


def evaluate(
    node: Node,
    signed: SignedSubmission,
    *,
    threads: int = 1,
    now: datetime | None = None,
    on_progress: ProgressCallback = ignore,
) -> Evaluation:
    """Evaluate a submission on the node's hold-out, or give its stored report again.

    Args:
        node: its training lock is taken.
        signed: as `read_submission` gave it.
        threads: of the process that runs the model.
        now: time of the evaluation, UTC; None reads the clock.
        on_progress: called after every image.

    Raises:
        PolicyError: an unregistered submitter, a spent budget, too few hold-out images of a class, or a class
            by two names.
        NodeStateError: a stored image is damaged, or the hospital has a name that no report may hold.
        VerificationError: the model is refused, or does not run as it should. From its first image on the
            evaluation is spent all the same, and the error says so.
        KeyboardInterrupt: with what it has cost, where it has cost anything.
    """
    submission = signed.submission
    with node.training_lock():
        policy = evaluation_policy.load_policy(node.root / evaluation_policy.NAME)
        submitter = _registered(policy, submission)
        stored = _stored_report(node, submission)
        report = stored or _new_report(
            node, signed, policy, submitter, threads, now or datetime.now(UTC), on_progress
        )
        spent = node.ledger.evaluations(submitter.fingerprint)
    return Evaluation(report, submitter.name, stored is not None, spent, policy.budget_of(submitter))


def _stored_report(node: Node, submission: Submission) -> EvaluationReport | None:
    stored = node.ledger.evaluation_report(submission.sha256)
    if stored is None:
        return None
    return EvaluationReport.from_statement(dsse.Statement.from_json(json.loads(stored)))


def _new_report(
    node: Node,
    signed: SignedSubmission,
    policy: EvaluationPolicy,
    submitter: Submitter,
    threads: int,
    now: datetime,
    on_progress: ProgressCallback,
) -> EvaluationReport:
    """Spend an evaluation, and keep what it gave in the ledger."""
    submission, contract = signed.submission, signed.submission.contract
    budget = policy.budget_of(submitter)
    records = _hold_out(node, contract, policy.min_images)
    blank = _blank_report(node, submission, policy, records, now)
    for record in records:
        _prepared(node.load_pair(record.id), contract)
    with _telling_its_cost(node, submitter.fingerprint, budget):
        with open_predictor(signed.model, contract, policy.limits, threads=threads) as predictor:
            number = node.ledger.spend_evaluation(
                submission.sha256,
                submitter.fingerprint,
                budget=budget,
                hold_out_budget=policy.hold_out_budget,
            )
            scores = _scores(node, records, predictor, contract, on_progress)
        report = dataclasses.replace(blank, classes=_figures(scores, policy.decimals))
        node.ledger.keep_report(number, json.dumps(report.to_statement().to_json()))
    return report


@contextlib.contextmanager
def _telling_its_cost(node: Node, fingerprint: str, budget: int) -> Iterator[None]:
    """What stops an evaluation that was spent in the block says so, and that the same again costs another."""
    before = node.ledger.evaluations(fingerprint)
    try:
        yield
    except (SharekitError, KeyboardInterrupt) as error:
        spent = node.ledger.evaluations(fingerprint)
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


def _hold_out(node: Node, contract: SegmenterContract, min_images: int) -> list[ImageRecord]:
    """The hold-out images with a mask of any class of the contract; enough of every class.

    Raises:
        PolicyError: too few images of a class, or two names of one class: two predictions for one evaluation.
    """
    wanted = {_stored(name) for name in contract.classes}
    if len(wanted) < len(contract.classes):
        raise PolicyError(
            "submission",
            expected="every class once",
            found=f"{UNNAMED_CLASS!r} and {SINGLE_CLASS!r}, which are the same masks",
            next_step="submit a model with one output for them",
        )
    held_out = node.ledger.records(ImageState.HELD_OUT)
    for name in contract.classes:
        count = sum(_stored(name) in record.mask_classes for record in held_out)
        if count < min_images:
            raise PolicyError(
                "hold-out",
                expected=f"at least {min_images} images with a mask of the class {name!r}",
                found=str(count),
                next_step="bring more in with `hospital-node ingest --hold-out`, or submit with a class "
                "that the hold-out has (--classes)",
            )
    return [record for record in held_out if wanted & set(record.mask_classes)]


def _stored(name: str) -> str:
    """The node's word for a class of a contract."""
    return SINGLE_CLASS if name == UNNAMED_CLASS else name


def _scores(
    node: Node,
    records: Sequence[ImageRecord],
    predictor: Predictor,
    contract: SegmenterContract,
    on_progress: ProgressCallback,
) -> Mapping[str, list[ImageScores]]:
    """Of every class the scores of the images that have its mask."""
    scores: dict[str, list[ImageScores]] = {name: [] for name in contract.classes}
    for number, record in enumerate(records):
        on_progress(Progress(number, len(records)))
        image, truths = _prepared(node.load_pair(record.id), contract)
        probabilities = contract.probabilities(predictor.predict(image)[None])[0]
        for name, probability in zip(contract.classes, probabilities, strict=True):
            if name in truths:
                scores[name].append(score_image(probability, truths[name], threshold=contract.threshold))
    on_progress(Progress(len(records), len(records)))
    return scores


def _prepared(
    pair: Pair, contract: SegmenterContract
) -> tuple[NDArray[np.float32], Mapping[str, NDArray[np.bool_]]]:
    """One input of the model, and by class the truth about it, where the image has a mask of the class."""
    truths = {
        name: contract.prepare_mask(pair.masks[_stored(name)])
        for name in contract.classes
        if _stored(name) in pair.masks
    }
    return contract.prepare(pair.image), truths


def _figures(
    scores: Mapping[str, Sequence[ImageScores]], decimals: int
) -> Mapping[str, Mapping[str, Interval]]:
    """All that is told of the scores."""
    return {
        name: {
            metric: coarse_interval(fmean(getattr(one, metric) for one in values), len(values), decimals)
            for metric in METRICS
        }
        for name, values in scores.items()
    }


def _blank_report(
    node: Node,
    submission: Submission,
    policy: EvaluationPolicy,
    records: Sequence[ImageRecord],
    now: datetime,
) -> EvaluationReport:
    """A report as it will be, with zeros for figures.

    Raises:
        NodeStateError: its schema does not allow it.
    """
    keys = sorted(record.content_key for record in records)
    nothing = ImageScores(*[0.0] * len(METRICS))
    blank = EvaluationReport(
        model_sha256=submission.model_sha256,
        submission_sha256=submission.sha256,
        submitter=submission.public_key.fingerprint,
        hospital=node.hospital,
        date=now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        hold_out=node.commit(json.dumps(["hold-out", *keys]).encode()),
        images=len(records),
        decimals=policy.decimals,
        classes=_figures(
            {
                name: [nothing for record in records if _stored(name) in record.mask_classes]
                for name in submission.contract.classes
            },
            policy.decimals,
        ),
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
