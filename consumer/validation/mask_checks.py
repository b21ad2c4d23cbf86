"""Measure a single mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sharekit.errors import missing_package
from sharekit.pictures import mask_statistics
from sharekit.pictures.masks import MaskReading


@dataclass(frozen=True)
class MaskFacts:
    """Measurements of one stored mask."""

    exact: bool  # holds nothing but 0 and 255
    zero_one: bool  # holds 0 and 1 instead
    coverage: float  # share of foreground pixels, 0 to 1
    components: int  # separate foreground regions, 8-connected
    holes: int  # background regions enclosed by foreground, 4-connected
    largest: float  # share of the foreground that lies in the largest region; 1 without foreground


def mask_facts(reading: MaskReading) -> MaskFacts:
    """Measure a mask `(H, W)`.

    Foreground is 8-connected and background 4-connected, so that a diagonal line separates the areas on its
    sides.
    """
    try:
        from scipy import ndimage
    except ImportError:
        raise missing_package("scipy", "validate") from None
    foreground = mask_statistics.foreground(reading.mask)
    regions, components = ndimage.label(foreground, np.ones((3, 3)))
    areas = np.bincount(regions.reshape(-1))[1:]
    # A border of background pixels joins all background regions that touch the edge into one.
    _, background = ndimage.label(np.pad(~foreground, 1, constant_values=True))
    return MaskFacts(
        exact=reading.exact,
        zero_one=reading.values == (0, 1),
        coverage=float(foreground.mean()),
        components=int(components),
        holes=int(background) - 1,
        largest=float(areas.max() / areas.sum()) if components else 1.0,
    )
