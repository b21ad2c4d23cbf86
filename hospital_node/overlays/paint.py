"""Paints overlays over from the pixels around them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hospital_node.overlays.region import Kind, Region, covered

Pixels = NDArray[np.uint8]

MARGIN = 2
"""Pixels around a region that are painted too: JPEG spreads a glyph's edge."""
RADIUS = 3.0
"""Pixels around a point that its new value is drawn from."""


def paint_over(pixels: Pixels, regions: Sequence[Region]) -> Pixels:
    """The picture without its overlays.

    Each rectangle is filled from its border inwards (Telea, Journal of Graphics Tools 9:23-34, 2004): nothing
    of the old pixels stays, in any form. What the file declares to lie outside the picture becomes black.
    Pixels outside all rectangles stay as they are.

    Args:
        pixels: `(H, W, C)` uint8, C is 3 or 1.
        regions: what to paint over.
    """
    if not regions:
        return pixels
    import cv2

    height, width = pixels.shape[:2]
    outside = covered([region for region in regions if region.kind is Kind.DECLARED], height, width)
    mask = painted([region for region in regions if region.kind is not Kind.DECLARED], height, width)
    mask &= ~outside
    blank = np.where((mask | outside)[:, :, None], np.uint8(0), pixels)
    if not mask.any() or (mask | outside).all():
        return blank
    filled = cv2.inpaint(blank, mask.astype(np.uint8), RADIUS, cv2.INPAINT_TELEA)
    return np.where(mask[:, :, None], filled.reshape(pixels.shape), blank)


def painted(regions: Sequence[Region], height: int, width: int) -> NDArray[np.bool_]:
    """`(H, W)`: the pixels that `paint_over` changes."""
    return covered([region.grown(MARGIN, height, width) for region in regions], height, width)
