"""Intervals: how much a figure would vary with other images, folds or seeds of the same kind."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharekit.errors import InputError, missing_package

LEVEL = 0.95
DRAWS = 2000

Statistic = Callable[[NDArray[np.intp], np.random.Generator], float]
"""Computes the figure from the indices of one resample; the generator serves for further resampling."""


@dataclass(frozen=True)
class Interval:
    """A figure with its interval. Law: `from_json(to_json(x)) == x`."""

    mean: float  # the figure: a mean, a share, or what `bootstrap` resampled
    low: float
    high: float
    count: int  # observations behind it

    def to_json(self) -> dict[str, float | int]:
        return asdict(self)

    @staticmethod
    def from_json(value: Any) -> Interval:
        """Read the output of `to_json`.

        Raises:
            InputError: the fields differ, a number is not finite, or the count is not at least 1.
        """
        if not (
            isinstance(value, Mapping)
            and set(value) == {"mean", "low", "high", "count"}
            and all(_is_finite(value[name]) for name in ("mean", "low", "high"))
            and type(value["count"]) is int
            and value["count"] > 0
        ):
            raise InputError(
                "interval",
                expected="the finite numbers mean, low and high, and count, at least 1",
                found=repr(value)[:100],
                next_step="make the file again",
            )
        return Interval(float(value["mean"]), float(value["low"]), float(value["high"]), value["count"])

    def __str__(self) -> str:
        return f"{self.mean:.3g} [{self.low:.3g}, {self.high:.3g}]"


def bootstrap_mean(
    values: Sequence[float] | NDArray[np.floating[Any]],
    *,
    seed: int = 0,
    draws: int = DRAWS,
    level: float = LEVEL,
) -> Interval:
    """The mean of independent observations with its percentile bootstrap interval.

    A single value says nothing about the spread: `low` and `high` equal it, and `count` is 1.

    Args:
        values: `(n,)`, finite, at least one.

    Raises:
        ValueError: `values` is empty, has more than one axis, or is not finite.
    """
    array = _observations(values)
    return bootstrap(
        float(array.mean()),
        array.size,
        lambda rows, _: float(array[rows].mean()),
        seed=seed,
        draws=draws,
        level=level,
    )


def student_mean(values: Sequence[float] | NDArray[np.floating[Any]]) -> Interval:
    """The mean of a few independent observations with its 95 % Student t interval (Biometrika 6:1-25, 1908).

    With few values a percentile bootstrap is too narrow: for three values it spans from the smallest to the
    largest, and three values with mean 0 all have the same sign one time in four. A single value says nothing
    about the spread: `low` and `high` equal it, and `count` is 1.

    Args:
        values: `(n,)`, finite, at least one.

    Raises:
        ValueError: `values` is empty, has more than one axis, or is not finite.
        DependencyError: SciPy is not installed.
    """
    array = _observations(values)
    mean, freedom = float(array.mean()), array.size - 1
    if not freedom:
        return Interval(mean, mean, mean, 1)
    quantile = float(_scipy_special().stdtrit(freedom, (1 + LEVEL) / 2))
    reach = quantile * float(array.std(ddof=1)) / math.sqrt(array.size)
    return Interval(mean, mean - reach, mean + reach, array.size)


def wilson(successes: int, trials: int) -> Interval:
    """The share of successes with its 95 % score interval (Wilson, JASA 22:209-212, 1927).

    Raises:
        ValueError: `trials` is not positive, or `successes` is outside 0..trials.
        DependencyError: SciPy is not installed.
    """
    _check_share(successes, trials)
    share, quantile = successes / trials, float(_scipy_special().ndtri((1 + LEVEL) / 2))
    square = quantile**2 / trials
    centre = (share + square / 2) / (1 + square)
    reach = quantile * math.sqrt((share * (1 - share) + square / 4) / trials) / (1 + square)
    # Rounding, where all or none succeed.
    low = 0.0 if successes == 0 else centre - reach
    high = 1.0 if successes == trials else centre + reach
    return Interval(share, low, high, trials)


def clopper_pearson(successes: int, trials: int) -> Interval:
    """The share of successes with its exact 95 % interval (Clopper and Pearson, Biometrika 26:404-413, 1934).

    It covers the true share in at least 95 % of all cases, however few the trials. Raises as `wilson`.
    """
    _check_share(successes, trials)
    special, tail = _scipy_special(), (1 - LEVEL) / 2
    low, high = 0.0, 1.0
    if successes > 0:
        low = float(special.betaincinv(successes, trials - successes + 1, tail))
    if successes < trials:
        high = float(special.betaincinv(successes + 1, trials - successes, 1 - tail))
    return Interval(successes / trials, low, high, trials)


def _check_share(successes: int, trials: int) -> None:
    if trials <= 0 or not 0 <= successes <= trials:
        raise ValueError(f"successes must be from 0 to trials > 0, not {successes} of {trials}")


def bootstrap(
    figure: float,
    count: int,
    statistic: Statistic,
    *,
    seed: int = 0,
    draws: int = DRAWS,
    level: float = LEVEL,
    centred: bool = False,
) -> Interval:
    """A figure with its percentile bootstrap interval (Efron, Annals of Statistics 7:1-26, 1979).

    The interval of a minimum is one-sided, because no resample lies below the observed minimum.

    Args:
        figure: value of `statistic` for the observations themselves.
        count: number of observations.
        statistic: computes the same figure for a resample.
        seed: seed of the resamples.
        draws: number of resamples.
        level: share of the resamples inside the interval, 0 to 1.
        centred: shift the interval so that its median is the figure. A resample repeats observations, which
            alone makes some figures smaller or larger, such as a standard deviation.
    """
    rng = np.random.default_rng(seed)
    values = [statistic(rng.integers(0, count, count), rng) for _ in range(draws)]
    low, median, high = np.quantile(values, [(1 - level) / 2, 0.5, (1 + level) / 2])
    shift = figure - median if centred else 0.0
    return Interval(float(figure), float(low + shift), float(high + shift), count)


def middle(figure: float, drawn: NDArray[np.floating[Any]], count: int) -> Interval:
    """A figure with the middle 95 % of its values over draws, for draws made elsewhere than in `bootstrap`.

    Args:
        drawn: `(draws,)`, the figure in each draw.
        count: number of observations behind the figure.
    """
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(figure), float(low), float(high), count)


def _scipy_special() -> ModuleType:
    """Quantiles; `scipy.stats` has them too, but takes a second to load. The base install has no SciPy."""
    try:
        from scipy import special
    except ImportError:
        raise missing_package("scipy", "experiment") from None
    module: ModuleType = special
    return module


def _observations(values: Sequence[float] | NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or not array.size or not np.isfinite(array).all():
        raise ValueError(f"values must be a finite (n,) with n > 0, not {array.shape}: {array.ravel()[:5]}")
    return array


def _is_finite(value: Any) -> bool:
    return type(value) in (int, float) and bool(np.isfinite(value))
