"""Mask figures: exact bins, and streaming moments equal to NumPy's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharekit.errors import InputError
from sharekit.pictures.mask_statistics import BINS, MaskMoments, bin_edges, coverage, coverage_histogram


def test_coverage_is_the_share_of_pixels_above_127():
    mask = np.array([[0, 127, 128, 255]], np.uint8)
    assert coverage(mask) == 0.5
    assert coverage(mask > 127) == 0.5


def test_bins_are_five_percent_each():
    assert np.allclose(bin_edges(), np.linspace(0, 1, 21))
    assert list(np.flatnonzero(coverage_histogram([0.0, 0.0499, 0.05, 0.999, 1.0]))) == [0, 1, 19]


@pytest.mark.parametrize("k", range(BINS))
def test_a_bin_starts_at_its_lower_edge_exactly(k):
    mask = np.zeros((4, 5), bool)
    mask.ravel()[:k] = True
    assert coverage_histogram([coverage(mask)])[k] == 1


@given(st.lists(st.floats(0, 1), max_size=50))
def test_every_coverage_is_counted_once(values):
    histogram = coverage_histogram(values)
    assert histogram.shape == (BINS,)
    assert histogram.sum() == len(values)


@pytest.mark.parametrize("value", [-0.01, 1.01, float("nan")])
def test_an_impossible_coverage_is_refused(value):
    with pytest.raises(InputError):
        coverage_histogram([0.5, value])


@given(st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_moments_equal_those_of_all_masks_at_once(count, seed):
    masks = np.random.default_rng(seed).random((count, 5, 7)) > 0.4
    moments = MaskMoments()
    for mask in masks:
        moments.add(np.where(mask, 255, 0).astype(np.uint8))
    assert moments.count == count
    assert np.allclose(moments.mean, masks.mean(axis=0))
    assert np.allclose(moments.std, masks.std(axis=0))


def test_masks_of_two_sizes_are_refused():
    moments = MaskMoments()
    moments.add(np.zeros((3, 3), bool))
    with pytest.raises(InputError, match=r"\(3, 3\)"):
        moments.add(np.zeros((3, 4), bool))


def test_no_mask_has_no_mean():
    with pytest.raises(InputError, match="at least one mask"):
        _ = MaskMoments().mean
