"""Intervals: how far a figure would move, had other images, folds or seeds of the same kind been drawn."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharekit.errors import InputError

LEVEL = 0.95
DRAWS = 2000

# fmt: off
_T = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)
# fmt: on
"""0.975 quantiles of Student's t distribution with 1, 2, …, 30 degrees of freedom."""
_NORMAL = 1.96
"""The same quantile of the normal distribution, taken for more degrees of freedom."""

Statistic = Callable[[NDArray[np.intp], np.random.Generator], float]
"""The indices of one resample, and a generator for anything else that it resamples, to the figure."""


@dataclass(frozen=True)
class Interval:
    """A figure with its interval. Law: `from_json(to_json(x)) == x`."""

    mean: float
    low: float
    high: float
    count: int  # observations behind it

    def to_json(self) -> dict[str, float | int]:
        return asdict(self)

    @staticmethod
    def from_json(value: Any) -> Interval:
        """Read what `to_json` gave.

        Raises:
            InputError: other fields, something that is no finite number, or no count.
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

    Of a single value nothing is known about the spread: `low` and `high` are that value, and `count` says so.

    Args:
        values: `(n,)`, finite, at least one.

    Raises:
        ValueError: no values, more than one axis, or a value that is not finite.
    """
    array = _observations(values)
    low, high = bootstrap(
        array.size, lambda rows, _: float(array[rows].mean()), seed=seed, draws=draws, level=level
    )
    return Interval(float(array.mean()), low, high, array.size)


def student_mean(values: Sequence[float] | NDArray[np.floating[Any]]) -> Interval:
    """The mean of a few independent observations with its 95 % Student t interval (Biometrika 6:1-25, 1908).

    For so few that a percentile bootstrap is too sure of itself: of three values it reaches from the least
    to the greatest, and three of mean 0 lie on one side of it one time in four. Of a single value nothing is
    known about the spread: `low` and `high` are that value, and `count` says so.

    Args:
        values: `(n,)`, finite, at least one.

    Raises:
        ValueError: no values, more than one axis, or a value that is not finite.
    """
    array = _observations(values)
    mean, freedom = float(array.mean()), array.size - 1
    if not freedom:
        return Interval(mean, mean, mean, 1)
    quantile = _T[freedom - 1] if freedom <= len(_T) else _NORMAL
    reach = quantile * float(array.std(ddof=1)) / math.sqrt(array.size)
    return Interval(mean, mean - reach, mean + reach, array.size)


def bootstrap(
    count: int,
    statistic: Statistic,
    *,
    seed: int = 0,
    draws: int = DRAWS,
    level: float = LEVEL,
    estimate: float | None = None,
) -> tuple[float, float]:
    """Percentile bootstrap (Efron, Annals of Statistics 7:1-26, 1979) over `count` observations: low, high.

    The interval of a minimum is one-sided: no resample lies below the observed minimum. With `estimate` the
    interval is moved so that its median lies there: for figures that are noisier in a resample, which
    repeats observations, than in the observations themselves.
    """
    rng = np.random.default_rng(seed)
    values = [statistic(rng.integers(0, count, count), rng) for _ in range(draws)]
    low, middle, high = np.quantile(values, [(1 - level) / 2, 0.5, (1 + level) / 2])
    shift = 0.0 if estimate is None else estimate - middle
    return float(low + shift), float(high + shift)


def _observations(values: Sequence[float] | NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or not array.size or not np.isfinite(array).all():
        raise ValueError(f"values must be a finite (n,) with n > 0, not {array.shape}: {array.ravel()[:5]}")
    return array


def _is_finite(value: Any) -> bool:
    return type(value) in (int, float) and bool(np.isfinite(value))
