"""Confidence intervals for risk figures."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.stats import norm

from sharekit import intervals
from sharekit.intervals import Statistic

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
    statistic: Statistic,
    *,
    seed: int,
    estimate: float | None = None,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> Interval:
    """`sharekit.intervals.bootstrap` with the audit's number of resamples."""
    return Interval(
        *intervals.bootstrap(
            count, statistic, seed=seed, draws=resamples, level=confidence, estimate=estimate
        )
    )
