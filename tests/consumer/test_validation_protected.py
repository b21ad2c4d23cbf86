"""Distances to real masks that are known through noised counts, on histograms whose answer is known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from consumer.validation.protected import (
    compare,
    kolmogorov_smirnov,
    possible_counts,
    shares,
    total_variation,
)
from sharekit.pictures.mask_statistics import BINS, coverage_histogram


def of(distance, first: list[int], second: list[int]) -> float:  # type: ignore[no-untyped-def]
    return float(distance(shares(first), shares(second)))


@pytest.mark.parametrize(
    ("first", "second", "variation", "smirnov"),
    [
        ([1, 1, 0], [10, 10, 0], 0, 0),
        ([1, 0], [0, 3], 1, 1),
        ([1, 1], [1, 0], 0.5, 0.5),
        ([1, 0, 1, 0], [0, 1, 0, 1], 1, 0.5),  # moved by one bin, twice: far for one, near for the other
        ([4, 0, 0, 0], [1, 1, 1, 1], 0.75, 0.75),
    ],
)
def test_distances_of_hand_made_histograms(
    first: list[int], second: list[int], variation: float, smirnov: float
) -> None:
    assert of(total_variation, first, second) == pytest.approx(variation)
    assert of(kolmogorov_smirnov, first, second) == pytest.approx(smirnov)


def test_nothing_has_no_shares() -> None:
    assert shares([0, 0]) is None


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 80), st.integers(1, 80))
def test_binned_distance_is_a_lower_bound_that_binned_values_reach(seed: int, own: int, real: int) -> None:
    """SciPy's two-sample statistic is the outside value."""
    random = np.random.default_rng(seed)
    first, second = random.beta(2, 5, own), random.beta(3, 4, real)
    binned = of(kolmogorov_smirnov, coverage_histogram(first).tolist(), coverage_histogram(second).tolist())
    centres = [(np.floor(values * BINS) + 0.5) / BINS for values in (first, second)]
    assert binned == pytest.approx(stats.ks_2samp(*centres).statistic)
    assert binned <= stats.ks_2samp(first, second).statistic + 1e-12


def test_possible_counts_follow_the_exact_posterior() -> None:
    """Every histogram of four masks in three bins is enumerated, with SciPy's discrete Laplace."""
    published, scale, draws = (2, 0, 5), 1.5, 40_000
    noise = stats.dlaplace(1 / scale)
    probability = {}
    for counts in itertools.product(range(5), repeat=3):
        if sum(counts) == 4:
            # A negative count is published as 0.
            pairs = zip(counts, published, strict=True)
            probability[counts] = np.prod([noise.pmf(y - c) if y else noise.cdf(-c) for c, y in pairs])
    total = sum(probability.values())
    drawn = possible_counts(published, 4, scale, draws, np.random.default_rng(0))
    assert drawn is not None
    found = dict.fromkeys(probability, 0)
    for row in drawn.tolist():
        found[tuple(row)] += 1
    for counts, expected in probability.items():
        assert found[counts] / draws == pytest.approx(expected / total, abs=0.01)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 60), min_size=2, max_size=BINS), st.integers(1, 300), st.floats(0.3, 8), st.data()
)
def test_possible_counts_add_up(published: list[int], total: int, scale: float, data: st.DataObject) -> None:
    seed = data.draw(st.integers(0, 100))
    drawn = possible_counts(published, total, scale, 20, np.random.default_rng(seed))
    if drawn is not None:
        assert drawn.shape == (20, len(published))
        assert (drawn >= 0).all()
        assert (drawn.sum(axis=1) == total).all()


def test_hardly_any_noise_leaves_one_possibility() -> None:
    drawn = possible_counts([3, 0, 7], 10, 0.02, 50, np.random.default_rng(0))
    assert drawn is not None
    assert (drawn == [3, 0, 7]).all()


def test_counts_of_other_images_have_no_possibility() -> None:
    assert possible_counts([100, 0], 3, 0.5, 10, np.random.default_rng(0)) is None
    assert possible_counts([1, 0], 200, 0.5, 10, np.random.default_rng(0)) is None
    assert compare(kolmogorov_smirnov, [1, 1], [100, 0], 3, 0.5) is None


def test_a_data_set_without_masks_has_no_distance() -> None:
    assert compare(total_variation, [0, 0], [1, 1], 2, 1.0) is None


def test_without_noise_the_distance_is_that_of_the_counts() -> None:
    found = compare(kolmogorov_smirnov, [30, 0, 10, 0], [100, 100, 100, 100], 400, 0.02)
    assert found is not None
    assert found.interval.mean == found.as_published == pytest.approx(0.5)
    assert 0.3 < found.interval.low < 0.5 < found.interval.high < 0.7
    assert found.is_beyond_chance


def publish(counts: np.ndarray, scale: float, random: np.random.Generator) -> list[int]:
    noise = stats.dlaplace(1 / scale).rvs(len(counts), random_state=random)
    return np.maximum(counts + noise, 0).astype(int).tolist()


def test_intervals_hold_the_true_distance_and_chance_is_rarely_exceeded() -> None:
    random = np.random.default_rng(1)
    real, own = random.dirichlet(np.ones(BINS)), random.dirichlet(np.ones(BINS))
    held = exceeded = 0
    for seed in range(40):
        counts = random.multinomial(200, real)
        published = publish(counts, 2.0, random)
        # The distance is to these real masks, not to a population behind them.
        truth = float(kolmogorov_smirnov(own, counts / 200))
        found = compare(kolmogorov_smirnov, random.multinomial(100, own), published, 200, 2.0, seed=seed)
        assert found is not None
        held += found.interval.low <= truth <= found.interval.high
        same = compare(
            kolmogorov_smirnov, random.multinomial(100, counts / 200), published, 200, 2.0, seed=seed
        )
        assert same is not None
        exceeded += same.is_beyond_chance
    assert held >= 34
    assert exceeded <= 5


def test_more_noise_says_less() -> None:
    counts = np.array([0, 40, 30, 10, *[0] * 16])
    wide, narrow = (
        compare(kolmogorov_smirnov, counts, publish(counts, scale, np.random.default_rng(0)), 80, scale)
        for scale in (20.0, 0.5)
    )
    assert wide is not None
    assert narrow is not None
    assert wide.interval.high - wide.interval.low > 2 * (narrow.interval.high - narrow.interval.low)
    assert wide.chance > narrow.chance
