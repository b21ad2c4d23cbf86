"""Decide when a worker counts as hung. Pure: answers and durations are arguments."""

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
"""How much longer than the least patience a first step may take, which loads, compiles and captures."""
LONGEST_LOOK = 2.0
"""Most seconds of silence that one look counts: a busy or suspended driver listens to nobody."""


@dataclass(frozen=True)
class Beat:
    """What a worker reports about itself."""

    steps: int
    """Steps begun since it got its batch."""
    step_seconds: float | None
    """Mean seconds of the finished steps; None before the first has ended."""
    progress: Mapping[str, ScaleProgress] = field(default_factory=dict)
    """Last progress of each generator that has reported."""


@dataclass(frozen=True)
class Pulse:
    """The last news of a busy worker."""

    steps: int = 0
    step_seconds: float | None = None
    silent: float = 0.0
    """Seconds without a new step, counting only time in which the driver listened."""

    def after(self, seconds: float, beat: Beat | None) -> Pulse:
        """The pulse at the next look, `seconds` later; `beat` is None if the worker did not answer."""
        if beat is None or beat.steps == self.steps:
            return replace(self, silent=self.silent + min(seconds, LONGEST_LOOK))
        return Pulse(beat.steps, beat.step_seconds)

    def patience(self, least: float) -> float:
        """Seconds of silence after which the worker is hung: `least`, or more while steps are slow or new."""
        if self.step_seconds is None:
            return UNMEASURED * least
        return max(least, SLOWEST_STEP * self.step_seconds)

    def hung(self, least: float) -> bool:
        return self.silent > self.patience(least)
