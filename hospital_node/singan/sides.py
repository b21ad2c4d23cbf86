"""Which pictures are too narrow for a training's longest side; pure, and without torch."""

from __future__ import annotations

from sharekit.generator.spec import PADDING

LEAST_SHORT_SIDE = 2 * PADDING + 1
"""Pixels of the finest scale's short side: the unpadded discriminator needs them."""


def least_max_side(height: int, width: int) -> int:
    """The smallest `max_side` at which `pyramid_sizes` accepts a larger picture of this size in pixels."""
    short, long = min(height, width), max(height, width)
    # The short side is rounded up when the long one is reduced to max_side.
    return (LEAST_SHORT_SIDE - 1) * long // short + 1
