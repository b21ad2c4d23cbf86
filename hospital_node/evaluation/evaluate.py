"""From a submission to a report: who asks, how often, on what, and the means of what came out.

The order matters. Whatever can be refused is refused before the model's process sees an image; the budget is
spent before the first one, whatever becomes of it; masks stay in this process.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from hospital_node.evaluation import policy as evaluation_policy
from hospital_node.evaluation.policy import EvaluationPolicy, Submitter
from hospital_node.evaluation.predict import Predictor, open_predictor
from hospital_node.intake.pairing import SINGLE_CLASS
from hospital_node.ledger import ImageRecord, ImageState
from hospital_node.node import Node
from sharekit import dsse
from sharekit.errors import PolicyError
from sharekit.evaluation_report import EvaluationReport
from sharekit.progress import Progress, ProgressCallback, ignore
from sharekit.segmentation_metrics import ImageScores, mean_scores, score_image
from sharekit.segmenter import SegmenterContract
from sharekit.submission import SignedSubmission, Submission

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
        PolicyError: an unregistered submitter, a spent budget, or too few hold-out images of a class.
        VerificationError: the model is refused, or does not run as it should. From its first image on the
            evaluation is spent all the same.
    """
    submission = signed.submission
    policy = evaluation_policy.load_policy(node.root / evaluation_policy.NAME)
    submitter = _registered(policy, submission)
    budget, fingerprint = policy.budget_of(submitter), submission.public_key.fingerprint
    with node.training_lock():
        stored = node.ledger.evaluation_report(submission.sha256)
        if stored is not None:
            report = EvaluationReport.from_statement(dsse.Statement.from_json(json.loads(stored)))
            return Evaluation(report, submitter.name, True, node.ledger.evaluations(fingerprint), budget)
        records = _hold_out(node, submission.contract, policy.min_images)
        with open_predictor(signed.model, submission.contract, policy.limits, threads=threads) as predictor:
            number = node.ledger.spend_evaluation(
                submission.sha256, fingerprint, budget=budget, hold_out_budget=policy.hold_out_budget
            )
            scores = _scores(node, records, predictor, submission.contract, on_progress)
        report = _report(node, submission, policy, records, scores, now or datetime.now(UTC))
        node.ledger.keep_report(number, json.dumps(report.to_statement().to_json()))
    return Evaluation(report, submitter.name, False, node.ledger.evaluations(fingerprint), budget)


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
        PolicyError: too few images of a class.
    """
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
    wanted = {_stored(name) for name in contract.classes}
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
        pair = node.load_pair(record.id)
        raw = predictor.predict(contract.prepare(pair.image))
        probabilities = contract.probabilities(raw[None])[0]
        for name, probability in zip(contract.classes, probabilities, strict=True):
            if _stored(name) in pair.masks:
                truth = contract.prepare_mask(pair.masks[_stored(name)])
                scores[name].append(score_image(probability, truth, threshold=contract.threshold))
    on_progress(Progress(len(records), len(records)))
    return scores


def _report(
    node: Node,
    submission: Submission,
    policy: EvaluationPolicy,
    records: Sequence[ImageRecord],
    scores: Mapping[str, list[ImageScores]],
    now: datetime,
) -> EvaluationReport:
    keys = sorted(record.content_key for record in records)
    return EvaluationReport(
        model_sha256=submission.model_sha256,
        submission_sha256=submission.sha256,
        submitter=submission.public_key.fingerprint,
        hospital=node.hospital,
        date=now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        hold_out=node.commit(json.dumps(["hold-out", *keys]).encode()),
        images=len(records),
        decimals=policy.decimals,
        classes={name: mean_scores(values) for name, values in scores.items()},
    ).rounded()
