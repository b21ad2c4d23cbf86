"""A hospital's report on a submitted segmenter: only noisy, rounded means over its hold-out.

Reports of schema version 1, from before the noise was introduced, can still be read.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sharekit.intervals import Interval
from sharekit.segmenter import submission
from sharekit.segmenter.submission import Submission
from sharekit.signing import dsse
from sharekit.signing.keys import PublicKey, Signer
from sharekit.storage import files, schema
from sharekit.storage.budget import Budget

SCHEMA_VERSION = 2
_WITHOUT_NOISE = 1
BUDGET = Budget(2**20, max_nodes=10_000, max_depth=16, max_keys=10_000)
MECHANISM = "discrete Laplace"
NEIGHBOURS = "one patient, or picture of an unknown one, replaced by another with masks of the same classes"
INTERVALS = "95 % intervals from mean, count and noise alone, as wide as they can be; no bootstrap"
"""Explanation of a report's intervals for its readers."""
_NORMAL = 1.96  # 0.975 quantile of the normal distribution


@dataclass(frozen=True)
class EvaluationReport:
    """One evaluation. Law: `from_statement(to_statement(x)) == x`."""

    model_sha256: str
    submission_sha256: str
    submitter: str  # fingerprint of the submitter's key
    hospital: str
    date: str  # UTC, RFC 3339
    hold_out: str
    """Keyed commitment to the hold-out, equal in reports about the same images."""
    images: int  # number of evaluated hold-out images
    decimals: int  # decimals of every rounded figure
    classes: Mapping[str, Mapping[str, Interval]]
    """Class to metric to `reported_interval`; a class counts only images that have its mask."""
    epsilon: float | None = None
    """Epsilon of all figures together, for one replaced patient; None in a report without noise."""

    @property
    def protection(self) -> str:
        """A description of how the figures are protected."""
        if self.epsilon is None:
            return "rounded, without noise"
        return f"noise of epsilon {self.epsilon:g} on all figures together, for one patient"

    def to_statement(self) -> dsse.Statement:
        version = _WITHOUT_NOISE if self.epsilon is None else SCHEMA_VERSION
        protection = {"mechanism": MECHANISM, "neighbours": NEIGHBOURS, "epsilon": self.epsilon}
        return dsse.Statement(
            (
                dsse.Subject(submission.MODEL_NAME, self.model_sha256),
                dsse.Subject(submission.STATEMENT_NAME, self.submission_sha256),
            ),
            f"urn:sharekit:evaluation:v{version}",
            {
                "schema_version": version,
                "submitter": self.submitter,
                "hospital": self.hospital,
                "date": self.date,
                "hold_out": {"digest": {"hmac-sha256": self.hold_out}, "images": self.images},
                "decimals": self.decimals,
                **({} if self.epsilon is None else {"protection": protection}),
                "classes": {
                    name: {metric: interval.to_json() for metric, interval in metrics.items()}
                    for name, metrics in self.classes.items()
                },
            },
        )

    @staticmethod
    def from_statement(statement: dsse.Statement, item: object = "report") -> EvaluationReport:
        """Read a statement.

        Raises:
            VerificationError: naming `item`; it does not fit the schema, or reveals more than rounded means.
        """
        schema.validate("evaluation", statement.to_json(), item)
        predicate: Mapping[str, Any] = statement.predicate
        model, signed = statement.subjects
        report = EvaluationReport(
            model.sha256,
            signed.sha256,
            predicate["submitter"],
            predicate["hospital"],
            predicate["date"],
            predicate["hold_out"]["digest"]["hmac-sha256"],
            predicate["hold_out"]["images"],
            predicate["decimals"],
            {
                name: {metric: Interval.from_json(value) for metric, value in metrics.items()}
                for name, metrics in predicate["classes"].items()
            },
            predicate["protection"]["epsilon"] if "protection" in predicate else None,
        )
        if report.rounded() != report:
            expected = f"figures of {report.decimals} decimals, and the intervals that follow from them"
            raise dsse.refusal(item, expected, "others")
        return report

    def rounded(self) -> EvaluationReport:
        """The same report with every mean rounded to `decimals`, and the intervals computed from that."""
        figures = sum(map(len, self.classes.values()))

        def reported(interval: Interval) -> Interval:
            noise = 0.0 if self.epsilon is None else noise_scale(figures, self.epsilon, interval.count)
            return reported_interval(interval.mean, interval.count, self.decimals, noise)

        return dataclasses.replace(
            self,
            classes={
                name: {metric: reported(interval) for metric, interval in metrics.items()}
                for name, metrics in self.classes.items()
            },
        )


def noise_scale(figures: int, epsilon: float, count: int) -> float:
    """Scale of the Laplace noise on a mean of `count` scores, if `figures` means share one epsilon.

    One image moves each of the means by at most 1 / count.
    """
    return figures / (epsilon * count)


def reported_interval(mean: float, count: int, decimals: int, noise: float = 0.0) -> Interval:
    """A rounded mean of `count` scores for a report, with an interval that reveals nothing more.

    A quantity in [0, 1] with mean m has a variance of at most m(1 - m) (Bhatia & Davis, American Mathematical
    Monthly 107:353-357, 2000), and Laplace noise of scale b has a variance of 2 b^2. So the 95 % interval of
    a normal mean is at most m ∓ 1.96 sqrt(m(1 - m) / n + 2 b^2). A bootstrap interval would be narrower, but
    would reveal how the scores are distributed, for example whether one image dominates the mean.

    Args:
        mean: mean including noise, so possibly outside [0, 1]; the rounded mean is clipped to [0, 1].
        count: number of images behind the mean.
        decimals: decimals of mean, low and high; the interval is clipped to [0, 1] and rounded outwards.
        noise: scale of the Laplace noise in the mean; 0 for none.
    """
    rounded = min(1.0, max(0.0, round(mean, decimals)))
    reach = _NORMAL * math.sqrt(rounded * (1 - rounded) / count + 2 * noise**2)
    steps = 10**decimals
    low = max(0.0, math.floor((rounded - reach) * steps) / steps)
    high = min(1.0, math.ceil((rounded + reach) * steps) / steps)
    return Interval(rounded, low, high, count)


def sign_report(report: EvaluationReport, key: Signer) -> dsse.Envelope:
    """Sign a report that fits its schema, as a DSSE envelope.

    Raises:
        VerificationError: the report does not fit its schema.
    """
    statement = report.to_statement()
    EvaluationReport.from_statement(statement)
    return dsse.sign_statement(statement, key)


def read_report(path: Path, keys: Sequence[PublicKey]) -> EvaluationReport:
    """`read_signed_report` without the key."""
    return read_signed_report(path, keys)[0]


def read_signed_report(path: Path, keys: Sequence[PublicKey]) -> tuple[EvaluationReport, PublicKey]:
    """Read a report file after checking that one of the pinned `keys` signed it; return that key too.

    Raises:
        InputError: the file cannot be read.
        VerificationError: the file is malformed, was tampered with, or is signed by another key.
    """
    envelope = dsse.Envelope.from_bytes(files.read_bytes(path, max_bytes=BUDGET.max_bytes), path, BUDGET)
    payload, key = dsse.verify_with_signer(envelope, keys, item=path)
    return EvaluationReport.from_statement(dsse.Statement.from_bytes(payload, path), path), key


def check_belongs(report: EvaluationReport, asked: Submission, item: object = "report") -> None:
    """Refuse a report that is about another submission than `asked`.

    Raises:
        VerificationError: naming `item`.
    """
    expected = (asked.model_sha256, asked.sha256, asked.public_key.fingerprint, set(asked.contract.classes))
    found = (report.model_sha256, report.submission_sha256, report.submitter, set(report.classes))
    for label, wanted, given in zip(
        ("model", "submission", "submitter", "classes"), expected, found, strict=True
    ):
        if wanted != given:
            raise dsse.refusal(item, f"a report about the {label} {wanted}", str(given)[:200])
