"""Who may have segmenters evaluated, and the spent and remaining budgets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from hospital_node.evaluation.evaluation_policy import NAME, EvaluationPolicy, load_policy, save_policy
from hospital_node.ledger.ledger import ImageState
from hospital_node.node.node import Node


@dataclass(frozen=True)
class SubmitterSpending:
    """One submitter, with evaluations and epsilon over all time."""

    name: str
    fingerprint: str
    spent: int
    budget: int
    epsilon_spent: float


@dataclass(frozen=True)
class EvaluationOverview:
    """The evaluation policy, and what was spent under it."""

    policy: EvaluationPolicy
    held_out: int  # images
    spent: int  # evaluations of all submitters
    epsilon_spent: float  # by all submitters
    without_noise: int  # evaluations answered by a release that had no noise
    submitters: tuple[SubmitterSpending, ...]

    @property
    def settings(self) -> dict[str, Any]:
        """Every setting of the policy by its name, limits included."""
        settings = self.policy.to_json()
        limits = settings.pop("limits")
        return {name: settings[name] for name in settings if name not in _NO_SETTINGS} | limits

    def to_json(self) -> dict[str, Any]:
        return {
            **self.policy.to_json(),
            "held_out": self.held_out,
            "spent": self.spent,
            "epsilon_spent": self.epsilon_spent,
            "without_noise": self.without_noise,
            "submitters": [asdict(submitter) for submitter in self.submitters],
        }


_NO_SETTINGS = ("schema_version", "submitters")


def evaluation_overview(node: Node) -> EvaluationOverview:
    """The node's policy as it is, and what was spent."""
    return _overview(node, load_policy(node.root / NAME))


def change_policy(node: Node, change: Callable[[EvaluationPolicy], EvaluationPolicy]) -> EvaluationOverview:
    """Change the node's policy, starting from what was written last.

    Raises:
        UsageError, PolicyError: the change is invalid, or breaks the schema's limits.
    """
    with node.write_lock():
        policy = change(load_policy(node.root / NAME))
        save_policy(node.root / NAME, policy)
    return _overview(node, policy)


def _overview(node: Node, policy: EvaluationPolicy) -> EvaluationOverview:
    ledger = node.ledger
    return EvaluationOverview(
        policy=policy,
        held_out=ledger.counts()[ImageState.HELD_OUT],
        spent=ledger.evaluations.count(),
        epsilon_spent=ledger.evaluations.epsilon(),
        without_noise=ledger.evaluations.without_noise(),
        submitters=tuple(
            SubmitterSpending(
                submitter.name,
                submitter.fingerprint,
                ledger.evaluations.count(submitter.fingerprint),
                policy.budget_of(submitter),
                ledger.evaluations.epsilon(submitter.fingerprint),
            )
            for submitter in policy.submitters
        ),
    )
