"""Spent epsilon: counted for each submitter and in all, before an answer, and never taken back."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from hospital_node.evaluation.evaluate import evaluate
from hospital_node.evaluation.overview import evaluation_overview
from hospital_node.ledger.ledger import Ledger
from hospital_node.node.node import Node
from sharekit.errors import PolicyError
from sharekit.signing.keys import generate
from tests.hospital_node.golden import write_ledger
from tests.hospital_node.held_out import node_with_hold_out, register
from tests.tiny_segmenter import submission_of

KEY = generate()


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Node.create(tmp_path / "node", "St. Test").ledger


def spend(ledger: Ledger, submitter: str, epsilon: float = 1.0, **limits: float) -> int:
    submission = f"{submitter} {ledger.evaluations.count()}"
    return ledger.evaluations.spend(
        submission, submitter, budget=9, hold_out_budget=9, epsilon=epsilon, **limits
    )


def test_the_epsilon_of_a_submitter_is_bounded(ledger: Ledger) -> None:
    spend(ledger, "a", 0.7, submitter_epsilon=1.0)
    with pytest.raises(PolicyError, match="at most 1 for this submitter"):
        spend(ledger, "a", 0.7, submitter_epsilon=1.0)
    spend(ledger, "b", 0.7, submitter_epsilon=1.0)
    assert (ledger.evaluations.epsilon("a"), ledger.evaluations.epsilon()) == (0.7, 1.4)


def test_the_epsilon_of_all_submitters_together_is_bounded(ledger: Ledger) -> None:
    spend(ledger, "a", hold_out_epsilon=1.5)
    with pytest.raises(PolicyError, match=r"at most 1\.5 for all submitters together"):
        spend(ledger, "b", hold_out_epsilon=1.5)
    assert ledger.evaluations.count() == 1


def test_tenths_add_up_to_one(ledger: Ledger) -> None:
    """Floats do not: ten times 0.1 is a little less than 1, three times 0.1 a little more than 0.3."""
    for _ in range(3):
        spend(ledger, "a", 0.1, submitter_epsilon=0.3)
    with pytest.raises(PolicyError):
        spend(ledger, "a", 0.1, submitter_epsilon=0.3)


def test_spent_epsilon_is_never_taken_back(ledger: Ledger) -> None:
    spend(ledger, "a")
    for change in ("UPDATE evaluations SET epsilon = 0", "DELETE FROM evaluations"):
        with sqlite3.connect(ledger.path) as database, pytest.raises(sqlite3.IntegrityError):
            database.execute(change)
    assert ledger.evaluations.epsilon() == 1.0


def test_a_ledger_from_before_there_was_noise_counts_its_answers_apart(tmp_path: Path) -> None:
    node = Node.create(tmp_path / "node", "St. Test")
    node.ledger.close()
    node.ledger.path.unlink()
    write_ledger(2, node.ledger.path)
    overview = evaluation_overview(Node.open(node.root))
    assert (overview.spent, overview.epsilon_spent, overview.without_noise) == (2, 0.0, 2)


def test_an_answer_costs_its_epsilon_and_a_repeated_one_nothing(tmp_path: Path) -> None:
    node = node_with_hold_out(tmp_path)
    register(node, KEY, epsilon=0.5, submitter_epsilon=0.7)
    first = evaluate(node, submission_of(KEY))
    assert (first.epsilon_spent, first.epsilon_budget, first.report.epsilon) == (0.5, 0.7, 0.5)
    assert set(first.report.classes["foreground"]) == {"iou"}
    again = evaluate(node, submission_of(KEY))
    assert again.report == first.report
    assert again.epsilon_spent == 0.5
    with pytest.raises(PolicyError, match="epsilon"):
        evaluate(node, submission_of(KEY, purpose="another"))
    assert node.ledger.evaluations.count() == 1
