"""How an audit is run: what the command line may choose."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AuditSettings:
    """One audit of a node."""

    samples: int = 64
    """Samples drawn from every candidate; the policy sets a minimum."""
    seed: int = 0
    """Seed of the samples, the choice of controls and the bootstrap."""
    again: bool = False
    """Also repeat earlier audits (audited, withheld, released), for example after a policy change."""
