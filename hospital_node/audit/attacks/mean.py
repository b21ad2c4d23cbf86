"""Mean of samples: what all samples share may be a source itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hospital_node.audit.attack import RESAMPLES, Array, AttackContext, AttackResult, Measure, Quantity, Space
from hospital_node.audit.attacks.distance import SPACES, between, rmse
from hospital_node.audit.attacks.nearest import Nearness, near_copy, nearness
from hospital_node.leaks.correlation import correlation
from sharekit.intervals import bootstrap

NAME = "mean-of-samples"
DISTANCE = Quantity(NAME, "distance")
CORRELATION = Quantity(NAME, "correlation")

SHIFTED = "percentile bootstrap over the samples, moved to the estimate, 95 %"


@dataclass(frozen=True)
class MeanOfSamples:
    """The attacker averages N samples and compares the mean with the real images."""

    name: str = NAME

    def run(self, context: AttackContext) -> AttackResult:
        measures: list[Measure] = []
        nearest: list[Nearness] = []
        at_chance: bool | None = True if context.has_controls else None
        for space, view in SPACES.items():
            samples = view(context.samples)
            sources = view(context.sources)
            controls = view(context.controls)
            distance, correlated = _measures(space, samples, sources, controls, context.seed)
            measures += [distance, correlated]
            if context.has_controls:
                # A source stands out when the mean is closer to it than to every other real image.
                at_chance = at_chance and distance.value >= (distance.control or 0)
            pairs = between(np.concatenate([sources, controls])) if context.has_controls else np.zeros(0)
            reached = rmse(samples.mean(axis=0)[None], sources)[0]
            nearest += [
                nearness(float(reached[number]), sources[number : number + 1], pairs)
                for number in range(len(sources))
            ]
        return AttackResult(
            self.name,
            "RMSE in [-1, 1] and Pearson correlation of the samples' mean with the sources and with other"
            " real images",
            len(context.samples),
            len(context.controls),
            tuple(measures),
            at_chance,
            near_copy("the mean of the samples", nearest, context.limits),
        )


def _measures(
    space: Space, samples: Array, sources: Array, controls: Array, seed: int
) -> tuple[Measure, Measure]:
    """Distance and correlation of the mean of `(N, C, H, W)` with `(k, C, H, W)` and `(M, C, H, W)`.

    The source that is nearest, or correlates most, stands for all of them. The baselines are what the other
    real images themselves give with the sources.
    """
    count = len(samples)
    mean = samples.mean(axis=0)
    flat = samples.reshape(count, -1).astype(np.float64)
    targets = sources.reshape(len(sources), -1).astype(np.float64)
    # The mean of a resample is a weighted sum, so its distances follow from inner products of the samples.
    spreads = [(flat - target) @ (flat - target).T / flat.shape[1] for target in targets]
    centred = flat - flat.mean(axis=1, keepdims=True)
    centred_targets = targets - targets.mean(axis=1, keepdims=True)
    covariance, towards = centred @ centred.T, centred @ centred_targets.T
    norms = np.linalg.norm(centred_targets, axis=1)

    def resampled_distance(rows: NDArray[np.intp], _: np.random.Generator) -> float:
        weights = np.bincount(rows, minlength=count) / count
        return min(float(np.sqrt(max(float(weights @ spread @ weights), 0.0))) for spread in spreads)

    def resampled_correlation(rows: NDArray[np.intp], _: np.random.Generator) -> float:
        weights = np.bincount(rows, minlength=count) / count
        scales = np.sqrt(max(float(weights @ covariance @ weights), 0.0)) * norms
        products = weights @ towards
        return max(
            float(product / scale) if scale > 0 else 0.0
            for product, scale in zip(products, scales, strict=True)
        )

    distance_found = float(rmse(mean[None], sources).min())
    distance = Measure.of(
        space,
        DISTANCE,
        bootstrap(distance_found, count, resampled_distance, seed=seed, draws=RESAMPLES, centred=True),
        SHIFTED,
        baseline=float(np.median(rmse(sources, controls).min(axis=0))) if len(controls) else None,
        control=float(rmse(mean[None], controls).min()) if len(controls) else None,
    )
    correlation_found = _most_correlated(sources, mean)
    correlated = Measure.of(
        space,
        CORRELATION,
        bootstrap(correlation_found, count, resampled_correlation, seed=seed, draws=RESAMPLES, centred=True),
        SHIFTED,
        baseline=float(np.median([_most_correlated(sources, image) for image in controls]))
        if len(controls)
        else None,
        control=max(correlation(mean, image) for image in controls) if len(controls) else None,
    )
    return distance, correlated


def _most_correlated(sources: Array, image: Array) -> float:
    return max(correlation(image, source) for source in sources)
