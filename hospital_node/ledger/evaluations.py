"""Spent evaluations of the hold-out: counted before they answer, never taken back."""

from __future__ import annotations

from hospital_node.ledger.database import Database, now
from sharekit.errors import PolicyError


class Evaluations:
    """The ledger's evaluations, each of one submission by one submitter."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def report(self, submission: str) -> str | None:
        """The report, as JSON, that an evaluation of this submission (its digest) ended with, if any did."""
        row = self._database.one(
            "SELECT report FROM evaluations WHERE submission = ? AND report IS NOT NULL", submission
        )
        return None if row is None else row[0]

    def count(self, submitter: str | None = None) -> int:
        """How many evaluations were spent, those without a report included: of one submitter, or of all."""
        query = "SELECT count(*) FROM evaluations WHERE ?1 IS NULL OR submitter = ?1"
        return int(self._database.one(query, submitter)[0])

    def spend(self, submission: str, submitter: str, *, budget: int, hold_out_budget: int) -> int:
        """Spend one evaluation, before its result is known; the number by which `keep_report` ends it.

        Args:
            submission: its digest.
            submitter: fingerprint of the submitter's key.
            budget: of this submitter, over all time.
            hold_out_budget: of all submitters together.

        Raises:
            PolicyError: one of the two is spent; nothing was written.
        """
        with self._database.transaction() as connection:
            for limit, spent, whose in (
                (budget, self.count(submitter), "this submitter"),
                (hold_out_budget, self.count(), "all submitters together"),
            ):
                if spent >= limit:
                    raise PolicyError(
                        "evaluation",
                        expected=f"fewer than {limit} evaluations of {whose}",
                        found=f"{spent} spent",
                        next_step="ask the hospital: every further answer tells more of its masks",
                    )
            cursor = connection.execute(
                "INSERT INTO evaluations (time, submission, submitter) VALUES (?, ?, ?)",
                (now(), submission, submitter),
            )
            return int(cursor.lastrowid or 0)

    def keep_report(self, number: int, report: str) -> None:
        """Store the report, as JSON, of a spent evaluation; once."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE evaluations SET report = ? WHERE sequence = ?", (report, number))
