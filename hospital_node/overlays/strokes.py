"""Looks for thin light strokes, of which letters consist, in the pixels themselves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hospital_node.overlays.region import Region

STROKE = 9
"""Widest stroke in pixels."""
FAINT = 12
"""Grey levels by which a stroke is lighter than its ground, at least."""
WRITTEN = 0.1
"""Least share of a place that strokes cover, for it to be written on."""
GAP = 1.0
"""Widest space within a line, in heights of its letters."""
CAPTION = 24, 0.05
"""Height of a line that is completed, at most: in pixels, and as a share of the picture's short side."""
MOST_ADDED = 6.0
"""Heights by which a line grows at each end, at most."""

Pixels = NDArray[np.uint8]


def strokes(pixels: Pixels) -> NDArray[np.bool_]:
    """`(H, W)`: the pixels of thin strokes that are lighter than their ground.

    Args:
        pixels: `(H, W, C)` uint8, C is 3 (RGB) or 1 (grey).
    """
    import cv2

    # White strokes on coloured ground differ most in the ground's darkest channel.
    darkest = np.ascontiguousarray(pixels.min(axis=2))
    lighter = cv2.morphologyEx(darkest, cv2.MORPH_TOPHAT, np.ones((STROKE, STROKE), np.uint8))
    return np.asarray(lighter >= FAINT)


def is_written(drawn: NDArray[np.bool_], region: Region) -> bool:
    """Whether strokes cover a part of a region. `drawn`: as `strokes` returns it."""
    return bool(drawn[region.slices].mean() >= WRITTEN)


def completed(drawn: NDArray[np.bool_], region: Region) -> Region:
    """A line with the letters at its ends that the detector left out.

    Args:
        drawn: `(H, W)`, as `strokes` returns it.
        region: a line of text; one that is upright, or high, stays as it is.
    """
    high, wide = region.bottom - region.top, region.right - region.left
    if high > wide or high > max(CAPTION[0], CAPTION[1] * min(drawn.shape)):
        return region
    columns = drawn[region.top : region.bottom].mean(axis=0)
    reach, gap = int(MOST_ADDED * high), max(1, int(GAP * high))
    before = columns[max(0, region.left - reach) : region.left][::-1]
    after = columns[region.right : region.right + reach]
    left = region.left - _written_length(before, gap)
    right = region.right + _written_length(after, gap)
    return Region(region.kind, left, region.top, right, region.bottom, region.score)


def _written_length(columns: NDArray[np.floating], gap: int) -> int:
    """Columns from the line's end outwards that carry letters, with no space wider than `gap`."""
    written = np.flatnonzero(columns >= WRITTEN)
    end = 0
    for column in written:
        if column - end > gap:
            break
        end = int(column) + 1
    return end
