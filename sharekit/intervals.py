"""Intervals by the bootstrap: how far a figure would move, had other images of the same kind been drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharekit.errors import InputError

LEVEL = 0.95
DRAWS = 2000

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
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or not array.size or not np.isfinite(array).all():
        raise ValueError(f"values must be a finite (n,) with n > 0, not {array.shape}: {array.ravel()[:5]}")
    low, high = bootstrap(
        array.size, lambda rows, _: float(array[rows].mean()), seed=seed, draws=draws, level=level
    )
    return Interval(float(array.mean()), low, high, array.size)


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


def _is_finite(value: Any) -> bool:
    return type(value) in (int, float) and bool(np.isfinite(value))
