"""What the pictures of one device share: places where it writes, and graphics that it always draws.

Pictures count as of one device when their sizes differ by a few pixels, as cropping by hand leaves them. Text
that the detector answers to weakly is believed where other pictures of the device carry text for certain.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hospital_node.overlays.graphics import DARK, detached
from hospital_node.overlays.region import Kind, Region, covered
from hospital_node.overlays.text_detector import POSSIBLE, SURE, TextDetector

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
"""Least share of the others with certain text at a pixel, for it to count without any answer."""
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

    def __init__(self, detector: TextDetector) -> None:
        self._detector = detector
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
            found = self._detector.find(pixels) + detached(pixels)
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
        regions = [
            region for region in one.regions if region.kind is not Kind.TEXT or region.score >= POSSIBLE
        ]
        if len(others) >= LEAST_OTHERS:
            regions += _places(one, others)
            regions += _constant(one, others)
        return regions

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


def _places(one: Surveyed, others: Sequence[Surveyed]) -> list[Region]:
    """Text where the device writes: weak answers, and places that it nearly always writes to."""
    alike = [other for other in others if _same_layout(one, other)]
    if len(alike) < LEAST_OTHERS:
        return []
    shares = np.zeros((one.height, one.width), np.float32)
    for other in alike:
        written = covered(_certain(other), other.height, other.width)[: one.height, : one.width]
        shares[: written.shape[0], : written.shape[1]] += written
    shares /= len(alike)
    weak = [
        region
        for region in one.regions
        if region.kind is Kind.TEXT and region.score < POSSIBLE and shares[region.slices].mean() >= WRITES
    ]
    # What was found already needs no second region, but for a part of its line.
    known = covered([region for region in one.regions if region.score >= POSSIBLE], one.height, one.width)
    always = _boxes((shares >= ALWAYS_WRITES) & ~known, Kind.TEXT, least=LEAST_LETTER**2)
    return weak + [
        region
        for region in always
        if min(region.bottom - region.top, region.right - region.left) >= LEAST_LETTER
    ]


def _certain(one: Surveyed) -> list[Region]:
    return [region for region in one.regions if region.kind is Kind.TEXT and region.score >= SURE]


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
        if other.grey is None or other.grey.shape != own.shape:
            continue
        same = (np.abs(own - other.grey) <= SAME_GREY) & lit
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
