"""Says whether a region that the detector took for text can be read; what stands there is not kept.

Highlights and folds look like strokes to the detector, and no letter fits them. The network is the reader of
PP-OCRv6 (CTC: Graves et al., ICML 2006): for every column of a line it gives each of 18,709 characters its
probability.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hospital_node.overlays.rapidocr_weights import READER, load_session
from hospital_node.overlays.region import Region

LEGIBLE = 0.6
"""Least mean probability of a line's letters, for it to be text."""
_HEIGHT = 48  # pixels of a line, as the network was trained
_MOST_WIDE = 20  # times its height
_MARGIN = 2
_UPRIGHT = 1.5  # height over width above which a region is read from both sides
_BLANK = 0  # the class between two letters

Pixels = NDArray[np.uint8]


class TextReader:
    """One network in memory."""

    def __init__(self, session: Any) -> None:
        """Use `load_reader`."""
        self._session = session

    def legibility(self, pixels: Pixels, region: Region) -> float:
        """Mean probability of the letters in a region, 0 to 1; 0 if there are none.

        Args:
            pixels: `(H, W, C)` uint8, C is 3 (RGB) or 1 (grey).
            region: a line of text, or what was taken for one.
        """
        height, width = pixels.shape[:2]
        crop = pixels[region.grown(_MARGIN, height, width).slices]
        colour = np.repeat(crop, 3, axis=2) if crop.shape[2] == 1 else crop
        views = [colour]
        if colour.shape[0] > _UPRIGHT * colour.shape[1]:
            views += [np.rot90(colour, 1), np.rot90(colour, 3)]
        return max(map(self._read, views))

    def _read(self, line: Pixels) -> float:
        ratio = min(_MOST_WIDE, line.shape[1] / line.shape[0])
        size = (max(_HEIGHT, round(_HEIGHT * ratio)), _HEIGHT)
        image = Image.fromarray(np.ascontiguousarray(line)).resize(size, Image.Resampling.BILINEAR)
        # The network was trained on OpenCV's order of colours: blue, green, red.
        values = np.asarray(image, np.float32)[None, :, :, ::-1].transpose(0, 3, 1, 2) / 127.5 - 1
        (found,) = self._session.run(None, {"x": np.ascontiguousarray(values)})
        best, sure = found[0].argmax(axis=1), found[0].max(axis=1)
        # Equal classes in a row are one letter.
        letters = (best != _BLANK) & (best != np.concatenate([[-1], best[:-1]]))
        return float(sure[letters].mean()) if letters.any() else 0.0


@functools.cache
def load_reader() -> TextReader:
    """The reader of this process, loaded once.

    Raises:
        DependencyError: the extra `scrub` is missing, or rapidocr has other weights than the measured ones.
    """
    return TextReader(load_session(READER))
