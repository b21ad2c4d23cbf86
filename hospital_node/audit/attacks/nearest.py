"""Best-of-N: is a source the real image that the samples lie nearest to, and how near?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hospital_node.audit.attack import (
    MIN_CONTROLS,
    RESAMPLES,
    Array,
    AttackContext,
    AttackResult,
    AuditLimits,
    Compared,
    Measure,
    Quantity,
    Question,
    scale_space,
)
from hospital_node.audit.attacks.distance import SPACES, between, difficulty, rmse, scores
from hospital_node.audit.exposure import Exposure, exposure, worst
from sharekit.intervals import bootstrap, wilson

NAME = "best-of-n"
BEST_DISTANCE = Quantity(
    NAME, "best_distance", "distance of the nearest sample to a source (RMSE)", lower_is_worse=True
)
DISTANCE_RATIO = Quantity(
    NAME,
    "distance_ratio",
    "distance of the nearest sample to a source, of the median between real images",
    lower_is_worse=True,
)
RANK = Quantity(
    NAME, "rank", "place of the sources among the real images that samples come near to", lower_is_worse=True
)
LINKAGE_RATE = Quantity(NAME, "linkage_rate", "share of samples whose nearest real image is a source")

BOOTSTRAP = "percentile bootstrap over the samples, 95 %"
BOOTSTRAP_BOTH = "percentile bootstrap over the samples and the pairs of real images, 95 %"
WILSON = "Wilson, 95 %"


@dataclass(frozen=True)
class BestOfN:
    """The attacker draws N samples and keeps the one nearest to each real image, at every scale."""

    name: str = NAME
    question: Question = Question.QUERY

    def run(self, context: AttackContext) -> AttackResult:
        measures: list[Measure] = []
        nearest: list[Nearness] = []
        found: list[Exposure] = []
        for space, images in _views(context):
            table = Distances.of(images, context.seed)
            found.append(table.exposed)
            measures.append(table.best_distance(space))
            if context.has_controls:
                measures.append(table.distance_ratio(space))
            if context.has_controls and space in SPACES:
                measures += [table.rank(space), table.linkage_rate(space)]
            nearest += table.nearest
        return AttackResult(
            self.name,
            "RMSE in [-1, 1] of the image channels, from every sample to the sources and to other real"
            " images, as thumbnails, at the output of every scale, and at full size",
            len(context.samples),
            len(context.controls),
            tuple(measures),
            worst(found),
            near_copy("the nearest sample", nearest, context.limits),
        )


def _views(context: AttackContext) -> Iterator[tuple[str, Compared]]:
    for space, view in SPACES.items():
        yield space, context.compared.at(view)
    for number, images in enumerate(context.scales):
        yield scale_space(number), images


def nearest_sample(context: AttackContext) -> tuple[int, int]:
    """Index of the sample that lies nearest to a source at full size, and the number of that source."""
    distances = rmse(context.samples, context.sources)
    sample, source = np.unravel_index(distances.argmin(), distances.shape)
    return int(sample), int(source)


def exposed_by(images: Compared, distances: NDArray[np.float64]) -> Exposure:
    """Whether a source stands out, by one distance to each real image, `(k + M,)`."""
    k = len(images.sources)
    if len(images.controls) < MIN_CONTROLS:
        return exposure(distances[:k], distances[k:])
    logs = scores(distances, difficulty(images))
    return exposure(logs[:k], logs[k:])


@dataclass(frozen=True)
class Nearness:
    """A distance to the source as a share of a reference distance."""

    ratio: float
    reference: str


def nearness(distance: float, source: Array, pairs: NDArray[np.float64]) -> Nearness:
    """How near `distance` is, for a source `(1, C, H, W)` and the distances between real images, if any.

    The measure is the smaller of two: the median distance between real images, which is large where they are
    of many kinds, and the source's contrast, its distance to a plain picture of its own mean colour.
    """
    plain = np.broadcast_to(source.mean(axis=(2, 3), keepdims=True), source.shape)
    contrast = float(rmse(source, plain)[0, 0])
    measure, reference = contrast, "the source's own contrast"
    if len(pairs) and float(np.median(pairs)) < contrast:
        measure, reference = float(np.median(pairs)), "the median distance between real images"
    return Nearness(distance / measure if measure > 0 else np.inf, reference)


def nearnesses(distances: NDArray[np.float64], sources: Array, pairs: NDArray[np.float64]) -> list[Nearness]:
    """How near something comes to each source; `distances` begin with those to the k sources."""
    return [
        nearness(float(distances[number]), sources[number : number + 1], pairs)
        for number in range(len(sources))
    ]


def near_copy(what: str, found: Sequence[Nearness], limits: AuditLimits) -> tuple[str, ...]:
    """The objection when the nearest of `found` is below what the limits tolerate."""
    nearest = min(found, key=lambda one: one.ratio)
    if nearest.ratio >= limits.min_distance_ratio:
        return ()
    return (
        f"near copy: {what} lies at {nearest.ratio:.3f} of {nearest.reference},"
        f" below {limits.min_distance_ratio:g}",
    )


@dataclass(frozen=True)
class Distances:
    """Distances of samples to the real images, and the same of other images in the samples' place."""

    images: Compared
    distances: NDArray[np.float64]  # (N, k + M), the k sources first
    pairs: NDArray[np.float64]  # between real images; empty without controls
    exposed: Exposure
    seed: int

    @property
    def k(self) -> int:
        return len(self.images.sources)

    @staticmethod
    def of(images: Compared, seed: int) -> Distances:
        distances = rmse(images.samples, images.real)
        pairs = between(images.real) if len(images.controls) >= MIN_CONTROLS else np.zeros(0)
        return Distances(images, distances, pairs, exposed_by(images, distances.min(axis=0)), seed)

    @property
    def nearest(self) -> list[Nearness]:
        """How near the nearest sample comes to each source."""
        return nearnesses(self.distances.min(axis=0), self.images.sources, self.pairs)

    def columns(self, figure: Callable[[NDArray[np.float64]], float]) -> dict[str, float | None]:
        """One figure for member against member, and for a generator that never saw the sources."""
        members = rmse(self.images.controls, self.images.real)
        own = np.arange(len(members))
        members[own, self.k + own] = np.inf  # no image is compared with itself
        strangers = rmse(self.images.strangers, self.images.real)
        return {
            "control": figure(members) if len(members) >= MIN_CONTROLS else None,
            "stranger": figure(strangers) if len(strangers) else None,
        }

    def best_distance(self, space: str, quantity: Quantity = BEST_DISTANCE) -> Measure:
        count, own = len(self.distances), self.distances[:, : self.k].min(axis=1)
        return Measure.of(
            space,
            quantity,
            bootstrap(own.min(), count, lambda rows, _: own[rows].min(), seed=self.seed, draws=RESAMPLES),
            BOOTSTRAP,
            baseline=float(np.median(self.pairs)) if len(self.pairs) else None,
            effect=self.exposed.effect,
            **self.columns(lambda found: float(found[:, : self.k].min())),
        )

    def distance_ratio(self, space: str, quantity: Quantity = DISTANCE_RATIO) -> Measure:
        count, own, pairs = len(self.distances), self.distances[:, : self.k].min(axis=1), self.pairs
        return Measure.of(
            space,
            quantity,
            bootstrap(
                own.min() / np.median(pairs),
                count,
                lambda rows, rng: own[rows].min() / np.median(rng.choice(pairs, len(pairs))),
                seed=self.seed,
                draws=RESAMPLES,
            ),
            BOOTSTRAP_BOTH,
            baseline=1.0,
            effect=self.exposed.effect,
            **self.columns(lambda found: float(found[:, : self.k].min() / np.median(pairs))),
        )

    def rank(self, space: str) -> Measure:
        """Chance: the best of k comes, on average, before all but M / (k + 1) of the M others."""
        count, images = self.distances.shape
        return Measure.of(
            space,
            RANK,
            bootstrap(
                _rank(self.distances, self.k),
                count,
                lambda rows, _: _rank(self.distances[rows], self.k),
                seed=self.seed,
                draws=RESAMPLES,
            ),
            BOOTSTRAP,
            baseline=1 + (images - self.k) / (self.k + 1),
            **self.columns(lambda found: _rank(found, self.k)),
        )

    def linkage_rate(self, space: str) -> Measure:
        """The nearest source stands for all k of them. Chance: k + M images are nearest with equal odds."""

        def linked(found: NDArray[np.float64]) -> int:
            return int((found.argmin(axis=1) < self.k).sum())

        count, images = self.distances.shape
        return Measure.of(
            space,
            LINKAGE_RATE,
            wilson(linked(self.distances), count),
            WILSON,
            baseline=self.k / images,
            **self.columns(lambda found: linked(found) / len(found)),
        )


def _rank(distances: NDArray[np.float64], k: int) -> float:
    """Place of the nearest of k sources among the other real images, 1 the nearest of all."""
    best = distances.min(axis=0)
    return float(1 + (best[k:] < best[:k].min()).sum())
