"""The same and almost the same pictures are found, whatever their number and how they are stored."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sharekit.pictures import similarity
from tests.consumer.pairs import picture


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
        patch.setattr(similarity, "BLOCK", block)
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
