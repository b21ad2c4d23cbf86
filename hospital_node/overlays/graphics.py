"""Finds what a device drew that is no letter: marks on the dark ground next to the picture, rows of blocks.

An endoscope or an ultrasound probe gives one bright field on dark ground. Anything else that is bright there
was drawn by the device: cut glyphs, colour bars, logos, small maps. Equal rectangles in a row are drawn, too,
wherever they lie: nothing in a body looks like that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hospital_node.overlays.region import Kind, Region

Pixels = NDArray[np.uint8]

DARK = 40
"""Brightest value of ground at the edge of the frame, 0 to 255, in any channel."""
_NOISE = 20
"""Grey levels by which JPEG changes plain ground."""
LEAST_GROUND = 0.02
"""Least share of the frame that dark ground at its edge takes up."""
LEAST_FIELD = 0.25
"""Least share of the frame that the picture itself takes up: cells on black ground are no overlays."""
MOST_GRAPHIC = 0.1
"""Largest share of the frame that one graphic takes up."""
STROKE = 9
"""Widest stroke in pixels that may touch the picture and still counts as a graphic."""
MOST_GRAPHICS = 12
"""More parts than this are highlights in a dark lumen, not graphics."""
CONTRAST = 80
"""Least grey levels from the ground to a graphic's brightest pixel."""
BLOCK = (5, 40)
"""Least and largest side in pixels of a block in a row, such as a colour bar's or a missing letter's."""
SOLID = 0.85
"""Least share of its rectangle that a block fills."""
LEAST_BLOCKS = 3
"""Fewest equal blocks of a row."""
_UNEVEN = 3  # pixels by which equal blocks differ
_SPACE = 1.0  # widest space between neighbours, in their height
_FLAT, _NEAR = 0.85, 5  # share of the lightest value within five pixels that a block's pixel has at least
_LEAST_PIXELS = 8
_RING = 3  # pixels around a graphic that must mostly be ground
_PLAIN = 0.5  # least share of the ring that is ground


def detached(pixels: Pixels) -> list[Region]:
    """The graphics of a picture `(H, W, C)`; empty if it has no dark ground."""
    from scipy import ndimage

    brightest = pixels.max(axis=2)
    frame = np.concatenate([brightest[0], brightest[-1], brightest[:, 0], brightest[:, -1]])
    if not (frame <= DARK).any():
        return []
    # The ground is one grey; the shade of a dark lumen is another, a little brighter.
    level = float(np.median(frame[frame <= DARK]))
    dark_labels, _ = ndimage.label(brightest <= level + _NOISE)
    edges = np.concatenate([dark_labels[0], dark_labels[-1], dark_labels[:, 0], dark_labels[:, -1]])
    ground = np.isin(dark_labels, np.setdiff1d(edges, [0]))
    if ground.mean() < LEAST_GROUND:
        return []
    # Thin strokes vanish from the field, so that a glyph that touches it stays a part of its own.
    solid = ndimage.minimum_filter(~ground, STROKE)
    solid = ndimage.maximum_filter(solid, STROKE)
    solid_labels, count = ndimage.label(solid)
    sizes = np.bincount(solid_labels.ravel(), minlength=count + 1)[1:]
    if not count or sizes.max() < LEAST_FIELD * brightest.size:
        return []
    field = ndimage.maximum_filter(solid_labels == 1 + int(sizes.argmax()), 5)
    eight = np.ones((3, 3), bool)
    labels, _ = ndimage.label(~ground & ~field, eight)
    found = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
        around = (
            slice(max(0, rows.start - _RING), rows.stop + _RING),
            slice(max(0, columns.start - _RING), columns.stop + _RING),
        )
        own = labels[around] == number
        if not _LEAST_PIXELS <= own.sum() <= MOST_GRAPHIC * brightest.size:
            continue
        if brightest[around][own].max() < level + CONTRAST:
            continue
        ring = ndimage.binary_dilation(own, eight, iterations=_RING) & ~own
        if ground[around][ring].mean() >= _PLAIN:
            found.append(Region(Kind.GRAPHIC, columns.start, rows.start, columns.stop, rows.stop))
    if len(found) > MOST_GRAPHICS:
        return []
    # The part of a stroke that touches the picture was cut off.
    return [region.grown(STROKE // 2, *brightest.shape) for region in found]


def rows_of_blocks(pixels: Pixels) -> list[Region]:
    """Rows of light, equal and solid rectangles in a picture `(H, W, C)`, with the marks between them."""
    import cv2

    darkest = np.ascontiguousarray(pixels.min(axis=2))
    side = 2 * BLOCK[1] + 1
    lighter = cv2.morphologyEx(darkest, cv2.MORPH_TOPHAT, np.ones((side, side), np.uint8))
    # Blocks stand close together, and JPEG fills the space between them.
    edge = _FLAT * cv2.dilate(darkest, np.ones((_NEAR, _NEAR), np.uint8))
    drawn = (lighter >= CONTRAST // 2) & (darkest >= edge)
    _, _, parts, _ = cv2.connectedComponentsWithStats(drawn.astype(np.uint8), connectivity=4)
    least, most = BLOCK
    marks = sorted(_Mark(*part) for part in parts[1:].tolist() if least <= part[3] <= most >= part[2])
    found = []
    while marks:
        row = [marks[0]]
        for mark in marks[1:]:
            if mark.follows(row[-1]):
                row.append(mark)
        marks = [mark for mark in marks if mark not in row]
        blocks = [mark for mark in row if mark.is_block]
        if len(blocks) >= LEAST_BLOCKS and _are_equal(blocks):
            top, bottom = min(one.top for one in row), max(one.top + one.height for one in row)
            found.append(Region(Kind.GRAPHIC, row[0].left, top, row[-1].left + row[-1].width, bottom))
    return found


class _Mark(NamedTuple):
    """A connected light part of a picture, in pixels."""

    left: int
    top: int
    width: int
    height: int
    area: int

    @property
    def is_block(self) -> bool:
        return self.width >= BLOCK[0] and self.area >= SOLID * self.width * self.height

    def follows(self, one: _Mark) -> bool:
        """Whether it stands right of a mark, in its row."""
        space = self.left - (one.left + one.width)
        level = abs(self.top - one.top) <= _UNEVEN and abs(self.height - one.height) <= _UNEVEN
        return level and 0 <= space <= _SPACE * one.height


def _are_equal(blocks: Sequence[_Mark]) -> bool:
    widths = [one.width for one in blocks]
    return max(widths) - min(widths) <= _UNEVEN
