"""Best-of-N: is a source the real image that the samples lie nearest to, and how near?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hospital_node.audit.attack import Array, AttackContext, AttackResult, AuditLimits, Measure
from hospital_node.audit.attacks.distance import SPACES, between, rmse
from hospital_node.audit.intervals import bootstrap, wilson

BOOTSTRAP = "percentile bootstrap over the samples, 95 %"
BOOTSTRAP_BOTH = "percentile bootstrap over the samples and the pairs of real images, 95 %"
WILSON = "Wilson, 95 %"


@dataclass(frozen=True)
class BestOfN:
    """The attacker draws N samples and keeps the one nearest to each real image that is held up to them."""

    name: str = "best-of-n"

    def run(self, context: AttackContext) -> AttackResult:
        measures: list[Measure] = []
        nearest: list[Nearness] = []
        at_chance: bool | None = True if context.has_controls else None
        for space, view in SPACES.items():
            sources = view(context.sources)
            real = np.concatenate([sources, view(context.controls)])
            distances = rmse(view(context.samples), real)
            pairs = between(real) if context.has_controls else np.zeros(0)
            measures += _measures(space, distances, len(sources), pairs, context.seed)
            if context.has_controls:
                rate = next(measure for measure in measures if measure.name == f"{space}.linkage_rate")
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
    """A distance to the source as a share of what distances there mean."""

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


def _measures(
    space: str, distances: NDArray[np.float64], k: int, pairs: NDArray[np.float64], seed: int
) -> list[Measure]:
    """Figures of one space from `(N, k + M)` distances, the k sources first, and the real-real ones.

    The nearest source stands for all of them. Chance: k + M images are nearest with equal odds, and the best
    of k comes, on average, before all but M / (k + 1) of the M others.
    """
    count, images = distances.shape
    own = distances[:, :k].min(axis=1)
    best = own.min()
    best_others = distances[:, k:].min(axis=0)
    found = [
        Measure.of(
            f"{space}.best_distance",
            best,
            bootstrap(count, lambda rows, _: own[rows].min(), seed=seed),
            BOOTSTRAP,
            baseline=float(np.median(pairs)) if len(pairs) else None,
            control=float(best_others.min()) if images > k else None,
        ),
    ]
    if not len(pairs):
        return found
    nearest = distances.argmin(axis=1)
    linked = int((nearest < k).sum())
    # The k others that the samples are nearest to most often.
    others = np.sort(np.bincount(nearest, minlength=images)[k:])[-k:]
    return [
        *found,
        Measure.of(
            f"{space}.distance_ratio",
            best / np.median(pairs),
            bootstrap(
                count,
                lambda rows, rng: own[rows].min() / np.median(rng.choice(pairs, len(pairs))),
                seed=seed,
            ),
            BOOTSTRAP_BOTH,
            baseline=1.0,
            control=float(best_others.min() / np.median(pairs)),
        ),
        Measure.of(
            f"{space}.rank",
            _rank(distances, k),
            bootstrap(count, lambda rows, _: _rank(distances[rows], k), seed=seed),
            BOOTSTRAP,
            baseline=1 + (images - k) / (k + 1),
        ),
        Measure.of(
            f"{space}.linkage_rate",
            linked / count,
            wilson(linked, count),
            WILSON,
            baseline=k / images,
            control=float(others.sum() / count),
        ),
    ]


def _rank(distances: NDArray[np.float64], k: int) -> float:
    """Place of the nearest of k sources among the other real images, 1 the nearest of all."""
    best = distances.min(axis=0)
    return float(1 + (best[k:] < best[:k].min()).sum())
