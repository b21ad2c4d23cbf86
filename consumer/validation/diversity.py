"""Measure how much images differ: pixel deviation and mean distance of pairs, each with an interval."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sharekit.intervals import Interval, bootstrap

THUMBNAIL_SIDE = 32  # pixels
MAX_COMPARED = 300
"""Largest number of images of a group to compare; a larger group is thinned out evenly."""
DRAWS = 500
"""Resamples of an interval: a quarter of the usual number, because each reads every pixel of every image."""

Pixels = NDArray[np.uint8]


def thumbnail(pixels: Pixels) -> Pixels:
    """RGB uint8 `(THUMBNAIL_SIDE, THUMBNAIL_SIDE, 3)`; the aspect ratio may change."""
    image = Image.fromarray(pixels).convert("RGB")
    return np.asarray(image.resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BOX))


def thin(thumbnails: Pixels) -> Pixels:
    """At most `MAX_COMPARED` images, evenly spaced."""
    count = len(thumbnails)
    chosen = np.linspace(0, count - 1, min(count, MAX_COMPARED)).round().astype(int)
    return thumbnails[np.unique(chosen)]


def pixel_std(thumbnails: Pixels) -> Interval:
    """Standard deviation over images `(n, h, w, c)`, averaged over pixels, 0 to 255; 0 for one image."""
    compared = thin(thumbnails)
    count = len(compared)
    values = compared.reshape(count, -1).astype(np.float32)
    squares = values**2
    estimate = float(values.std(axis=0).mean())

    def of_resample(rows: NDArray[np.intp], _: np.random.Generator) -> float:
        weights = np.bincount(rows, minlength=count).astype(np.float32) / count
        variance = weights @ squares - (weights @ values) ** 2
        return float(np.sqrt(np.maximum(variance, 0)).mean())

    # A resample repeats images and so varies less than the original set; `centred` corrects that.
    found = bootstrap(estimate, count, of_resample, draws=DRAWS, centred=True)
    return replace(found, low=max(found.low, 0.0))


def mean_distance(thumbnails: Pixels) -> Interval | None:
    """Mean root-mean-square difference of all pairs of images `(n, h, w, c)`, 0 to 255; None below two."""
    compared = thin(thumbnails)
    if len(compared) < 2:
        return None
    flat = compared.reshape(len(compared), -1).astype(np.float64)
    squares = (flat**2).sum(axis=1)
    squared = squares[:, None] + squares[None, :] - 2 * flat @ flat.T
    return mean_of_pairs(np.sqrt(np.maximum(squared, 0) / flat.shape[1]))


def mean_of_pairs(distances: NDArray[np.floating]) -> Interval | None:
    """The mean distance of two different images, resampled by image; None below two images.

    Pairs share images, so they are not independent. The bootstrap therefore draws images, and ignores pairs
    of an image with its own copy. `count` is the number of images.

    Args:
        distances: symmetric `(n, n)`; the diagonal is ignored.
    """
    count = len(distances)
    if count < 2:
        return None
    values = np.where(np.eye(count, dtype=bool), 0.0, distances)
    estimate = float(values.sum() / (count * (count - 1)))

    def of_resample(rows: NDArray[np.intp], _: np.random.Generator) -> float:
        weights = np.bincount(rows, minlength=count).astype(np.float64)
        pairs = count**2 - weights @ weights
        return float(weights @ values @ weights / pairs) if pairs else estimate

    return bootstrap(estimate, count, of_resample, draws=DRAWS)
