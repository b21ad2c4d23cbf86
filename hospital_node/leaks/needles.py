"""Find any of very many short byte strings ("needles") in large files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

NEEDLE_BYTES = 16
MAX_NEEDLES = 512
"""Per array and encoding, spread evenly: any copy longer than the gap between two of them is found."""
_MIN_DISTINCT = 6
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


def needles_of(data: NDArray) -> NDArray[np.uint8]:
    """Stretches of `NEEDLE_BYTES` of an array's bytes, `(n, NEEDLE_BYTES)`, aligned to its items.

    Flat stretches (black borders, saturated skin) are left out: they occur in any file.
    """
    items = np.ascontiguousarray(data).reshape(-1)
    width = NEEDLE_BYTES // items.itemsize
    if items.size < width:
        return np.zeros((0, NEEDLE_BYTES), np.uint8)
    step = max(width, -(-items.size // MAX_NEEDLES))
    starts = np.arange(0, items.size - width + 1, step)
    stretches = items[starts[:, None] + np.arange(width)]
    ordered = np.sort(stretches, axis=1)
    distinct = 1 + (np.diff(ordered, axis=1) != 0).sum(axis=1)
    kept = np.ascontiguousarray(stretches[distinct >= min(_MIN_DISTINCT, max(1, width * 3 // 4))])
    return kept.view(np.uint8).reshape(len(kept), NEEDLE_BYTES)


class NeedleIndex:
    """Needles with labels; `find` says which of them a file holds, at any byte offset."""

    def __init__(self, groups: Iterable[tuple[str, NDArray[np.uint8]]]) -> None:
        """`groups` are labels with their needles, `(n, NEEDLE_BYTES)` uint8."""
        labels: list[str] = []
        numbers: list[NDArray[np.int64]] = []
        stacked: list[NDArray[np.uint64]] = []
        for label, needles in groups:
            if len(needles):
                numbers.append(np.full(len(needles), len(labels)))
                stacked.append(np.ascontiguousarray(needles).view("<u8"))
                labels.append(label)
        self._labels: Sequence[str] = labels
        words = np.concatenate(stacked) if stacked else np.zeros((0, 2), np.uint64)
        owners = np.concatenate(numbers) if numbers else np.zeros(0, np.int64)
        self._first, kept = np.unique(words[:, 0], return_index=True)
        self._second, self._owner = words[kept, 1], owners[kept]
        # A sparse table of hashes rules out nearly every offset before the exact search.
        bits = min(28, max(16, int(np.ceil(np.log2(max(len(kept), 1)))) + 6))
        self._shift = np.uint64(64 - bits)
        self._table = np.zeros(1 << bits, bool)
        self._table[self._hash(self._first)] = True

    def _hash(self, words: NDArray[np.uint64]) -> NDArray[np.uint64]:
        return (words * _MULTIPLIER) >> self._shift

    def find(self, data: bytes) -> Iterator[tuple[str, int]]:
        """Label and byte offset of the first occurrence of each label in `data`."""
        seen: set[int] = set()
        if not len(self._first):
            return
        for alignment in range(8):
            length = (len(data) - alignment) // 8
            if length < 2:
                break
            words = np.frombuffer(data, "<u8", length, alignment)
            positions = np.flatnonzero(self._table[self._hash(words[:-1])])
            rows = np.searchsorted(self._first, words[positions]).clip(max=len(self._first) - 1)
            # The second half of a needle is the next word of the same alignment.
            same = (self._first[rows] == words[positions]) & (self._second[rows] == words[positions + 1])
            for position, row in zip(positions[same], rows[same], strict=True):
                owner = int(self._owner[row])
                if owner not in seen:
                    seen.add(owner)
                    yield self._labels[owner], int(position) * 8 + alignment
