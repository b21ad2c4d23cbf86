"""How much of the work is done, weighed by what each scale costs, so that an ETA comes out right."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hospital_node.singan.config import TrainingConfig
from hospital_node.singan.networks import channels_at
from hospital_node.singan.pyramid import pyramid_sizes
from sharekit.errors import InputError
from sharekit.generator import PADDING
from sharekit.progress import Progress

if TYPE_CHECKING:
    from hospital_node.singan.training import ScaleProgress

OVERHEAD = 5e5
"""Cost of an iteration whatever its size, in pixels x channels^2: on a CPU it hardly counts."""


def scale_costs(height: int, width: int, config: TrainingConfig) -> tuple[float, ...]:
    """Relative cost of each scale: padded area x channels^2, plus `OVERHEAD`.

    Empty for an image that is too small to train on, which the engine will say.
    """
    try:
        sizes = pyramid_sizes(height, width, config)
    except InputError:
        return ()
    return tuple(
        (h + 2 * PADDING) * (w + 2 * PADDING) * channels_at(scale, config) ** 2 + OVERHEAD
        for scale, (h, w) in enumerate(sizes)
    )


@dataclass(frozen=True)
class Figures:
    """Sums over images; each is what the report and the progress line show."""

    cost: float
    scales: int
    iterations: int


class Workload:
    """What is to do and what is done, image by image."""

    def __init__(self, costs: Mapping[str, tuple[float, ...]], iterations: int) -> None:
        """`costs` of every image's scales, and the iterations of each scale."""
        self._costs = costs
        self._iterations = iterations
        self._done: dict[str, Figures] = {}
        self._found: dict[str, int] = {}
        self._settled: set[str] = set()
        self._started = time.monotonic()

    def advance(self, image: str, progress: ScaleProgress) -> None:
        """`image` has come this far. What it starts with comes from an earlier run's checkpoint."""
        costs = self._costs[image]
        part = progress.iteration / progress.iterations
        self._done[image] = Figures(
            sum(costs[: progress.scale]) + part * costs[progress.scale],
            progress.scale + (progress.iteration == progress.iterations),
            progress.scale * progress.iterations + progress.iteration,
        )
        self._found.setdefault(image, self._done[image].iterations)

    def settle(self, image: str, trained: bool) -> None:
        """Nothing is left to do for `image`: it is `trained`, or it never will be."""
        costs = self._costs[image]
        before = self._done.get(image, Figures(0.0, 0, 0))
        iterations = len(costs) * self._iterations if trained else before.iterations
        self._done[image] = Figures(sum(costs), len(costs), iterations)
        self._settled.add(image)

    @property
    def iterations_per_second(self) -> float:
        """Iterations of this run, over all workers."""
        gained = sum(figures.iterations - self._found.get(image, 0) for image, figures in self._done.items())
        return max(gained, 0) / max(time.monotonic() - self._started, 1e-9)

    def report(self) -> Progress:
        """In per cent of the whole work."""
        total = sum(sum(costs) for costs in self._costs.values())
        done = sum(figures.cost for figures in self._done.values())
        return Progress(
            round(100 * done / total, 2) if total else 100.0,
            100.0,
            values={
                "images": f"{len(self._settled)}/{len(self._costs)}",
                "scales": f"{sum(f.scales for f in self._done.values())}"
                f"/{sum(len(costs) for costs in self._costs.values())}",
                "iterations_per_s": round(self.iterations_per_second, 1),
            },
        )
