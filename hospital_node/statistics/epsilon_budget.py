"""One budget of epsilon for everything protected that a node ever publishes, whatever it is."""

from __future__ import annotations

from hospital_node.ledger.ledger import Ledger
from hospital_node.ledger.publications import Published
from sharekit.errors import PolicyError


def spent(ledger: Ledger) -> float:
    """Sum of the epsilons of everything published."""
    entries = ledger.publications.all(Published.COVERAGE)
    return float(sum(entry["statistics"]["protection"]["epsilon"] for entry in entries))


def require_budget(ledger: Ledger, item: str, epsilon: float, max_total_epsilon: float) -> None:
    """Refuse to spend more than the policy allows.

    Raises:
        PolicyError: the sum over all publications would exceed `max_total_epsilon`; names `item`.
    """
    before = spent(ledger)
    if before + epsilon > max_total_epsilon:
        raise PolicyError(
            item,
            expected=f"a total epsilon of at most {max_total_epsilon:g}",
            found=f"{before:g} spent, {epsilon:g} more wanted for another set of images",
            next_step="export the same images as before, or raise max_total_epsilon in the policy",
        )
