"""Mean and median of samples: what all samples share may be a source itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hospital_node.audit.attack import (
    MIN_CONTROLS,
    RESAMPLES,
    Array,
    AttackContext,
    AttackResult,
    Compared,
    Measure,
    Quantity,
    Question,
)
from hospital_node.audit.attacks.distance import SPACES, between, rmse
from hospital_node.audit.attacks.nearest import Nearness, exposed_by, near_copy, nearnesses
from hospital_node.audit.exposure import Exposure, worst
from hospital_node.leaks.correlation import correlation
from sharekit.intervals import bootstrap

NAME = "mean-of-samples"
DISTANCE = Quantity(NAME, "distance", "distance of the samples' mean to a source (RMSE)", lower_is_worse=True)
CORRELATION = Quantity(NAME, "correlation", "correlation of the samples' mean with a source")
MEDIAN_DISTANCE = Quantity(
    NAME, "median_distance", "distance of the samples' median to a source (RMSE)", lower_is_worse=True
)

SHIFTED = "percentile bootstrap over the samples, moved to the estimate, 95 %"
HALVES = "the medians of both halves of the samples"
MEDIAN_OF = 256
"""Samples that a median is taken of: more would take longer than they tell."""


@dataclass(frozen=True)
class MeanOfSamples:
    """The attacker averages N samples, and takes their median, and compares both with the real images."""

    name: str = NAME
    question: Question = Question.EXTRACTION

    def run(self, context: AttackContext) -> AttackResult:
        measures: list[Measure] = []
        copies: dict[str, list[Nearness]] = {"mean": [], "median": []}
        found: list[Exposure] = []
        for space, view in SPACES.items():
            images = context.compared.at(view)
            pairs = between(images.real) if context.has_controls else np.zeros(0)
            mean, median = images.samples.mean(axis=0), _median(images.samples)
            for words, one in (("mean", mean), ("median", median)):
                reached = rmse(one[None], images.real)[0]
                found.append(exposed_by(images, reached))
                copies[words] += nearnesses(reached, images.sources, pairs)
            measures += [
                _distance(space, images, mean, found[-2], context.seed),
                _correlation(space, images, context.seed),
                _median_distance(space, images, median, found[-1]),
            ]
        objections = [
            line
            for words, nearest in copies.items()
            for line in near_copy(f"the {words} of the samples", nearest, context.limits)
        ]
        return AttackResult(
            self.name,
            "RMSE in [-1, 1] and Pearson correlation of the samples' mean, and RMSE of their median, with the"
            " sources and with other real images",
            len(context.samples),
            len(context.controls),
            tuple(measures),
            worst(found),
            tuple(objections),
        )


def _columns(images: Compared, figure: Callable[[Array], float]) -> dict[str, float | None]:
    """A figure of averaged images, for other real images and for another generator's samples."""
    return {
        "control": figure(images.controls) if len(images.controls) >= MIN_CONTROLS else None,
        "stranger": figure(images.strangers) if len(images.strangers) else None,
    }


def _distance(space: str, images: Compared, mean: Array, exposed: Exposure, seed: int) -> Measure:
    """Distance of the samples' mean to the nearest of the k sources, which stands for all of them."""
    count = len(images.samples)
    flat = (images.samples - mean).reshape(count, -1)
    targets = (images.sources - mean).reshape(len(images.sources), -1)
    # The mean of a resample is a weighted sum, so its distances follow from inner products of the samples.
    inner = (flat @ flat.T).astype(np.float64) / flat.shape[1]
    towards = (flat @ targets.T).astype(np.float64) / flat.shape[1]
    lengths = (targets.astype(np.float64) ** 2).mean(axis=1)

    def resampled(rows: NDArray[np.intp], _: np.random.Generator) -> float:
        weights = np.bincount(rows, minlength=count) / count
        squares = weights @ inner @ weights - 2 * (weights @ towards) + lengths
        return float(np.sqrt(max(float(squares.min()), 0.0)))

    def nearest(of: Array) -> float:
        return float(rmse(of.mean(axis=0)[None], images.sources).min())

    return Measure.of(
        space,
        DISTANCE,
        bootstrap(nearest(images.samples), count, resampled, seed=seed, draws=RESAMPLES, centred=True),
        SHIFTED,
        baseline=_median_between(images),
        effect=exposed.effect,
        **_columns(images, nearest),
    )


def _correlation(space: str, images: Compared, seed: int) -> Measure:
    count = len(images.samples)
    flat = images.samples.reshape(count, -1)
    centred = flat - flat.mean(axis=1, keepdims=True)
    targets = images.sources.reshape(len(images.sources), -1)
    centred_targets = targets - targets.mean(axis=1, keepdims=True)
    covariance = (centred @ centred.T).astype(np.float64)
    towards = (centred @ centred_targets.T).astype(np.float64)
    norms = np.linalg.norm(centred_targets.astype(np.float64), axis=1)

    def resampled(rows: NDArray[np.intp], _: np.random.Generator) -> float:
        weights = np.bincount(rows, minlength=count) / count
        scales = np.sqrt(max(float(weights @ covariance @ weights), 0.0)) * norms
        products = weights @ towards
        return max(
            float(product / scale) if scale > 0 else 0.0
            for product, scale in zip(products, scales, strict=True)
        )

    def most(of: Array) -> float:
        return _most_correlated(images.sources, of.mean(axis=0))

    controls = images.controls
    return Measure.of(
        space,
        CORRELATION,
        bootstrap(most(images.samples), count, resampled, seed=seed, draws=RESAMPLES, centred=True),
        SHIFTED,
        baseline=float(np.median([_most_correlated(images.sources, image) for image in controls]))
        if len(controls) >= MIN_CONTROLS
        else None,
        **_columns(images, most),
    )


def _median_distance(space: str, images: Compared, median: Array, exposed: Exposure) -> Measure:
    def nearest(of: Array) -> float:
        return float(rmse(_median(of)[None], images.sources).min())

    value = float(rmse(median[None], images.sources).min())
    # Resampling whole medians would take longer than the attack; two halves show how firm the figure is.
    halves = [nearest(images.samples[start::2]) for start in (0, 1) if len(images.samples) > start]
    return Measure(
        space,
        MEDIAN_DISTANCE.name,
        value,
        min(value, *halves),
        max(value, *halves),
        HALVES,
        baseline=_median_between(images),
        effect=exposed.effect,
        **_columns(images, nearest),
    )


def _median(images: Array) -> Array:
    return np.median(images[:MEDIAN_OF], axis=0)


def _median_between(images: Compared) -> float | None:
    """What other real images themselves give with the sources, which stands for no leak at all."""
    if len(images.controls) < MIN_CONTROLS:
        return None
    return float(np.median(rmse(images.sources, images.controls).min(axis=0)))


def _most_correlated(sources: Array, image: Array) -> float:
    return max(correlation(image, source) for source in sources)
