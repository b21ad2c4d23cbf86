"""Confidence intervals for risk figures."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

CONFIDENCE = 0.95
RESAMPLES = 200


class Interval(NamedTuple):
    low: float
    high: float


def wilson(successes: int, trials: int, confidence: float = CONFIDENCE) -> Interval:
    """Score interval of a binomial proportion (Wilson, JASA 22:209-212, 1927).

    Raises:
        ValueError: no trials, or successes outside 0..trials.
    """
    if trials <= 0 or not 0 <= successes <= trials:
        raise ValueError(f"successes must be from 0 to trials > 0, not {successes} of {trials}")
    z = float(norm.ppf((1 + confidence) / 2))
    share = successes / trials
    centre = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * np.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    return Interval(max(0.0, float(centre - half)), min(1.0, float(centre + half)))


def bootstrap(
    count: int,
    statistic: Callable[[NDArray[np.intp], np.random.Generator], float],
    *,
    seed: int,
    estimate: float | None = None,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Percentile bootstrap (Efron, Annals of Statistics 7:1-26, 1979) over `count` observations.

    `statistic` gets the indices of one resample, and a random generator for anything else that it resamples.
    The interval of a minimum is one-sided: no resample lies below the observed minimum. With `estimate` the
    interval is moved so that its median lies there: for figures of a mean, which is noisier in a resample.
    """
    rng = np.random.default_rng(seed)
    values = [statistic(rng.integers(0, count, count), rng) for _ in range(resamples)]
    low, middle, high = np.quantile(values, [(1 - confidence) / 2, 0.5, (1 + confidence) / 2])
    shift = 0.0 if estimate is None else estimate - middle
    return Interval(float(low + shift), float(high + shift))
