"""What the pictures of one device share: places where it writes, and graphics that it always draws.

Pictures count as of one device when their sizes differ by a few pixels, as cropping by hand leaves them. Text
that the detector answers to weakly is believed where other pictures of the device carry text for certain.
What only the detector takes for text must have the shape of a line, or be legible.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hospital_node.overlays.graphics import DARK, detached, rows_of_blocks
from hospital_node.overlays.region import Kind, Region, covered
from hospital_node.overlays.strokes import completed, is_written, strokes
from hospital_node.overlays.text_detector import POSSIBLE, SURE, TextDetector
from hospital_node.overlays.text_reader import LEGIBLE, TextReader

Pixels = NDArray[np.uint8]

LEAST_SIDE = 72
"""Long side in pixels below which a picture is not looked at: ten letters of 7 pixels do not fit."""
NEAR_SIZE = 3
"""Pixels by which height and width of one device's pictures differ."""
LEAST_OTHERS = 4
"""Fewest other pictures of a device from which something is concluded."""
WRITES = 0.2
"""Least share of the others with certain text at a pixel, for a weak answer there to count."""
ALWAYS_WRITES = 0.5
"""Least share of the others with certain text at a pixel, for strokes there to count without any answer."""
LINE = 2.0
"""Least length of a certain line in heights; highlights that the detector takes for text are rounder."""
EVIDENT = 0.9
"""Least mean probability of text that needs neither the shape of a line nor letters that can be read."""
COMMON, SAME_LINE = 2, 0.5
"""Two pictures have one layout if this many lines of certain text overlap by this share of their union."""
LEAST_LETTER = 7
"""Lowest and narrowest place in pixels that is painted without an answer of the detector there."""
CONSTANT = 0.75
"""Least share of the others that have the same grey at a pixel, for it to be a graphic of the device."""
LEAST_ALIKE = 8
"""Fewest other pictures of a device from which a constant graphic is concluded."""
SAME_GREY = 6
"""Grey levels, 0 to 255, by which equal pixels differ after JPEG."""
SAME_SCENE = 0.5
"""Largest share of equal bright pixels of two different scenes; frames of one recording tell nothing."""
SIDE = 256
"""Long side in pixels at which greys are compared."""
MOST_KEPT = 24
"""Pictures of one device that are kept for comparison; later ones are compared with these."""
_LEAST_CONSTANT = 12  # pixels of a constant graphic, at SIDE


@dataclass(frozen=True)
class Surveyed:
    """What one picture shows by itself."""

    name: str
    height: int
    width: int
    regions: tuple[Region, ...]
    """Text with any score, and graphics."""
    grey: Pixels | None = None
    """`(h, w)` with a long side of at most `SIDE`; None: only its regions are known."""


class Survey:
    """The pictures of a folder, by size."""

    def __init__(self, detector: TextDetector, reader: TextReader) -> None:
        self._detector = detector
        self._reader = reader
        self._regions: dict[str, tuple[Region, ...]] = {}
        self._by_size: dict[tuple[int, int], list[Surveyed]] = defaultdict(list)

    def remember(self, name: str, height: int, width: int, regions: Sequence[Region]) -> None:
        """Learn where a device writes from a picture that was looked at earlier."""
        self._keep(Surveyed(name, height, width, tuple(regions)))

    def look(self, name: str, pixels: Pixels, declared: Sequence[Region] = ()) -> None:
        """Find text and graphics in one picture, and remember it as one of its device.

        Args:
            name: the picture.
            pixels: `(H, W, C)` uint8, C is 3 or 1.
            declared: regions that the file itself declares to lie outside the picture.
        """
        found: list[Region] = []
        if max(pixels.shape[:2]) >= LEAST_SIDE:
            found = self._detector.find(pixels) + detached(pixels) + rows_of_blocks(pixels)
        self._regions[name] = (*declared, *found)
        self._keep(self._surveyed(name, pixels))

    def overlays(self, name: str, pixels: Pixels, declared: Sequence[Region] = ()) -> list[Region]:
        """Everything that counts as an overlay of a picture, also in view of the others of its device.

        Args: as in `look`, which a picture without a look gets now.
        """
        if name not in self._regions:
            self.look(name, pixels, declared)
        one = self._surveyed(name, pixels)
        others = [other for other in self._of_device(one) if other.name != name]
        shares = _where_others_write(one, others)
        drawn = strokes(pixels)
        text = [completed(drawn, region) for region in _text(one) if self._is_text(region, pixels, shares)]
        regions = [region for region in one.regions if region.kind is not Kind.TEXT] + text
        regions += _unanswered(shares, text, drawn)
        if len(others) >= LEAST_OTHERS:
            regions += _constant(one, others)
        return regions

    def _is_text(self, region: Region, pixels: Pixels, shares: NDArray[np.float32]) -> bool:
        """Whether a region of the detector is text: where its device writes, by its shape, or to a reader."""
        large = region.is_large(*pixels.shape[:2])
        if not large and shares[region.slices].mean() >= WRITES:
            return True
        if region.score < POSSIBLE:
            return False
        line = region.score >= SURE and region.long_side >= LINE * region.short_side
        evident = not large and (line or region.score >= EVIDENT)
        return evident or self._reader.legibility(pixels, region) >= LEGIBLE

    def _surveyed(self, name: str, pixels: Pixels) -> Surveyed:
        height, width = pixels.shape[:2]
        grey = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0]).convert("L")
        scale = min(1.0, SIDE / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = np.asarray(grey.resize(size, Image.Resampling.BOX))
        return Surveyed(name, height, width, self._regions[name], small)

    def _keep(self, one: Surveyed) -> None:
        kept = self._by_size[one.height, one.width]
        if len(kept) < MOST_KEPT:
            kept.append(one)

    def _of_device(self, one: Surveyed) -> list[Surveyed]:
        found: list[Surveyed] = []
        for (height, width), kept in self._by_size.items():
            if abs(height - one.height) <= NEAR_SIZE and abs(width - one.width) <= NEAR_SIZE:
                found += kept
        return found[: 2 * MOST_KEPT]


def _text(one: Surveyed) -> list[Region]:
    return [region for region in one.regions if region.kind is Kind.TEXT]


def _certain(one: Surveyed) -> list[Region]:
    return [region for region in _text(one) if region.score >= SURE]


def _where_others_write(one: Surveyed, others: Sequence[Surveyed]) -> NDArray[np.float32]:
    """`(H, W)`: share of the pictures with the same layout that have certain text at a pixel; 0 if few do."""
    shares = np.zeros((one.height, one.width), np.float32)
    alike = [other for other in others if _same_layout(one, other)]
    if len(alike) < LEAST_OTHERS:
        return shares
    for other in alike:
        written = covered(_certain(other), other.height, other.width)[: one.height, : one.width]
        shares[: written.shape[0], : written.shape[1]] += written
    return shares / np.float32(len(alike))


def _unanswered(
    shares: NDArray[np.float32], text: Sequence[Region], drawn: NDArray[np.bool_]
) -> list[Region]:
    """Places that the device nearly always writes to, with strokes and without an answer of the detector."""
    # What was found already needs no second region, but for a part of its line.
    known = covered(text, *shares.shape)
    always = _boxes((shares >= ALWAYS_WRITES) & ~known, Kind.TEXT, least=LEAST_LETTER**2)
    return [one for one in always if one.short_side >= LEAST_LETTER and is_written(drawn, one)]


def _same_layout(one: Surveyed, other: Surveyed) -> bool:
    """Whether two pictures have certain text at `COMMON` places or more: lines of the same device."""
    if abs(one.height - other.height) > NEAR_SIZE or abs(one.width - other.width) > NEAR_SIZE:
        return False
    common = sum(
        any(_overlap(mine, theirs) >= SAME_LINE for theirs in _certain(other)) for mine in _certain(one)
    )
    return common >= COMMON


def _overlap(one: Region, other: Region) -> float:
    """Intersection over union of two rectangles."""
    wide = min(one.right, other.right) - max(one.left, other.left)
    high = min(one.bottom, other.bottom) - max(one.top, other.top)
    common = max(0, wide) * max(0, high)
    return common / (one.area + other.area - common)


def _constant(one: Surveyed, others: Sequence[Surveyed]) -> list[Region]:
    """Bright pixels that many other pictures of the device have with the same grey."""
    from scipy import ndimage

    if one.grey is None:
        return []
    own = one.grey.astype(np.int16)
    lit = own > DARK
    equal, counted = np.zeros(own.shape, np.float32), 0
    for other in others:
        if other.grey is None:
            continue
        # Pictures of one device differ by a row or a column.
        common = tuple(slice(min(sides)) for sides in zip(own.shape, other.grey.shape, strict=True))
        same = np.zeros(own.shape, bool)
        same[common] = (np.abs(own[common] - other.grey[common]) <= SAME_GREY) & lit[common]
        if same.sum() <= SAME_SCENE * max(1, lit.sum()):
            equal += same
            counted += 1
    if counted < LEAST_ALIKE:
        return []
    # One pixel alone agrees by chance.
    constant = ndimage.binary_opening(equal >= CONSTANT * counted, np.ones((2, 2), bool))
    scale_y, scale_x = one.height / own.shape[0], one.width / own.shape[1]
    return [
        Region(
            Kind.CONSTANT,
            int(region.left * scale_x),
            int(region.top * scale_y),
            min(one.width, int(np.ceil(region.right * scale_x))),
            min(one.height, int(np.ceil(region.bottom * scale_y))),
        )
        for region in _boxes(constant, Kind.CONSTANT, least=_LEAST_CONSTANT)
    ]


def _boxes(marked: NDArray[np.bool_], kind: Kind, *, least: int) -> list[Region]:
    """A region around every connected part with at least this many pixels."""
    from scipy import ndimage

    labels, _ = ndimage.label(marked, np.ones((3, 3), bool))
    sizes = np.bincount(labels.ravel())[1:]
    objects: Iterable[tuple[slice, slice]] = ndimage.find_objects(labels)
    return [
        Region(kind, columns.start, rows.start, columns.stop, rows.stop)
        for (rows, columns), size in zip(objects, sizes, strict=True)
        if size >= least
    ]
