"""How an audit is run: what the command line may choose."""

from __future__ import annotations

from dataclasses import dataclass

from hospital_node.singan.config import TrainingConfig

SAMPLES = 1000
"""Samples of an audit whose training was long enough."""
SAMPLES_PER_ITERATION = 5
"""An iteration runs each of its scales more than ten times, so drawing stays within the time of training."""


@dataclass(frozen=True)
class AuditSettings:
    """One audit of a node."""

    samples: int | None = None
    """Samples drawn from every candidate, at least the policy's minimum; None: `samples_of` its training."""
    seed: int = 0
    """Seed of the samples, the choice of controls and the bootstrap."""
    again: bool = False
    """Also repeat earlier audits (audited, withheld, released), for example after a policy change."""
    actors: int = 1
    """Generators that are audited at once, each by one processor, in workers of a closed Ray."""


def samples_of(config: TrainingConfig, minimum: int) -> int:
    """Samples for a generator that was trained with `config`: `SAMPLES`, or fewer after a short training."""
    steps = max(config.generator_steps, config.discriminator_steps)
    return max(minimum, min(SAMPLES, SAMPLES_PER_ITERATION * config.iterations * steps))
