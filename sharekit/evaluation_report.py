"""What a hospital says of a submitted segmenter: rounded means over its hold-out, nothing of any image."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sharekit import dsse, files, schema, submission
from sharekit.intervals import Interval
from sharekit.keys import PublicKey, SigningKey
from sharekit.submission import Submission

SCHEMA_VERSION = 1
PREDICATE_TYPE = "urn:sharekit:evaluation:v1"
MAX_BYTES = 2**20


@dataclass(frozen=True)
class EvaluationReport:
    """One evaluation. Law: `from_statement(to_statement(x)) == x`."""

    model_sha256: str
    submission_sha256: str
    submitter: str  # fingerprint of the submitter's key
    hospital: str
    date: str  # UTC, RFC 3339
    hold_out: str
    """Keyed commitment to the hold-out: equal in two reports that are about the same images."""
    images: int  # of the hold-out that were evaluated on
    decimals: int  # that every figure is rounded to
    classes: Mapping[str, Mapping[str, Interval]]
    """Class to metric to mean over images with its interval; of each class only images that have its mask."""

    def to_statement(self) -> dsse.Statement:
        return dsse.Statement(
            (
                dsse.Subject(submission.MODEL_NAME, self.model_sha256),
                dsse.Subject(submission.STATEMENT_NAME, self.submission_sha256),
            ),
            PREDICATE_TYPE,
            {
                "schema_version": SCHEMA_VERSION,
                "submitter": self.submitter,
                "hospital": self.hospital,
                "date": self.date,
                "hold_out": {"digest": {"hmac-sha256": self.hold_out}, "images": self.images},
                "decimals": self.decimals,
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
            VerificationError: naming `item`; another schema, or figures finer than it says.
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
        )
        if report.rounded() != report:
            raise dsse.refusal(item, f"figures of {report.decimals} decimals", "finer ones")
        return report

    def rounded(self) -> EvaluationReport:
        """The same report with every figure rounded to its decimals."""
        return dataclasses.replace(
            self,
            classes={
                name: {metric: _rounded(interval, self.decimals) for metric, interval in metrics.items()}
                for name, metrics in self.classes.items()
            },
        )


def sign_report(report: EvaluationReport, key: SigningKey) -> dict[str, Any]:
    """A DSSE envelope, as JSON, around a report that fits its schema.

    Raises:
        VerificationError: it does not.
    """
    statement = report.to_statement()
    EvaluationReport.from_statement(statement)
    return dsse.sign_statement(statement, key)


def read_report(path: Path, keys: Sequence[PublicKey]) -> EvaluationReport:
    """The report in a file, once one of the pinned `keys` is known to have signed it.

    Raises:
        InputError: the file cannot be read.
        VerificationError: another form, tampered, or by another key.
    """
    envelope = files.parse_json(files.read_bytes(path, max_bytes=MAX_BYTES), path)
    return EvaluationReport.from_statement(dsse.verify_statement(envelope, keys, item=path), path)


def check_belongs(report: EvaluationReport, asked: Submission, item: object = "report") -> None:
    """Refuse a report that is about another submission than `asked`.

    Raises:
        VerificationError: naming `item`.
    """
    expected = (asked.model_sha256, asked.sha256, asked.public_key.fingerprint, set(asked.contract.classes))
    found = (report.model_sha256, report.submission_sha256, report.submitter, set(report.classes))
    for label, wanted, told in zip(
        ("model", "submission", "submitter", "classes"), expected, found, strict=True
    ):
        if wanted != told:
            raise dsse.refusal(item, f"a report about the {label} {wanted}", str(told)[:200])


def _rounded(interval: Interval, decimals: int) -> Interval:
    mean, low, high = (round(value, decimals) for value in (interval.mean, interval.low, interval.high))
    return Interval(mean, low, high, interval.count)
