"""Counter-based noise: the same everywhere, for ever, and normal."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sharekit.generator.noise import MAX_SEED, standard_normal
from sharekit.generator.spec import GeneratorSpec, Scale
from sharekit.generator.tensors import ChannelLayout

ID = "0123456789abcdef0123456789abcdef"
SPEC = GeneratorSpec(ID, ChannelLayout(3, ("polyp",)), (Scale(4, 5, 1), Scale(6, 8, 4)))

GOLDEN = np.array([0.5157717, -0.0955728, 1.2763292, -0.3074713, 0.559909, -1.0323144], np.float32)
"""The first values of seed 7, sample 3, scale 1: a change of them changes every data set ever drawn."""


def test_the_values_never_change() -> None:
    drawn = standard_normal(ID, 7, 3, 1, (2, 3))
    assert drawn.dtype == np.float32
    np.testing.assert_allclose(drawn.ravel(), GOLDEN, rtol=1e-6)


@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=5, unique=True), st.integers(0, MAX_SEED))
def test_a_sample_does_not_depend_on_what_is_drawn_with_it(indices: list[int], seed: int) -> None:
    together = SPEC.noise(seed, indices)
    for position, index in enumerate(indices):
        for scale, alone in zip(together, SPEC.noise(seed, [index]), strict=True):
            np.testing.assert_array_equal(scale[position], alone[0])


@pytest.mark.parametrize(
    "other",
    [
        ("f" * 32, 7, 3, 1),
        (ID, 8, 3, 1),
        (ID, 7, 4, 1),
        (ID, 7, 3, 2),
    ],
    ids=["generator", "seed", "index", "scale"],
)
def test_generator_seed_index_and_scale_each_give_other_noise(other: tuple[str, int, int, int]) -> None:
    one, two = standard_normal(ID, 7, 3, 1, (4, 30, 30)), standard_normal(*other, (4, 30, 30))
    assert abs(np.corrcoef(one.ravel(), two.ravel())[0, 1]) < 0.08  # five standard deviations


def test_the_values_are_standard_normal() -> None:
    values = standard_normal(ID, 1, 0, 0, (1, 300, 301)).ravel()
    assert stats.kstest(values, "norm").pvalue > 1e-3
    assert np.isfinite(values).all()


def test_neighbouring_samples_are_independent() -> None:
    drawn = np.stack([standard_normal(ID, 1, index, 0, (1, 40, 40)).ravel() for index in range(20)])
    correlations = np.corrcoef(drawn)[np.triu_indices(20, 1)]
    assert np.abs(correlations).max() < 5 / np.sqrt(1600)
