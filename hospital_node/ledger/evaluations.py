"""Spent evaluations of the hold-out: counted before they answer, never taken back."""

from __future__ import annotations

import math

from hospital_node.ledger.database import Database, now
from sharekit.errors import PolicyError

_ROUNDING = 1e-9  # tolerance for rounding in a sum of floats


class Evaluations:
    """The ledger's evaluations, each of one submission by one submitter."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def report(self, submission: str) -> str | None:
        """The stored report, as JSON, of this submission (its digest); None if no evaluation stored one."""
        row = self._database.one(
            "SELECT report FROM evaluations WHERE submission = ? AND report IS NOT NULL", submission
        )
        return None if row is None else row[0]

    def count(self, submitter: str | None = None) -> int:
        """Count spent evaluations, including those without a report: of one submitter, or of all."""
        query = "SELECT count(*) FROM evaluations WHERE ?1 IS NULL OR submitter = ?1"
        return int(self._database.one(query, submitter)[0])

    def epsilon(self, submitter: str | None = None) -> float:
        """The sum of epsilon over spent evaluations: of one submitter, or of all.

        Evaluations of releases without noise do not count: no epsilon bounds what they disclosed.
        """
        query = "SELECT total(epsilon) FROM evaluations WHERE ?1 IS NULL OR submitter = ?1"
        return float(self._database.one(query, submitter)[0])

    def without_noise(self) -> int:
        """Count evaluations by releases that added no noise."""
        return int(self._database.one("SELECT count(*) FROM evaluations WHERE epsilon IS NULL")[0])

    def spend(
        self,
        submission: str,
        submitter: str,
        *,
        budget: int,
        hold_out_budget: int,
        epsilon: float = 0.0,
        submitter_epsilon: float = math.inf,
        hold_out_epsilon: float = math.inf,
    ) -> int:
        """Spend one evaluation before its result is known; return its number, for `keep_report`.

        Args:
            submission: its digest.
            submitter: fingerprint of the submitter's key.
            budget: evaluations of this submitter, over all time.
            hold_out_budget: evaluations of all submitters together.
            epsilon: privacy parameter of this evaluation.
            submitter_epsilon: limit for all evaluations of this submitter.
            hold_out_epsilon: limit for all evaluations of all submitters together.

        Raises:
            PolicyError: a budget does not allow it; nothing was written.
        """
        with self._database.transaction() as connection:
            for limit, epsilon_limit, asker, whose in (
                (budget, submitter_epsilon, submitter, "this submitter"),
                (hold_out_budget, hold_out_epsilon, None, "all submitters together"),
            ):
                spent, epsilon_spent = self.count(asker), self.epsilon(asker)
                if spent >= limit:
                    raise _overspent(f"fewer than {limit} evaluations of {whose}", f"{spent} spent")
                if epsilon_spent + epsilon > epsilon_limit * (1 + _ROUNDING):
                    raise _overspent(
                        f"a sum of epsilon of at most {epsilon_limit:g} for {whose}",
                        f"{epsilon_spent:g} spent, {epsilon:g} more wanted",
                    )
            cursor = connection.execute(
                "INSERT INTO evaluations (time, submission, submitter, epsilon) VALUES (?, ?, ?, ?)",
                (now(), submission, submitter, epsilon),
            )
            return int(cursor.lastrowid or 0)

    def keep_report(self, number: int, report: str) -> None:
        """Store the report, as JSON, of a spent evaluation; it can be stored only once."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE evaluations SET report = ? WHERE sequence = ?", (report, number))


def _overspent(expected: str, found: str) -> PolicyError:
    return PolicyError(
        "evaluation",
        expected=expected,
        found=found,
        next_step="ask the hospital: every further answer discloses more of its masks",
    )
