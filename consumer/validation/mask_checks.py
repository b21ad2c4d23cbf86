"""What a single mask says about itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sharekit.errors import missing_package
from sharekit.pictures import mask_statistics

BETWEEN = (64, 191)
"""Greys that are neither background nor foreground; JPEG's ringing stays outside."""
MAX_STRAY = 0.01
"""Share of a mask's pixels that may be in between."""
CLASS_NUMBERS = 32
"""A mask whose brightest value is at most this, but not 0, holds class numbers instead of 0 and 255."""


@dataclass(frozen=True)
class MaskFacts:
    """One stored mask, measured."""

    exact: bool  # holds nothing but 0 and 255
    stray: float  # share of pixels within BETWEEN, 0 to 1
    brightest: int  # 0 to 255
    coverage: float  # share of foreground pixels, 0 to 1
    components: int  # separate foreground regions, 8-connected
    holes: int  # background regions enclosed by foreground, 4-connected
    largest: float  # share of the foreground that lies in the largest region; 1 without foreground

    @property
    def holds_class_numbers(self) -> bool:
        return 0 < self.brightest <= CLASS_NUMBERS

    @property
    def is_grey(self) -> bool:
        """Whether it is a grey picture rather than a mask."""
        return self.stray > MAX_STRAY


def mask_facts(mask: NDArray[np.uint8]) -> MaskFacts:
    """Measure a stored mask, uint8 `(H, W)`; as `mask_statistics.foreground` reads it.

    Foreground is 8-connected and background 4-connected, so that a diagonal line separates what it seems to.
    """
    try:
        from scipy import ndimage
    except ImportError:
        raise missing_package("scipy", "validate") from None
    foreground = mask_statistics.foreground(mask)
    regions, components = ndimage.label(foreground, np.ones((3, 3)))
    areas = np.bincount(regions.reshape(-1))[1:]
    # One background pixel all around joins every region that touches the border into one.
    _, background = ndimage.label(np.pad(~foreground, 1, constant_values=True))
    return MaskFacts(
        exact=bool(((mask == 0) | (mask == 255)).all()),
        stray=float(((mask >= BETWEEN[0]) & (mask <= BETWEEN[1])).mean()),
        brightest=int(mask.max(initial=0)),
        coverage=float(foreground.mean()),
        components=int(components),
        holes=int(background) - 1,
        largest=float(areas.max() / areas.sum()) if components else 1.0,
    )
