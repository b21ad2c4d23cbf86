"""How an audit is run: what the command line may choose."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AuditSettings:
    """One audit of a node."""

    samples: int = 64
    """Drawn from every candidate; the policy has a least number."""
    seed: int = 0
    """Of the samples, of the choice of controls and of the bootstrap."""
    again: bool = False
    """Audit also what was audited, withheld or released before, as after a change of the policy."""
