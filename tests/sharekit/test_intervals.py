"""The intervals of the repository, against theory and their own definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sharekit.errors import InputError
from sharekit.intervals import Interval, bootstrap, bootstrap_mean, student_mean

FINITE = st.floats(-1e6, 1e6)


def test_interval_of_a_mean_has_the_width_of_theory() -> None:
    values = np.random.default_rng(0).normal(3, 2, 400)
    found = bootstrap_mean(values)
    assert found.mean == pytest.approx(values.mean())
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)
    assert found.count == 400


def test_interval_covers_the_true_mean_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(1)
    found = [bootstrap_mean(random.normal(0, 1, 40), seed=number, draws=200) for number in range(200)]
    assert 0.88 <= np.mean([one.low <= 0 <= one.high for one in found]) <= 0.99


def test_a_higher_level_is_wider_and_a_seed_is_repeatable() -> None:
    values = np.arange(20.0)
    narrow, wide = bootstrap_mean(values, level=0.5), bootstrap_mean(values, level=0.99)
    assert wide.low < narrow.low < narrow.high < wide.high
    assert bootstrap_mean(values, seed=3) == bootstrap_mean(values, seed=3) != bootstrap_mean(values, seed=4)


@given(st.lists(FINITE, min_size=1, max_size=30))
@settings(max_examples=25, deadline=None)
def test_interval_of_a_mean_stays_within_the_values(values: list[float]) -> None:
    found = bootstrap_mean(values, draws=50)
    slack = 1e-9 * max(map(abs, values))
    assert min(values) - slack <= found.low <= found.high <= max(values) + slack


def test_one_value_is_its_own_interval() -> None:
    assert bootstrap_mean([0.7]) == student_mean([0.7]) == Interval(0.7, 0.7, 0.7, 1)


@pytest.mark.parametrize("count", [*range(2, 33), 100])
def test_a_few_values_have_students_interval(count: int) -> None:
    values = np.random.default_rng(count).normal(3, 2, count)
    found = student_mean(values)
    low, high = stats.t.interval(0.95, count - 1, loc=values.mean(), scale=stats.sem(values))
    assert (found.mean, found.count) == (pytest.approx(values.mean()), count)
    # Beyond the table the normal distribution stands in, which is narrower by 4 % at most.
    width = pytest.approx(high - low, rel=3e-4 if count <= 31 else 0.041)
    assert found.high - found.low == width
    assert found.low + found.high == pytest.approx(low + high)


def test_three_values_of_mean_0_seldom_have_an_interval_that_excludes_it() -> None:
    """A percentile bootstrap's does one time in four, when all three have one sign."""
    drawn = np.random.default_rng(2).normal(0, 1, (500, 3))
    students = [student_mean(values) for values in drawn]
    bootstraps = [bootstrap_mean(values, draws=400) for values in drawn]
    assert 0.03 < np.mean([one.low > 0 or one.high < 0 for one in students]) < 0.08
    assert np.mean([one.low > 0 or one.high < 0 for one in bootstraps]) > 0.2


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [float("inf")], [[1.0, 2.0]]])
def test_values_without_a_mean_are_refused(values: list[float]) -> None:
    for mean in (bootstrap_mean, student_mean):
        with pytest.raises(ValueError, match="finite"):
            mean(values)


def test_interval_is_moved_to_the_estimate_with_its_width_unchanged() -> None:
    values = np.random.default_rng(0).uniform(size=30)

    def spread(rows: np.ndarray, _: np.random.Generator) -> float:
        return float(values[rows].std())

    low, high = bootstrap(30, spread)
    moved_low, moved_high = bootstrap(30, spread, estimate=float(values.std()))
    assert moved_high - moved_low == pytest.approx(high - low)
    assert low < moved_low < values.std() < moved_high


@given(FINITE, FINITE, FINITE, st.integers(1, 10**6))
def test_from_json_undoes_to_json(mean: float, low: float, high: float, count: int) -> None:
    interval = Interval(mean, low, high, count)
    assert Interval.from_json(interval.to_json()) == interval


@pytest.mark.parametrize(
    "change",
    [{"mean": "1"}, {"low": float("nan")}, {"high": None}, {"count": 0}, {"count": 1.5}, {"more": 1}],
)
def test_anything_but_an_interval_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(InputError):
        Interval.from_json({**Interval(1.0, 0.5, 1.5, 3).to_json(), **change})
    with pytest.raises(InputError):
        Interval.from_json([1, 2, 3])
