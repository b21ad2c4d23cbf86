"""Real against real, the floor: what a figure is for two sets that differ by nothing but chance."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hospital_node.fidelity.fidelity_report import Better, Comparison
from hospital_node.fidelity.fidelity_settings import FidelitySettings
from hospital_node.fidelity.frechet import Features
from sharekit.intervals import Interval, middle

MIN_IMAGES = 6
"""Fewer images leave less than three in a half, too few for nearest neighbours."""

Statistic = Callable[[Features, Features], Mapping[str, float]]
"""Real `(n, d)` and other `(m, d)` pictures to figures by name."""


def compare(
    real: Features,
    samples: Features,
    statistic: Statistic,
    better: Better,
    settings: FidelitySettings,
) -> list[Comparison]:
    """Compare figures of samples with those of real images, on the same images and set sizes.

    The real images are split into random halves A and B. Real A against real B is the floor; a sample of each
    of A's generators against real B is the figure. So the two differ only in whether A's pictures are real,
    and no sample is compared with its own source, which it may have memorised.

    The interval is the middle 95 % over the splits: half-sampling (McCarthy, Review of the International
    Statistical Institute 37:239-264, 1969), whose spread is that of the bootstrap for a mean of the real
    images. It is no 95 % confidence interval of the differences here, but wider: on independent Gaussian sets
    it implies 1.6 to 3.5 times their true standard deviation. So it errs on the cautious side, and a small
    difference does not show. Drawing images with replacement would not do: a picture that occurs twice is its
    own nearest neighbour, and bends covariances.

    Args:
        real: `(n, d)` of the real images, n at least `MIN_IMAGES`.
        samples: `(n, k, d)` of k samples of each image's generator, in the same order.
        statistic: figures of two sets.
        better: which way all of them are better.
        settings: the number of splits, and the seed.
    """
    count, each = samples.shape[:2]
    half = count // 2
    rng = np.random.default_rng(settings.seed)
    floor, figure = [], []
    for _ in range(settings.halves):
        first, second = np.split(rng.permutation(count)[: 2 * half], 2)
        floor.append(statistic(real[second], real[first]))
        figure.append(statistic(real[second], samples[first, rng.integers(0, each, half)]))
    whole = statistic(real, samples.reshape(count * each, -1))
    found = []
    for name, value in whole.items():
        of_real = np.array([values[name] for values in floor])
        of_samples = np.array([values[name] for values in figure])
        found.append(
            Comparison(
                name,
                better,
                floor=_middle(of_real, half),
                samples=_middle(of_samples, half),
                difference=_middle(of_samples - of_real, half),
                whole=value,
                real_count=count,
                sample_count=count * each,
            )
        )
    return found


def _middle(values: NDArray[np.float64], count: int) -> Interval:
    """Mean and middle of the splits' values; widened where rare values pull the mean out of the middle."""
    found = middle(float(values.mean()), values, count)
    return replace(found, low=min(found.low, found.mean), high=max(found.high, found.mean))
