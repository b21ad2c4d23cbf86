"""The intervals of the repository, against theory and their own definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharekit.errors import InputError
from sharekit.intervals import Interval, bootstrap, bootstrap_mean, middle, student_mean, wilson

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


T_TABLE = {1: 12.706, 2: 4.303, 4: 2.776, 9: 2.262, 30: 2.042, 40: 2.021, 100: 1.984, 1000: 1.962}
"""Degrees of freedom to the 0.975 quantile of Student's t, as printed in statistical tables."""


@pytest.mark.parametrize(("freedom", "quantile"), T_TABLE.items())
def test_a_few_values_have_students_interval(freedom: int, quantile: float) -> None:
    values = np.random.default_rng(freedom).normal(3, 2, freedom + 1)
    found = student_mean(values)
    assert (found.mean, found.count) == (pytest.approx(values.mean()), freedom + 1)
    standard_error = values.std(ddof=1) / np.sqrt(freedom + 1)
    assert found.high - found.low == pytest.approx(2 * quantile * standard_error, rel=3e-4)
    assert found.low + found.high == pytest.approx(2 * values.mean())


def test_wilson_gives_the_textbook_interval() -> None:
    # Newcombe, Statistics in Medicine 17:857-872, 1998, table I: 81 of 263 and 0 of 20.
    some, none = wilson(81, 263), wilson(0, 20)
    assert (some.mean, some.count) == (81 / 263, 263)
    assert (some.low, some.high) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert (none.low, none.high) == pytest.approx((0.0, 0.1611), abs=5e-5)


@given(st.integers(1, 500), st.data())
def test_wilson_holds_the_share_and_stays_in_range(trials: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, trials))
    found = wilson(successes, trials)
    assert 0 <= found.low <= successes / trials + 1e-12
    assert successes / trials - 1e-12 <= found.high <= 1


@pytest.mark.parametrize(("successes", "trials"), [(1, 0), (-1, 3), (4, 3)])
def test_wilson_refuses_impossible_counts(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match="successes"):
        wilson(successes, trials)


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

    plain = bootstrap(float(values.std()), 30, spread)
    moved = bootstrap(float(values.std()), 30, spread, centred=True)
    assert moved.high - moved.low == pytest.approx(plain.high - plain.low)
    assert plain.low < moved.low < values.std() == moved.mean < moved.high


def test_bootstrap_keeps_the_values_that_it_gave_for_a_seed() -> None:
    """Audits and reports of earlier versions can be made again."""
    values = np.random.default_rng(7).normal(size=32)

    def spread(rows: np.ndarray, _: np.random.Generator) -> float:
        return float(values[rows].std())

    plain = bootstrap(float(values.std()), 32, spread, seed=3, draws=200)
    centred = bootstrap(float(values.std()), 32, spread, seed=3, draws=200, centred=True)
    assert (plain.low, plain.high) == pytest.approx((0.5810174113, 1.0082909807))
    assert (centred.low, centred.high) == pytest.approx((0.6030598346, 1.0303334040))


def test_bootstrap_of_a_minimum_never_lies_below_it() -> None:
    values = np.random.default_rng(0).uniform(size=50)
    least = float(values.min())
    found = bootstrap(least, 50, lambda rows, _: float(values[rows].min()), seed=1, draws=200)
    assert found.mean == found.low == least <= found.high
    assert found.count == 50


def test_the_middle_of_draws_leaves_out_a_fortieth_at_each_end() -> None:
    found = middle(0.3, np.arange(1001.0), 9)
    assert (found.mean, found.count) == (0.3, 9)
    assert (found.low, found.high) == pytest.approx((25, 975))


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
