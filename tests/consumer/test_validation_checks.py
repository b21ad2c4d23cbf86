"""What is measured of masks and pictures, on shapes whose answer is known."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from consumer.validation import similarity
from consumer.validation.checks import mask_facts
from consumer.validation.run import total_variation
from tests.consumer.pairs import picture


def mask(*rows: str) -> np.ndarray:
    return np.array([[255 if cell == "#" else 0 for cell in row] for row in rows], np.uint8)


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
    facts = mask_facts(mask(*rows))
    assert (facts.components, facts.holes) == (components, holes)


def test_coverage_is_the_share_of_foreground() -> None:
    assert mask_facts(mask("##..", "....")).coverage == 0.25


def test_class_numbers_grey_pictures_and_ringing_are_told_apart() -> None:
    clean = mask("##..", "##..")
    ringing = np.where(clean == 255, 250, 4).astype(np.uint8)
    grey = np.tile(np.arange(256, dtype=np.uint8), (4, 1))
    assert mask_facts(clean).exact
    facts = mask_facts(ringing)
    assert (facts.exact, facts.is_grey, facts.holds_class_numbers) == (False, False, False)
    assert mask_facts(clean // 255).holds_class_numbers
    assert mask_facts(grey).is_grey
    assert not mask_facts(np.zeros((4, 4), np.uint8)).holds_class_numbers


def test_equal_pictures_are_exact_duplicates_however_stored() -> None:
    digests = [similarity.pixel_digest(picture(seed)) for seed in (0, 1, 0, 2, 1, 0)]
    assert sorted(similarity.exact_duplicates(digests)) == [(0, 2, 5), (1, 4)]
    assert similarity.pixel_digest(picture(0)) != similarity.pixel_digest(picture(0).reshape(24, 20, 3))


def test_a_compressed_smaller_copy_is_a_near_duplicate_and_another_picture_is_not() -> None:
    big = (120, 150)
    buffer = io.BytesIO()
    Image.fromarray(picture(0, big)).resize((75, 60)).save(buffer, "JPEG", quality=60)
    copy = np.asarray(Image.open(buffer))
    hashes = np.array([similarity.difference_hash(p) for p in (picture(0, big), copy, picture(1, big))])
    found = similarity.near_duplicates(hashes, ["a", "b", "a"])
    assert (found.pairs, found.images, found.pairs_across_groups) == (1, 2, 1)
    assert found.closest[0][:2] == (0, 1)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(1, 7))
def test_blocks_find_the_same_pairs_as_all_comparisons(seed: int, count: int, block: int) -> None:
    random = np.random.default_rng(seed)
    hashes = random.random((count, similarity.HASH_BITS)) < 0.5
    hashes[random.random(count) < 0.5] = hashes[0]
    hashes ^= random.random(hashes.shape) < 0.03
    groups = random.integers(0, 2, count).tolist()
    distances = (hashes[:, None] != hashes[None]).sum(axis=2)
    pairs = [(i, j) for i in range(count) for j in range(i + 1, count) if distances[i, j] <= 16]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(similarity, "_BLOCK", block)
        found = similarity.near_duplicates(hashes, groups)
    assert found.pairs == len(pairs)
    assert found.images == len({index for pair in pairs for index in pair})
    assert found.pairs_across_groups == sum(groups[i] != groups[j] for i, j in pairs)
    assert [bits for *_, bits in found.closest] == sorted(int(distances[pair]) for pair in pairs)[:10]


def test_ten_thousand_pictures_are_compared_without_a_loop_over_pairs() -> None:
    hashes = np.random.default_rng(0).random((10_000, similarity.HASH_BITS)) < 0.5
    hashes[9_999] = hashes[0]
    found = similarity.near_duplicates(hashes, ["a"] * 10_000)
    assert found.closest == ((0, 9_999, 0),)


def test_mean_distance_is_the_mean_over_all_pairs() -> None:
    thumbnails = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3), dtype=np.uint8)
    values = thumbnails.astype(float)
    pairs = [np.sqrt(np.square(values[i] - values[j]).mean()) for i in range(6) for j in range(i + 1, 6)]
    assert similarity.mean_distance(thumbnails) == pytest.approx(np.mean(pairs))
    assert similarity.mean_distance(thumbnails[:1]) is None
    assert similarity.mean_distance(thumbnails[[0, 0]]) == 0


def test_identical_pictures_have_no_deviation() -> None:
    assert similarity.pixel_std(np.stack([similarity.thumbnail(picture(0))] * 4)) == 0
    assert similarity.pixel_std(np.stack([similarity.thumbnail(picture(seed)) for seed in range(4)])) > 10


def test_total_variation_is_a_distance_of_shares() -> None:
    assert total_variation([1, 1, 0], [10, 10, 0]) == 0
    assert total_variation([1, 0], [0, 3]) == 1
    assert total_variation([1, 1], [1, 0]) == 0.5
    assert total_variation([1, 1], [0, 0]) is None
