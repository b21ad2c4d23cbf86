"""Draw pictures of a data set's pairs with the outlines of their masks."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from consumer.datasets.reader import DatasetFolder
from consumer.validation.measure_files import Measurements
from sharekit.pictures import mask_statistics

MAX_SAMPLES = 24
SIDE = 240  # pixels, long side of a picture
QUALITY = 88  # JPEG quality: a report of two dozen pictures stays below a megabyte
COLOURS = ((64, 224, 208), (255, 183, 77), (186, 104, 200), (129, 199, 132), (100, 181, 246), (255, 241, 118))
"""RGB colours of the outlines, one per mask class, in order; repeated beyond six classes."""


@dataclass(frozen=True)
class Picture:
    """One pair: the image with its masks' outlines."""

    name: str
    coverage: float  # all classes together, 0 to 1
    jpeg: bytes


def pictures(folder: DatasetFolder, measured: Measurements, count: int = MAX_SAMPLES) -> list[Picture]:
    """Draw at most `count` evenly spaced pairs of a data set."""
    chosen = np.unique(np.linspace(0, len(measured.images) - 1, count).round().astype(int))
    drawn = []
    for image in (measured.images[index] for index in chosen if len(measured.images)):
        plain, readings = folder.read_pair(image.entry)
        pixels = outlined(plain, {label: reading.mask for label, reading in readings.items()})
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=QUALITY)
        drawn.append(Picture(image.entry.image, image.coverage, buffer.getvalue()))
    return drawn


def outlined(
    pixels: NDArray[np.uint8], masks: Mapping[str, NDArray[np.uint8]], side: int = SIDE
) -> NDArray[np.uint8]:
    """An image `(H, W)` or `(H, W, 3)` with its masks' outlines: uint8 RGB, long side `side` pixels."""
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    image = Image.fromarray(pixels).convert("RGB").resize(size, Image.Resampling.BICUBIC)
    drawn = np.array(image)
    for number, mask in enumerate(masks.values()):
        grey = Image.fromarray(np.where(mask_statistics.foreground(mask), np.uint8(255), np.uint8(0)))
        drawn[_outline(np.asarray(grey.resize(size, Image.Resampling.BILINEAR)) > 127)] = COLOURS[
            number % len(COLOURS)
        ]
    return drawn


def _outline(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Foreground within three pixels of the background; the image's border does not count."""
    inner = mask
    for _ in range(3):
        padded = np.pad(inner, 1, mode="edge")
        inner = (
            padded[1:-1, 1:-1] & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
        )
    return mask & ~inner
