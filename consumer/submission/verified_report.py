"""A hospital's report of an evaluation, verified with its key."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sharekit.segmenter.evaluation_report import EvaluationReport, check_belongs, read_report
from sharekit.segmenter.submission import read_submission
from sharekit.signing.keys import PublicKey


@dataclass(frozen=True)
class VerifiedReport:
    """A report whose signature and form hold."""

    report: EvaluationReport
    fingerprint: str  # of the hospital's key
    belongs_to_submission: bool | None
    """True where it is about the submission that was asked for; None where none was."""

    def to_json(self) -> dict[str, Any]:
        return {
            "verdict": "authentic",
            "fingerprint": self.fingerprint,
            "belongs_to_submission": self.belongs_to_submission,
            "model_sha256": self.report.model_sha256,
            "submission_sha256": self.report.submission_sha256,
            **self.report.to_statement().to_json()["predicate"],
        }


def verify_report(path: Path, key: PublicKey, submission: Path | None = None) -> VerifiedReport:
    """Verify a report, and that it is about a submission where one is given.

    Raises:
        InputError: a file cannot be read.
        VerificationError: another form, tampered, by another key, or about another submission.
    """
    report = read_report(path, [key])
    if submission is not None:
        check_belongs(report, read_submission(submission).submission, path)
    return VerifiedReport(report, key.fingerprint, None if submission is None else True)
