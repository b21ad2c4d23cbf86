"""When does a worker count as hung? Pure: what was heard and how long it took are given."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hospital_node.singan.training import ScaleProgress

SLOWEST_STEP = 100.0
"""How much longer than the mean so far a step may take. From one scale to the next an iteration costs up to 7
times as much (4/3 in each direction, and twice the channels), and the mean holds all the cheaper scales."""
UNMEASURED = 12.0
"""How much longer than the least patience a first step may take: it loads, compiles and captures."""
LONGEST_LOOK = 2.0
"""Seconds of silence that one look counts at most: nobody listened while the driver was busy or suspended."""


@dataclass(frozen=True)
class Beat:
    """What a worker says of itself."""

    steps: int
    """Begun since it was given its batch."""
    step_seconds: float | None
    """Mean of those that are over; None before the first is."""
    progress: Mapping[str, ScaleProgress] = field(default_factory=dict)
    """By generator, of those that have reported."""


@dataclass(frozen=True)
class Pulse:
    """The last that was heard of a busy worker."""

    steps: int = 0
    step_seconds: float | None = None
    silent: float = 0.0
    """Seconds, of those in which somebody listened, without a new step."""

    def after(self, seconds: float, beat: Beat | None) -> Pulse:
        """The pulse at the next look, `seconds` later; `beat` is None where the worker did not answer."""
        if beat is None or beat.steps == self.steps:
            return replace(self, silent=self.silent + min(seconds, LONGEST_LOOK))
        return Pulse(beat.steps, beat.step_seconds)

    def patience(self, least: float) -> float:
        """Seconds of silence after which the worker is hung: `least`, more where steps are slow or new."""
        if self.step_seconds is None:
            return UNMEASURED * least
        return max(least, SLOWEST_STEP * self.step_seconds)

    def hung(self, least: float) -> bool:
        return self.silent > self.patience(least)
