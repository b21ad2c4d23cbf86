"""Which images are the same, or almost: digests, perceptual hashes and the pairs that they find."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

HASH_SIDE = 16
HASH_BITS = HASH_SIDE**2
NEAR_BITS = 16
"""Hashes that differ in at most this many of `HASH_BITS` belong to near duplicates."""

BLOCK = 2048
"""Images compared at once."""

Pixels = NDArray[np.uint8]


class Pairs(NamedTuple):
    """Pairs of near duplicates: int `(n,)` each."""

    first: NDArray[np.intp]  # index of an image
    second: NDArray[np.intp]  # index of a later one
    bits: NDArray[np.int32]  # of their hashes that differ


@dataclass(frozen=True)
class NearDuplicates:
    """Pairs of images that look almost the same, exact duplicates among them."""

    pairs: int
    images: int  # that are in at least one pair
    pairs_across_groups: int
    closest: tuple[tuple[int, int, int], ...]
    """Index, index, differing bits; the closest pairs first."""


def pixel_digest(pixels: Pixels) -> bytes:
    """SHA-256 of shape and pixels: equal for equal pictures, however they are stored."""
    return hashlib.sha256(repr(pixels.shape).encode() + np.ascontiguousarray(pixels).tobytes()).digest()


def difference_hash(pixels: Pixels) -> NDArray[np.bool_]:
    """The sign of every horizontal brightness difference on a small grid: bool `(HASH_BITS,)`.

    The dHash of N. Krawetz ("Kind of like that", 2013), at 16 x 16 instead of 8 x 8, because samples of one
    generator share their coarse layout.
    """
    grey = Image.fromarray(pixels).convert("L").resize((HASH_SIDE + 1, HASH_SIDE), Image.Resampling.BOX)
    values = np.asarray(grey, np.int16)
    return (values[:, 1:] > values[:, :-1]).reshape(-1)


def exact_duplicates(digests: Sequence[bytes]) -> list[tuple[int, ...]]:
    """Groups of indices with equal digests, of two or more."""
    groups: dict[bytes, list[int]] = defaultdict(list)
    for index, digest in enumerate(digests):
        groups[digest].append(index)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def near_pairs(hashes: NDArray[np.bool_], *, max_bits: int = NEAR_BITS) -> Iterator[Pairs]:
    """Every pair of hashes `(n, bits)` that differ in at most `max_bits`, by blocks of a matrix product."""
    for start, other, distances in _blocks(hashes):
        near = distances <= max_bits
        if start == other:
            near = np.triu(near, 1)
        rows, columns = np.nonzero(near)
        if len(rows):
            yield Pairs(rows + start, columns + other, distances[rows, columns])


def near_duplicates(
    hashes: NDArray[np.bool_], groups: Sequence[object], *, max_bits: int = NEAR_BITS, keep: int = 10
) -> NearDuplicates:
    """The pairs of `near_pairs`, counted.

    Args:
        hashes: bool `(n, bits)`.
        groups: of every image, such as its generator.
        max_bits: largest distance of a pair.
        keep: pairs that are named.
    """
    labels = np.unique([str(group) for group in groups], return_inverse=True)[1]
    involved = np.zeros(len(hashes), bool)
    count = across = 0
    closest: list[tuple[int, int, int]] = []
    for first, second, bits in near_pairs(hashes, max_bits=max_bits):
        count += len(first)
        across += int((labels[first] != labels[second]).sum())
        involved[first] = involved[second] = True
        best = np.argsort(bits, kind="stable")[:keep]
        closest += [(int(first[i]), int(second[i]), int(bits[i])) for i in best]
    closest.sort(key=lambda pair: pair[2])
    return NearDuplicates(count, int(involved.sum()), across, tuple(closest[:keep]))


def _blocks(hashes: NDArray[np.bool_]) -> Iterator[tuple[int, int, NDArray[np.int32]]]:
    """Hamming distances block by block of the upper triangle: first row, first column, distances."""
    # With bits as -1 and 1 the scalar product is (bits - 2 x distance), exactly, in float32.
    signs = hashes.astype(np.float32) * 2 - 1
    bits = hashes.shape[1]
    for start in range(0, len(signs), BLOCK):
        for other in range(start, len(signs), BLOCK):
            product = signs[start : start + BLOCK] @ signs[other : other + BLOCK].T
            yield start, other, ((bits - product) / 2).astype(np.int32)
