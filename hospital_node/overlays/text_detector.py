"""Finds text in a picture with the network of PP-OCRv6.

The method is differentiable binarisation (Liao et al., AAAI 2020, arXiv:1911.08947): the network gives every
pixel its probability to be text, and connected likely pixels are one line.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hospital_node.overlays.rapidocr_weights import DETECTOR, load_session
from hospital_node.overlays.region import Kind, Region, covered

LIKELY = 0.2
"""Least probability of a pixel to be text. The authors take 0.3; a lower value finds fainter text."""
POSSIBLE = 0.35
"""Least mean probability of a line that counts without other evidence."""
SURE = 0.5
"""Least mean probability of a line that is painted over without asking."""
LEAST_SIDE, MOST_SIDE = 736, 1600
"""Sides in pixels at which the network looks: the short side at least, the long side at most."""
MOST_ENLARGED = 3.0
_STEP = 32  # the network halves its input five times
_MARGIN = 32  # pixels of ground around the picture, so that a glyph cut at the edge lies inside
_LEAST_PIXELS = 12  # of a line, at the network's size
_KNOWN = 0.5  # share of a line of the second look that the first look found already
_CLIP, _TILES = 3.0, (8, 8)  # of the adaptive histogram equalisation
_UNCLIP = 1.6
"""How much larger a line is than the shrunken core that the network marks (`unclip_ratio`)."""

Pixels = NDArray[np.uint8]


class TextDetector:
    """One network in memory. It answers with the same regions for the same pixels."""

    def __init__(self, session: Any) -> None:
        """Use `load_detector`."""
        self._session = session

    def find(self, pixels: Pixels) -> list[Region]:
        """The lines of text in a picture, looked at as it is and with its local contrast raised.

        The second look finds light text on light ground. Where both find a line, the first look's counts. A
        region too large for a caption hides no line of the second look, and a third looks into it, enlarged.

        Args:
            pixels: `(H, W, C)` uint8, C is 3 (RGB) or 1 (grey).

        Returns:
            Regions with any score, the topmost first; a score below `POSSIBLE` alone says little.
        """
        colour = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels
        first = self._look(colour)
        height, width = pixels.shape[:2]
        lines = [one for one in first if one.score >= SURE and not one.is_large(height, width)]
        known = covered(lines, height, width)
        second = [
            region for region in self._look(_contrasted(colour)) if known[region.slices].mean() < _KNOWN
        ]
        known |= covered([one for one in second if not one.is_large(height, width)], height, width)
        third = [
            line
            for large in second
            if large.score >= SURE and large.is_large(height, width)
            for line in self._look_into(colour, large)
            if known[line.slices].mean() < _KNOWN and not line.is_large(height, width)
        ]
        return sorted(first + second + third, key=lambda region: (region.top, region.left))

    def _look_into(self, pixels: Pixels, large: Region) -> list[Region]:
        """Lines within a region: many that lie close together, or on glaring ground, look like one."""
        found = self._look(_contrasted(np.ascontiguousarray(pixels[large.slices])))
        return [one.moved(large.left, large.top) for one in found]

    def _look(self, pixels: Pixels) -> list[Region]:
        from scipy import ndimage

        height, width = pixels.shape[:2]
        likely = self.probabilities(pixels)
        scale_y, scale_x = likely.shape[0] / (height + 2 * _MARGIN), likely.shape[1] / (width + 2 * _MARGIN)
        labels, count = ndimage.label(likely >= LIKELY, np.ones((3, 3)))
        means = ndimage.mean(likely, labels, range(1, count + 1))
        found = []
        for number, rows_columns in enumerate(ndimage.find_objects(labels)):
            rows, columns = rows_columns
            size = int((labels[rows, columns] == number + 1).sum())
            if size < _LEAST_PIXELS:
                continue
            high, wide = rows.stop - rows.start, columns.stop - columns.start
            reach = _UNCLIP * high * wide / (2 * (high + wide))
            box = (
                int(np.floor((columns.start - reach) / scale_x)) - _MARGIN,
                int(np.floor((rows.start - reach) / scale_y)) - _MARGIN,
                int(np.ceil((columns.stop + reach) / scale_x)) - _MARGIN,
                int(np.ceil((rows.stop + reach) / scale_y)) - _MARGIN,
            )
            left, right = (min(max(side, 0), width) for side in (box[0], box[2]))
            top, bottom = (min(max(side, 0), height) for side in (box[1], box[3]))
            if left < right and top < bottom:
                found.append(Region(Kind.TEXT, left, top, right, bottom, float(means[number])))
        return found

    def probabilities(self, pixels: Pixels) -> NDArray[np.float32]:
        """`(h, w)`: probability of text at every pixel of the enlarged RGB picture with its margin."""
        framed = np.pad(pixels, ((_MARGIN, _MARGIN), (_MARGIN, _MARGIN), (0, 0)), mode="edge")
        height, width = framed.shape[:2]
        scale = min(max(1.0, LEAST_SIDE / min(height, width)), MOST_ENLARGED)
        scale = min(scale, MOST_SIDE / max(height, width))
        size = tuple(max(_STEP, round(side * scale / _STEP) * _STEP) for side in (width, height))
        small = np.asarray(Image.fromarray(framed).resize(size, Image.Resampling.BILINEAR), np.float32)
        # The network was trained on OpenCV's order of colours: blue, green, red.
        values = small[None, :, :, ::-1].transpose(0, 3, 1, 2) / 127.5 - 1
        (found,) = self._session.run(None, {"x": np.ascontiguousarray(values)})
        return found[0, 0]


@functools.cache
def load_detector() -> TextDetector:
    """The detector of this process, loaded once.

    Raises:
        DependencyError: the extra `scrub` is missing, or rapidocr has other weights than the measured ones.
    """
    return TextDetector(load_session(DETECTOR))


def _contrasted(pixels: Pixels) -> Pixels:
    """The RGB picture with the local contrast of its brightness raised (CLAHE, Zuiderveld 1994)."""
    import cv2

    lab = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB)
    equaliser = cv2.createCLAHE(_CLIP, _TILES)
    lab[:, :, 0] = equaliser.apply(np.ascontiguousarray(lab[:, :, 0]))
    return cv2.cvtColor(lab, cv2.COLOR_LAB2RGB).astype(np.uint8, copy=False)
