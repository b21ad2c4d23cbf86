"""Intervals against published values and their own definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hospital_node.audit.intervals import bootstrap, wilson


def test_wilson_gives_the_textbook_interval() -> None:
    # Newcombe, Statistics in Medicine 17:857-872, 1998, table I: 81 of 263 and 0 of 20.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)


@given(st.integers(1, 500), st.data())
def test_wilson_holds_the_share_and_stays_in_range(trials: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, trials))
    low, high = wilson(successes, trials)
    assert 0 <= low <= successes / trials + 1e-12
    assert successes / trials - 1e-12 <= high <= 1


@pytest.mark.parametrize(("successes", "trials"), [(1, 0), (-1, 3), (4, 3)])
def test_wilson_refuses_impossible_counts(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match="successes"):
        wilson(successes, trials)


def test_bootstrap_interval_of_a_mean_has_the_width_of_theory() -> None:
    values = np.random.default_rng(0).normal(3, 2, 400)
    low, high = bootstrap(400, lambda rows, _: float(values[rows].mean()), seed=1, resamples=1000)
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * 2 / 20, rel=0.15)


def test_bootstrap_of_a_minimum_never_lies_below_it() -> None:
    values = np.random.default_rng(0).uniform(size=50)
    low, high = bootstrap(50, lambda rows, _: float(values[rows].min()), seed=1)
    assert values.min() == low <= high


def test_bootstrap_is_the_same_for_the_same_seed() -> None:
    values = np.arange(20.0)

    def interval(seed: int) -> tuple[float, float]:
        return bootstrap(20, lambda rows, _: float(values[rows].mean()), seed=seed)

    assert interval(3) == interval(3) != interval(4)
