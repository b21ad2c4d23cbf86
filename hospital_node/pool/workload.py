"""How much of the work is done, weighted by the cost of each scale so that the ETA is right."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hospital_node.singan.config import TrainingConfig
from hospital_node.singan.networks import channels_at
from hospital_node.singan.pyramid import pictures_at, pyramid_sizes
from sharekit.errors import InputError
from sharekit.generator.spec import PADDING
from sharekit.program.progress import Progress

if TYPE_CHECKING:
    from hospital_node.singan.training import ScaleProgress

OVERHEAD = 5e5
"""Cost of an iteration of any size, in pixels x channels^2: on a CPU it hardly counts."""


def scale_costs(height: int, width: int, config: TrainingConfig) -> tuple[float, ...]:
    """Relative cost of each scale: pictures x padded area x channels^2, plus `OVERHEAD`.

    Empty for images that are too small to train on, which the engine will refuse.
    """
    try:
        sizes = pyramid_sizes(height, width, config)
    except InputError:
        return ()
    return tuple(
        pictures_at(scale, sizes, config)
        * (h + 2 * PADDING)
        * (w + 2 * PADDING)
        * channels_at(scale, config) ** 2
        + OVERHEAD
        for scale, (h, w) in enumerate(sizes)
    )


@dataclass(frozen=True)
class Figures:
    """Sums over generators; each is what the report and the progress line show."""

    cost: float
    scales: int
    iterations: int

    def plus(self, other: Figures) -> Figures:
        return Figures(self.cost + other.cost, self.scales + other.scales, self.iterations + other.iterations)

    def minus(self, other: Figures) -> Figures:
        return Figures(self.cost - other.cost, self.scales - other.scales, self.iterations - other.iterations)


NOTHING = Figures(0.0, 0, 0)


class Workload:
    """Work to do and work done. It keeps sums, so that a long queue costs no more."""

    def __init__(
        self, costs: Mapping[str, tuple[float, ...]], iterations: int, begun: Collection[str] = ()
    ) -> None:
        """`costs` of each generator's scales, the iterations of a scale, and who may have a checkpoint."""
        self._costs = costs
        self._iterations = iterations
        self._begun = frozenset(begun)
        self._running: dict[str, Figures] = {}
        self._settled = 0
        self._done = NOTHING
        self._free = NOTHING
        self._total_cost = sum(sum(of_one) for of_one in costs.values())
        self._total_scales = sum(len(of_one) for of_one in costs.values())
        self._started = time.monotonic()

    def advance(self, generator: str, progress: ScaleProgress) -> None:
        """Record progress of `generator`; if it had begun before, its first report is earlier work."""
        costs = self._costs[generator]
        part = progress.iteration / progress.iterations
        now = Figures(
            sum(costs[: progress.scale]) + part * costs[progress.scale],
            progress.scale + (progress.iteration == progress.iterations),
            progress.scale * progress.iterations + progress.iteration,
        )
        if generator in self._begun and generator not in self._running:
            self._free = self._free.plus(now)
        self._move(generator, now)
        self._running[generator] = now

    def settle(self, generator: str, trained: bool) -> None:
        """Nothing is left to do for `generator`: it is `trained`, or it never will be."""
        costs = self._costs[generator]
        all_of_it = Figures(sum(costs), len(costs), len(costs) * self._iterations)
        if not trained:
            self._free = self._free.plus(all_of_it.minus(self._running.get(generator, NOTHING)))
        self._move(generator, all_of_it)
        self._running.pop(generator, None)
        self._settled += 1

    def _move(self, generator: str, now: Figures) -> None:
        self._done = self._done.plus(now).minus(self._running.get(generator, NOTHING))

    @property
    def iterations_per_second(self) -> float:
        """Iterations of this run, over all workers."""
        gained = self._done.iterations - self._free.iterations
        return max(gained, 0) / max(time.monotonic() - self._started, 1e-9)

    def report(self) -> Progress:
        """Progress in per cent of the whole work."""
        return Progress(
            self._per_cent(self._done.cost) if self._total_cost else 100.0,
            100.0,
            values={
                "generators": f"{self._settled}/{len(self._costs)}",
                "scales": f"{self._done.scales}/{self._total_scales}",
                "iterations_per_s": round(self.iterations_per_second, 1),
            },
            free=self._per_cent(self._free.cost) if self._total_cost else 100.0,
        )

    def _per_cent(self, cost: float) -> float:
        return round(100 * cost / self._total_cost, 2)
