"""Best-of-N: is a source the real image that the samples lie nearest to, and how near?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hospital_node.audit.attack import (
    RESAMPLES,
    Array,
    AttackContext,
    AttackResult,
    AuditLimits,
    Measure,
    Quantity,
    Space,
)
from hospital_node.audit.attacks.distance import SPACES, between, rmse
from sharekit.intervals import bootstrap, wilson

NAME = "best-of-n"
BEST_DISTANCE = Quantity(NAME, "best_distance")
DISTANCE_RATIO = Quantity(NAME, "distance_ratio")
RANK = Quantity(NAME, "rank")
LINKAGE_RATE = Quantity(NAME, "linkage_rate")

BOOTSTRAP = "percentile bootstrap over the samples, 95 %"
BOOTSTRAP_BOTH = "percentile bootstrap over the samples and the pairs of real images, 95 %"
WILSON = "Wilson, 95 %"


@dataclass(frozen=True)
class BestOfN:
    """The attacker draws N samples and keeps the one nearest to each real image."""

    name: str = NAME

    def run(self, context: AttackContext) -> AttackResult:
        measures: list[Measure] = []
        nearest: list[Nearness] = []
        at_chance: bool | None = True if context.has_controls else None
        for space, view in SPACES.items():
            sources = view(context.sources)
            real = np.concatenate([sources, view(context.controls)])
            distances = rmse(view(context.samples), real)
            pairs = between(real) if context.has_controls else np.zeros(0)
            measures.append(_best_distance(space, distances, len(sources), pairs, context.seed))
            if context.has_controls:
                ratio, rank, rate = _compared_with_controls(
                    space, distances, len(sources), pairs, context.seed
                )
                measures += [ratio, rank, rate]
                at_chance = at_chance and rate.low <= (rate.baseline or 0)
            nearest += [
                nearness(distances[:, number].min(), sources[number : number + 1], pairs)
                for number in range(len(sources))
            ]
        return AttackResult(
            self.name,
            "RMSE in [-1, 1] of the image channels, from every sample to the sources and to other real"
            " images",
            len(context.samples),
            len(context.controls),
            tuple(measures),
            at_chance,
            near_copy("the nearest sample", nearest, context.limits),
        )


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


def near_copy(what: str, found: Sequence[Nearness], limits: AuditLimits) -> tuple[str, ...]:
    """The objection when the nearest of `found` is below what the limits tolerate."""
    nearest = min(found, key=lambda one: one.ratio)
    if nearest.ratio >= limits.min_distance_ratio:
        return ()
    return (
        f"near copy: {what} lies at {nearest.ratio:.3f} of {nearest.reference},"
        f" below {limits.min_distance_ratio:g}",
    )


def _best_distance(
    space: Space, distances: NDArray[np.float64], k: int, pairs: NDArray[np.float64], seed: int
) -> Measure:
    """From `(N, k + M)` distances, the k sources first, and those between real images, if any."""
    own, others = distances[:, :k].min(axis=1), distances[:, k:]
    return Measure.of(
        space,
        BEST_DISTANCE,
        bootstrap(own.min(), len(own), lambda rows, _: own[rows].min(), seed=seed, draws=RESAMPLES),
        BOOTSTRAP,
        baseline=float(np.median(pairs)) if len(pairs) else None,
        control=float(others.min()) if others.size else None,
    )


def _compared_with_controls(
    space: Space, distances: NDArray[np.float64], k: int, pairs: NDArray[np.float64], seed: int
) -> tuple[Measure, Measure, Measure]:
    """Distance ratio, rank and linkage rate from `(N, k + M)` distances and those between real images.

    The nearest source stands for all k of them. Chance: k + M images are nearest with equal odds, and the
    best of k comes, on average, before all but M / (k + 1) of the M others.
    """
    count, images = distances.shape
    own = distances[:, :k].min(axis=1)
    nearest = distances.argmin(axis=1)
    # The k others that the samples are nearest to most often.
    others = np.sort(np.bincount(nearest, minlength=images)[k:])[-k:]
    ratio = Measure.of(
        space,
        DISTANCE_RATIO,
        bootstrap(
            own.min() / np.median(pairs),
            count,
            lambda rows, rng: own[rows].min() / np.median(rng.choice(pairs, len(pairs))),
            seed=seed,
            draws=RESAMPLES,
        ),
        BOOTSTRAP_BOTH,
        baseline=1.0,
        control=float(distances[:, k:].min() / np.median(pairs)),
    )
    rank = Measure.of(
        space,
        RANK,
        bootstrap(
            _rank(distances, k), count, lambda rows, _: _rank(distances[rows], k), seed=seed, draws=RESAMPLES
        ),
        BOOTSTRAP,
        baseline=1 + (images - k) / (k + 1),
    )
    rate = Measure.of(
        space,
        LINKAGE_RATE,
        wilson(int((nearest < k).sum()), count),
        WILSON,
        baseline=k / images,
        control=float(others.sum() / count),
    )
    return ratio, rank, rate


def _rank(distances: NDArray[np.float64], k: int) -> float:
    """Place of the nearest of k sources among the other real images, 1 the nearest of all."""
    best = distances.min(axis=0)
    return float(1 + (best[k:] < best[:k].min()).sum())
