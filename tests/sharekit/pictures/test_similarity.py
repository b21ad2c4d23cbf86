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


# -- distinct pictures


def jpeg(pixels: np.ndarray, quality: int = 60) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def cells(seed: int, size: int = 160) -> np.ndarray:
    """Bright discs on black, noisy: a picture whose hash is mostly of flat background."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    grey = np.zeros((size, size))
    for _ in range(12):
        centre, radius = random.uniform(0, size, 2), random.uniform(5, 12)
        grey[(y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2] = random.uniform(90, 160)
    return np.clip(np.dstack([grey] * 3) + random.normal(4, 3, (size, size, 1)), 0, 255).astype(np.uint8)


def count(*pictures: np.ndarray) -> int:
    return len(similarity.distinct_pictures([similarity.fingerprint(one) for one in pictures]))


COPIES = {
    "the same": lambda pixels: pixels,
    "one pixel": lambda pixels: np.where(np.indices(pixels.shape).sum(0) == 0, 255 - pixels, pixels),
    "JPEG": jpeg,
    "half size": lambda pixels: np.asarray(Image.fromarray(pixels).resize((80, 60))),
    "darker": lambda pixels: (pixels * 0.6).astype(np.uint8),
    "gamma": lambda pixels: (255 * (pixels / 255) ** 0.7).astype(np.uint8),
    "noise": lambda pixels: np.clip(pixels + np.random.default_rng(0).normal(0, 8, pixels.shape), 0, 255),
    "grey": lambda pixels: np.asarray(Image.fromarray(pixels).convert("L")),
    "mirrored": lambda pixels: pixels[:, ::-1],
    "upside down": lambda pixels: pixels[::-1, ::-1],
    "a quarter turn": lambda pixels: np.rot90(pixels),
    "mirrored, turned, JPEG": lambda pixels: jpeg(np.ascontiguousarray(np.rot90(pixels[:, ::-1]))),
}


@pytest.mark.parametrize("change", COPIES)
@pytest.mark.parametrize("source", [lambda seed: picture(seed, (120, 150)), cells], ids=["smooth", "cells"])
def test_a_copy_is_the_same_picture_and_another_one_is_not(change, source):
    copy = np.ascontiguousarray(COPIES[change](source(0)).astype(np.uint8))
    assert count(source(0), copy) == 1
    assert count(source(1), copy) == 2


def test_different_pictures_are_all_distinct():
    assert count(*(picture(seed, (60, 80)) for seed in range(20)), *map(cells, range(20))) == 40


def test_groups_name_their_members_in_order():
    pictures = [picture(0, (60, 80)), cells(0), picture(0, (60, 80))[:, ::-1], cells(1), jpeg(cells(0))]
    prints = [similarity.fingerprint(np.ascontiguousarray(one)) for one in pictures]
    assert similarity.distinct_pictures(prints) == ((0, 2), (1, 4), (3,))
    assert similarity.distinct_pictures([]) == ()


def test_pictures_of_one_device_that_share_their_border_are_distinct():
    y, x = np.mgrid[:128, :128]
    inside = (y - 64) ** 2 + (x - 64) ** 2 < 60**2

    def shown(seed: int) -> np.ndarray:
        return np.where(inside[:, :, None], picture(seed, (128, 128)) // 2 + 60, 0).astype(np.uint8)

    assert count(*map(shown, range(8))) == 8


def test_flat_pictures_of_different_shades_are_distinct():
    assert count(*(np.full((30, 40, 3), shade, np.uint8) for shade in (0, 90, 255))) == 3


def test_a_fingerprint_survives_its_bytes():
    one = similarity.fingerprint(cells(0))
    again = similarity.Fingerprint.from_bytes(one.to_bytes())
    assert again.to_bytes() == one.to_bytes()
    with pytest.raises(ValueError):
        similarity.Fingerprint.from_bytes(one.to_bytes()[:-1])


@pytest.mark.real_data
def test_real_pictures_are_distinct_and_their_copies_are_not(kvasir_seg, dsb2018_nuclei):
    paths = [*sorted((kvasir_seg / "images").iterdir())[::10], *sorted((dsb2018_nuclei / "images").iterdir())]
    pictures = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
    assert count(*pictures) == len(pictures)
    assert count(*pictures[::4], *(jpeg(one[:, ::-1].copy()) for one in pictures[::4])) == len(pictures[::4])
