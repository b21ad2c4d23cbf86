"""Finds equal and nearly equal images: digests, perceptual hashes, and distinct pictures.

`near_pairs` compares only hashes. `distinct_pictures` counts pictures wherever their number protects people:
copies that were mirrored, turned, re-encoded, resized or brightened count once.
"""

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
"""Images are near duplicates if their hashes differ in at most this many of `HASH_BITS`."""

GRID = 64
"""Side in pixels of the small grey picture in a fingerprint."""
SAME_DETAIL = 0.975
"""Least correlation between the detail of two copies of one picture. Measured on polyps and nuclei: at least
0.98 for JPEG of quality 50, half size, half brightness, gamma 0.7 and noise; at most 0.75 between different
pictures."""
INFORMATIVE_BITS = 32
"""Fewest bits set in either of two hashes for a comparison: flat pictures have hardly any."""
BLOCK = 2048
"""Images compared at once."""

_DETAIL_SIDE, _COARSE_SIDE = 32, 8
_MEAN_SIZE = (_DETAIL_SIDE // 2) ** 2

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
    images: int  # images in at least one pair
    pairs_across_groups: int
    closest: tuple[tuple[int, int, int], ...]
    """Index, index and number of differing bits; the closest pairs first."""


def pixel_digest(pixels: Pixels) -> bytes:
    """SHA-256 of shape and pixels: equal for equal pictures, independent of the file format."""
    return hashlib.sha256(repr(pixels.shape).encode() + np.ascontiguousarray(pixels).tobytes()).digest()


def difference_hash(pixels: Pixels) -> NDArray[np.bool_]:
    """The signs of the horizontal brightness differences on a small grid: bool `(HASH_BITS,)`.

    The dHash of N. Krawetz ("Kind of like that", 2013), at 16 x 16 instead of 8 x 8, because samples of one
    generator share their coarse layout.
    """
    grey = Image.fromarray(pixels).convert("L").resize((HASH_SIDE + 1, HASH_SIDE), Image.Resampling.BOX)
    return _signs(np.asarray(grey))


def _signs(values: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return (values[:, 1:] > values[:, :-1]).reshape(-1)


def exact_duplicates(digests: Sequence[bytes]) -> list[tuple[int, ...]]:
    """Groups of two or more indices with equal digests."""
    groups: dict[bytes, list[int]] = defaultdict(list)
    for index, digest in enumerate(digests):
        groups[digest].append(index)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def near_pairs(hashes: NDArray[np.bool_], *, max_bits: int = NEAR_BITS) -> Iterator[Pairs]:
    """All pairs of hashes `(n, bits)` that differ in at most `max_bits`, in blocks of a matrix product."""
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
    """Count the pairs of `near_pairs`.

    Args:
        hashes: bool `(n, bits)`.
        groups: group of each image, such as its generator.
        max_bits: largest number of differing bits in a pair.
        keep: number of closest pairs to name.
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


@dataclass(frozen=True)
class Fingerprint:
    """Data that identifies a picture and its copies. Law: `from_bytes(to_bytes(x))` has the bytes of x."""

    digest: bytes
    """`pixel_digest`."""
    grid: Pixels
    """`(GRID, GRID)`: the picture, small and grey."""

    def to_bytes(self) -> bytes:
        return self.digest + self.grid.tobytes()

    @staticmethod
    def from_bytes(data: bytes) -> Fingerprint:
        """Read the output of `to_bytes`.

        Raises:
            ValueError: `data` has another length.
        """
        digest, grid = data[:32], np.frombuffer(data[32:], np.uint8)
        return Fingerprint(digest, grid.reshape(GRID, GRID))


def fingerprint(pixels: Pixels) -> Fingerprint:
    """The fingerprint of a picture, `(H, W)` or `(H, W, C)` uint8 with C 1 or 3."""
    flat = pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    grey = Image.fromarray(flat).convert("L").resize((GRID, GRID), Image.Resampling.BOX)
    return Fingerprint(pixel_digest(np.atleast_3d(pixels)), np.asarray(grey))


def distinct_pictures(fingerprints: Sequence[Fingerprint]) -> tuple[tuple[int, ...], ...]:
    """Groups of indices that show one picture, in order; there are as many groups as distinct pictures.

    Copies of copies are copies, so consecutive frames of a recording may end up in one group.
    """
    group = list(range(len(fingerprints)))

    def head(index: int) -> int:
        while group[index] != index:
            group[index] = group[group[index]]
            index = group[index]
        return index

    pictures = Pictures(fingerprints)
    for index, one in enumerate(fingerprints):
        for copy in pictures.copies(one, first=index):
            first, second = sorted((head(index), head(int(copy))))
            group[second] = first
    found: dict[int, list[int]] = defaultdict(list)
    for index in range(len(fingerprints)):
        found[head(index)].append(index)
    return tuple(map(tuple, found.values()))


class Pictures:
    """A set of pictures to find copies in."""

    def __init__(self, fingerprints: Sequence[Fingerprint]) -> None:
        grids = [one.grid for one in fingerprints]
        self._digests = np.array([one.digest for one in fingerprints], "S32")
        self._bits = np.array([_gradients(grid)[0] for grid in grids], np.float32).reshape(-1, HASH_BITS)
        self._counts = self._bits.sum(axis=1)
        details = [_details(grid) for grid in grids]
        self._details = np.array([one[0] for one in details], np.float32).reshape(-1, _DETAIL_SIDE**2)
        self._means = np.array([_mean(one) for one in details], np.float32).reshape(-1, _MEAN_SIZE)

    def copies(self, one: Fingerprint, *, first: int | None = None) -> NDArray[np.intp]:
        """Indices of the pictures that are copies of `one`, mirrored or turned in any of eight positions.

        Args:
            one: the picture.
            first: compare only this many pictures from the beginning; None compares all.
        """
        among = slice(0, first)
        found = self._digests[among] == np.bytes_(one.digest)
        found |= self._near(_gradients(one.grid), among).any(axis=1)
        details = _details(one.grid)
        # Averaging over all positions never increases a distance, so a quick test on the means is safe.
        distances = np.linalg.norm(self._means[among] - _mean(details), axis=1)
        possible = np.flatnonzero(distances <= np.sqrt(2 - 2 * SAME_DETAIL) + 1e-4)
        found[possible] |= (self._details[possible] @ details.T >= SAME_DETAIL).any(axis=1)
        return np.flatnonzero(found)

    def _near(self, bits: NDArray[np.bool_], among: slice) -> NDArray[np.bool_]:
        """`(n, 8)`: whether two hashes are informative and differ in few bits."""
        signs = bits.astype(np.float32)
        total = self._counts[among, None] + signs.sum(axis=1)
        both = self._bits[among] @ signs.T
        return (total - 2 * both <= NEAR_BITS) & (total - both >= INFORMATIVE_BITS)


def _positions(grid: NDArray) -> Iterator[NDArray]:
    """All eight mirrored and turned positions of a square picture, itself first."""
    for turned in (grid, grid.T):
        yield from _mirrored(turned)


def _mirrored(grid: NDArray) -> Iterator[NDArray]:
    for rows in (grid, grid[::-1]):
        yield rows
        yield rows[:, ::-1]


def _gradients(grid: Pixels) -> NDArray[np.bool_]:
    """`(8, HASH_BITS)`: the difference hash in each position."""
    image = Image.fromarray(grid)
    wide = np.asarray(image.resize((HASH_SIDE + 1, HASH_SIDE), Image.Resampling.BOX))
    high = np.asarray(image.resize((HASH_SIDE, HASH_SIDE + 1), Image.Resampling.BOX))
    return np.array([_signs(one) for small in (wide, high.T) for one in _mirrored(small)])


def _details(grid: Pixels) -> NDArray[np.float32]:
    """`(8, n)`: the picture without its coarse layout, scaled to length 1, in each position.

    Different pictures of one organ or device share their layout; copies share the detail.
    """
    image = Image.fromarray(grid.astype(np.float32)).resize((_DETAIL_SIDE,) * 2, Image.Resampling.BOX)
    coarse = image.resize((_COARSE_SIDE,) * 2, Image.Resampling.BOX)
    detail = np.asarray(image) - np.asarray(coarse.resize(image.size, Image.Resampling.BICUBIC))
    detail = detail - detail.mean()
    length = float(np.linalg.norm(detail))
    # A flat picture has no detail, and correlates with nothing.
    detail = detail / length if length > 1e-3 else np.zeros_like(detail)
    return np.array([one.reshape(-1) for one in _positions(detail)], np.float32)


def _mean(positions: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean over all positions, which no turn changes; one quarter of it, scaled to keep the length."""
    half = _DETAIL_SIDE // 2
    square = positions.mean(axis=0).reshape(_DETAIL_SIDE, _DETAIL_SIDE)[:half, :half]
    # The four quarters mirror each other, so the length of one is half that of the whole.
    return 2 * square.reshape(-1)
