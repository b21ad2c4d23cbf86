"""What is measured of masks and pictures, on shapes whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from consumer.validation import diversity
from consumer.validation.mask_checks import MaskFacts, mask_facts
from sharekit.intervals import Interval
from sharekit.pictures.decode import Raster
from sharekit.pictures.masks import read_mask
from tests.consumer.pairs import picture


def mask(*rows: str) -> np.ndarray:
    return np.array([[255 if cell == "#" else 0 for cell in row] for row in rows], np.uint8)


def facts(pixels: np.ndarray) -> MaskFacts:
    return mask_facts(read_mask(Raster(pixels)))


@pytest.mark.parametrize(
    ("rows", "components", "holes"),
    [
        (("....", "....", "...."), 0, 0),
        (("####", "####", "####"), 1, 0),
        ((".#..", "#...", "...."), 1, 0),  # touching corners are one region
        (("#..#", "....", "#..#"), 4, 0),
        (("###.", "#.#.", "###."), 1, 1),
        (("#####", "#.#.#", "#####"), 1, 2),
        ((".#.", "#.#", ".#."), 1, 1),  # background does not leak through corners
        (("#.#", "#.#", "###"), 1, 0),  # open to the border: no hole
        (("#####", "#...#", "#.#.#", "#...#", "#####"), 2, 1),
    ],
)
def test_regions_and_holes(rows: tuple[str, ...], components: int, holes: int) -> None:
    found = facts(mask(*rows))
    assert (found.components, found.holes) == (components, holes)


def test_coverage_is_the_share_of_foreground() -> None:
    assert facts(mask("##..", "....")).coverage == 0.25


def test_masks_of_0_and_1_and_ringing_are_told_apart() -> None:
    clean = mask("####....", "####....")
    ringing = np.where(clean == 255, 250, 4).astype(np.uint8)
    found = [facts(pixels) for pixels in (clean, clean // 255, ringing)]
    assert [(one.exact, one.zero_one) for one in found] == [(True, False), (False, True), (False, False)]
    assert [one.coverage for one in found] == [0.5] * 3


@pytest.mark.parametrize(
    ("rows", "largest"), [(("....",), 1.0), (("##..",), 1.0), (("##.#",), 2 / 3), (("#.#.", "..##"), 0.75)]
)
def test_the_largest_region_is_a_share_of_the_foreground(rows: tuple[str, ...], largest: float) -> None:
    assert facts(mask(*rows)).largest == pytest.approx(largest)


def test_mean_distance_is_the_mean_over_all_pairs() -> None:
    thumbnails = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3), dtype=np.uint8)
    values = thumbnails.astype(float)
    pairs = [np.sqrt(np.square(values[i] - values[j]).mean()) for i in range(6) for j in range(i + 1, 6)]
    found = diversity.mean_distance(thumbnails)
    assert found is not None
    assert found.mean == pytest.approx(np.mean(pairs))
    assert found.low < found.mean < found.high
    assert diversity.mean_distance(thumbnails[:1]) is None
    assert diversity.mean_distance(thumbnails[[0, 0]]) == Interval(0.0, 0.0, 0.0, 2)


def test_identical_pictures_have_no_deviation() -> None:
    same = np.stack([diversity.thumbnail(picture(0))] * 4)
    assert diversity.pixel_std(same) == Interval(0.0, 0.0, 0.0, 4)
    assert diversity.pixel_std(np.stack([diversity.thumbnail(picture(seed)) for seed in range(4)])).low > 10


def test_pixel_deviation_is_that_of_its_images() -> None:
    noise = np.random.default_rng(0).normal(128, 20, (40, 8, 8, 3))
    found = diversity.pixel_std(np.clip(noise, 0, 255).astype(np.uint8))
    assert found.mean == pytest.approx(20, rel=0.05)
    assert found.low < found.mean < found.high


def test_intervals_of_pairs_hold_the_true_mean() -> None:
    """The mean distance of two standard normal numbers is 2 / sqrt(pi)."""
    random = np.random.default_rng(0)
    held = 0
    for _ in range(60):
        values = random.standard_normal(30)
        found = diversity.mean_of_pairs(np.abs(values[:, None] - values[None]))
        assert found is not None
        held += found.low <= 2 / np.sqrt(np.pi) <= found.high
    assert held >= 51


def test_a_single_pair_says_nothing_of_the_spread() -> None:
    assert diversity.mean_of_pairs(np.array([[0.0, 3.0], [3.0, 0.0]])) == Interval(3.0, 3.0, 3.0, 2)
