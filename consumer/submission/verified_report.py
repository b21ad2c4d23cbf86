"""Verify a hospital's evaluation report with the hospital's key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sharekit.segmenter.evaluation_report import EvaluationReport, check_belongs, read_signed_report
from sharekit.segmenter.submission import read_submission
from sharekit.signing.keys import PublicKey


@dataclass(frozen=True)
class VerifiedReport:
    """A report with a valid signature and form."""

    report: EvaluationReport
    fingerprint: str  # digest of the hospital's key
    belongs_to_submission: bool | None
    """True when the report is about the given submission; None when no submission was given."""

    def to_json(self) -> dict[str, Any]:
        return {
            "verdict": "authentic",
            "fingerprint": self.fingerprint,
            "belongs_to_submission": self.belongs_to_submission,
            "model_sha256": self.report.model_sha256,
            "submission_sha256": self.report.submission_sha256,
            **self.report.to_statement().to_json()["predicate"],
        }


def verify_report(path: Path, keys: Sequence[PublicKey], submission: Path | None = None) -> VerifiedReport:
    """Verify that one of the keys signed a report and, if a submission is given, that the report is about it.

    Raises:
        InputError: a file cannot be read.
        VerificationError: the report has another form, was changed, is signed with another key, or is about
            another submission.
    """
    report, key = read_signed_report(path, keys)
    if submission is not None:
        check_belongs(report, read_submission(submission).submission, path)
    return VerifiedReport(report, key.fingerprint, None if submission is None else True)
