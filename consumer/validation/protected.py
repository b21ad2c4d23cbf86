"""Compare a data set's mask coverage with that of the real masks, known only through noised counts.

A bundle publishes counts with discrete Laplace noise, with negative counts set to 0, and the number of images
without noise. This module simulates the true counts that could lie behind the published ones, and computes a
distance to each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from consumer.validation.validation_report import Comparison
from sharekit.intervals import LEVEL, middle

DRAWS = 1000
_REACH = 30
"""Distance from a published count, in scales of the noise, to search; beyond it, the probability is 1e-13."""

Counts = Sequence[int] | NDArray[np.int64]
Distance = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]


def total_variation(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Half the summed absolute difference of two histograms of shares `(…, bins)`: `(…)`, 0 to 1."""
    return np.minimum(np.abs(first - second).sum(axis=-1) / 2, 1.0)


def kolmogorov_smirnov(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Largest difference of the two distribution functions at the bins' edges: `(…)`, 0 to 1.

    This is a lower bound of the Kolmogorov-Smirnov distance of the values, because the functions may differ
    more between two edges.
    """
    difference = np.cumsum(first, axis=-1) - np.cumsum(second, axis=-1)
    return np.minimum(np.abs(difference).max(axis=-1), 1.0)


def shares(counts: Counts) -> NDArray[np.float64] | None:
    """Counts `(…, bins)` as shares of their sum; None when a sum is 0."""
    values = np.asarray(counts, np.float64)
    total = values.sum(axis=-1, keepdims=True)
    return values / total if np.all(total) else None


def compare(
    distance: Distance,
    counts: Counts,
    published: Counts,
    image_count: int,
    scale: float,
    *,
    seed: int = 0,
    draws: int = DRAWS,
) -> Comparison | None:
    """The distance between a data set's masks and the real ones.

    `interval.mean` averages over the possible true counts; the interval also resamples the data set's masks.
    Among data sets with as many masks, drawn from the real distribution itself, 95 % stay below `chance`.

    Args:
        distance: `total_variation` or `kolmogorov_smirnov`.
        counts: masks of the data set in each bin.
        published: noised counts of the real masks in each bin.
        image_count: number of real masks, without noise.
        scale: scale of the discrete Laplace noise.
        seed: seed of the simulation.
        draws: number of simulated true histograms.

    Returns:
        The comparison; None when the data set has no masks, or `published` cannot come from `image_count`
        masks.
    """
    rng = np.random.default_rng(seed)
    own = shares(counts)
    truths = possible_counts(published, image_count, scale, draws, rng)
    if own is None or truths is None:
        return None
    masks = int(np.sum(counts))
    real = truths / image_count
    around = distance(rng.multinomial(masks, own, draws) / masks, real)
    # A data set drawn from one possible truth is compared with another truth, as the real data set is.
    null = distance(rng.multinomial(masks, rng.permutation(real)) / masks, real)
    as_published = shares(published)
    return Comparison(
        as_published=None if as_published is None else float(distance(own, as_published)),
        interval=middle(float(distance(own, real).mean()), around, masks),
        chance=float(np.quantile(null, LEVEL)),
    )


def possible_counts(
    published: Counts, total: int, scale: float, draws: int, rng: np.random.Generator
) -> NDArray[np.int64] | None:
    """Draw true counts that may lie behind noised ones: int `(draws, bins)`, each row with sum `total`.

    The draws are exact, from the posterior under a flat prior on all histograms of that sum. The probability
    that a true count c is published as y falls as exp(-|c - y| / scale). For a negative count set to 0, it
    falls as exp(-c / scale), which is the same formula. The method is forward filtering, backward sampling:
    it tabulates the sums of the remaining bins from the last bin back.

    Returns:
        The counts; None when no such histogram is near the published counts.
    """
    low = np.maximum(np.asarray(published) - int(np.ceil(_REACH * scale)), 0)
    spare = total - int(low.sum())
    if spare < 0:
        return None
    likelihoods = [
        np.exp(-np.abs(np.arange(start, y + int(np.ceil(_REACH * scale)) + 1)[: spare + 1] - y) / scale)
        for start, y in zip(low.tolist(), np.asarray(published).tolist(), strict=True)
    ]
    # rest[k][r] is proportional to the probability that bins k and up hold r above their lower ends.
    rest = [np.ones(1)]
    for likelihood in reversed(likelihoods):
        table = np.convolve(likelihood, rest[-1])[: spare + 1]
        rest.append(table / table.max())
    rest.reverse()
    if spare >= len(rest[0]) or not rest[0][spare]:
        return None
    left = np.full(draws, spare)
    drawn = np.empty((draws, len(likelihoods)), np.int64)
    for place, likelihood in enumerate(likelihoods):
        remaining = left[:, None] - np.arange(len(likelihood))
        table = rest[place + 1]
        possible = (remaining >= 0) & (remaining < len(table))
        weights = np.where(possible, likelihood * table[np.where(possible, remaining, 0)], 0.0)
        cumulative = weights.cumsum(axis=1)
        threshold = rng.random(draws)[:, None] * cumulative[:, -1:]
        above = (cumulative <= threshold).sum(axis=1)
        drawn[:, place] = low[place] + above
        left = left - above
    return drawn
