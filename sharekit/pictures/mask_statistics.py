"""Statistics of masks, the same on both sides: coverage, its histogram, pixel-wise mean and deviation.

Masks are `(H, W)`: bool, or uint8 with foreground above `tensors.MASK_THRESHOLD`.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from sharekit.errors import InputError
from sharekit.generator.tensors import MASK_THRESHOLD

BINS = 20
"""Bins of the coverage histogram: 5 % each, as in the true-pixel histograms of Thambawita et al., PLOS ONE
2022 (Figures 3, 6 and 10)."""

Mask = NDArray[np.bool_] | NDArray[np.uint8]


def foreground(mask: Mask) -> NDArray[np.bool_]:
    """Convert a bool or 8-bit mask to `(H, W)` bool."""
    return np.asarray(mask if mask.dtype == np.bool_ else mask > MASK_THRESHOLD, np.bool_)


def coverage(mask: Mask) -> float:
    """Share of true pixels, 0 to 1."""
    return float(np.mean(foreground(mask)))


def bin_edges() -> NDArray[np.float64]:
    """`(BINS + 1,)` edges of the coverage bins, 0 to 1."""
    return np.arange(BINS + 1) / BINS


def coverage_histogram(coverages: Iterable[float]) -> NDArray[np.int64]:
    """`(BINS,)` counts of coverages; bin k is [k / BINS, (k + 1) / BINS), the last one includes 1.

    Raises:
        InputError: a coverage is outside 0 to 1.
    """
    values = np.fromiter(coverages, np.float64)
    outside = values[~((values >= 0) & (values <= 1))]
    if outside.size:
        raise InputError(
            "mask coverage",
            expected="a share of true pixels between 0 and 1",
            found=str(outside[0]),
            next_step="compute it by mask_statistics.coverage",
        )
    # 0.15 is not exact in binary, but 3 of 20 pixels belong to the bin that starts there.
    bins = np.minimum(np.floor(values * BINS + 1e-9).astype(np.int64), BINS - 1)
    return np.bincount(bins, minlength=BINS)


class MaskMoments:
    """Pixel-wise mean and standard deviation of masks of one size, added one at a time.

    They show where a generator's masks agree and where they vary (Figure 5 of Thambawita et al.). One map of
    counts is enough: for values 0 and 1, the mean p gives the population standard deviation sqrt(p (1 - p)).
    """

    def __init__(self) -> None:
        self.count = 0
        self._true: NDArray[np.int64] | None = None

    def add(self, mask: Mask) -> None:
        """Add a mask.

        Raises:
            InputError: it has another size than the masks before it.
        """
        true = foreground(mask)
        if self._true is None:
            self._true = np.zeros(true.shape, np.int64)
        if true.shape != self._true.shape:
            raise InputError(
                "mask",
                expected=f"the size of the masks before it, {self._true.shape}",
                found=str(true.shape),
                next_step="compare masks of one generator, drawn at one size",
            )
        self._true += true
        self.count += 1

    @property
    def mean(self) -> NDArray[np.float64]:
        """`(H, W)`, 0 to 1: share of the masks that are true at each pixel.

        Raises:
            InputError: no mask was added.
        """
        if self._true is None:
            raise InputError(
                "masks", expected="at least one mask", found="none", next_step="add masks before asking"
            )
        return self._true / self.count

    @property
    def std(self) -> NDArray[np.float64]:
        """`(H, W)`, 0 to 0.5: population standard deviation at each pixel."""
        return np.sqrt(self.mean * (1 - self.mean))
