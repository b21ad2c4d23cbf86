"""The audit's verdict in words, from the number of real images behind a generator and the attacks on it."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from hospital_node.audit.attack import MIN_CONTROLS, AttackResult


class Verdict(StrEnum):
    """What may be said of a generator. "Anonymous" is never said."""

    LINKABLE = "linkable: controlled access"
    K_GROUP = "k-group"
    NO_ATTACK_SUCCEEDED = "no listed attack succeeded"

    @classmethod
    def _missing_(cls, value: object) -> Verdict | None:
        """Audits of earlier releases said `anonymous-claim`."""
        return cls.NO_ATTACK_SUCCEEDED if value == "anonymous-claim" else None


def verdict(group_size: int, k: int, attacks: Sequence[AttackResult]) -> Verdict:
    """The strongest words that the evidence carries.

    Args:
        group_size: units (patients or distinct pictures) behind the generator; 1 is always linkable.
        k: the policy's group size.
        attacks: every attack that was run.
    """
    informative = [attack for attack in attacks if attack.samples]
    without_controls = not informative or any(attack.controls < MIN_CONTROLS for attack in informative)
    if group_size < max(k, 2) or without_controls:
        return Verdict.LINKABLE
    if all(attack.at_chance for attack in informative):
        return Verdict.NO_ATTACK_SUCCEEDED
    return Verdict.K_GROUP
