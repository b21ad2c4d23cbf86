"""Who may have segmenters evaluated, and what is spent: what `hospital-node submitter` shows."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from hospital_node.evaluation.evaluation_policy import EvaluationPolicy
from hospital_node.ledger.ledger import ImageState
from hospital_node.node.node import Node


@dataclass(frozen=True)
class Account:
    """One submitter's evaluations."""

    name: str
    fingerprint: str
    spent: int
    budget: int


@dataclass(frozen=True)
class Overview:
    """The policy, the hold-out and every account."""

    policy: EvaluationPolicy
    held_out: int  # images
    spent: int  # evaluations of all submitters
    accounts: tuple[Account, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            **self.policy.to_json(),
            "held_out": self.held_out,
            "spent": self.spent,
            "submitters": [dataclasses.asdict(account) for account in self.accounts],
        }


def overview(node: Node, policy: EvaluationPolicy) -> Overview:
    """What the node's ledger says of the policy's submitters."""
    return Overview(
        policy,
        node.ledger.counts()[ImageState.HELD_OUT],
        node.ledger.evaluations(),
        tuple(
            Account(
                submitter.name,
                submitter.fingerprint,
                node.ledger.evaluations(submitter.fingerprint),
                policy.budget_of(submitter),
            )
            for submitter in policy.submitters
        ),
    )
