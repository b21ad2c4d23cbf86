"""The pixels of one image and its masks, as the node stores them and a generator learns from them."""

from __future__ import annotations

import io
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sharekit.errors import NodeStateError
from sharekit.generator.tensors import ChannelLayout, binarise, pixels_to_tensor
from sharekit.storage import files

MAX_STORED_BYTES = 2**29  # limit of one stored PNG


@dataclass(frozen=True)
class Pair:
    """One image with its masks, as stored by intake."""

    image: NDArray[np.uint8]  # (H, W, C), C is 3 (RGB) or 1 (grey)
    masks: Mapping[str, NDArray[np.uint8]]  # class -> (H, W), 0 and 255, in channel order

    @property
    def layout(self) -> ChannelLayout:
        return ChannelLayout(self.image.shape[2], tuple(self.masks))

    def tensor(self) -> NDArray[np.float32]:
        """`(C, H, W)` float32 in [-1, 1]: the image channels, then one channel per mask class."""
        return pixels_to_tensor(np.dstack([self.image, *self.masks.values()]))

    def resized(self, height: int, width: int) -> Pair:
        """The pair at another size in pixels; masks are resized separately and stay 0 and 255."""
        if self.image.shape[:2] == (height, width):
            return self
        image = _resize(self.image, height, width, Image.Resampling.BICUBIC)
        masks = {
            name: binarise(_resize(mask, height, width, Image.Resampling.BILINEAR))
            for name, mask in self.masks.items()
        }
        return Pair(image.reshape(height, width, -1), masks)


def common_size(sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The size to which images of one generator are resized: their median height and median width.

    Args:
        sizes: `(height, width)` of each image in pixels, at least one; a single size is returned unchanged.
    """
    heights, widths = zip(*sizes, strict=True)
    return round(statistics.median(heights)), round(statistics.median(widths))


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """`(H, W)` or `(H, W, 3)` uint8 as PNG bytes that hold nothing but the pixels."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, format="PNG")
    return buffer.getvalue()


def read_png(path: Path) -> NDArray[np.uint8]:
    """`(H, W)` or `(H, W, 3)` uint8 of a PNG that intake wrote.

    Raises:
        InputError: the file is missing.
        NodeStateError: it is damaged.
    """
    data = files.read_bytes(path, max_bytes=MAX_STORED_BYTES)
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            return np.array(image, dtype=np.uint8)
    except Exception as error:
        raise NodeStateError(
            path,
            expected="a PNG written by intake",
            found=f"{type(error).__name__}: {error}",
            next_step="ingest the image again into a new node",
        ) from error


def _resize(
    pixels: NDArray[np.uint8], height: int, width: int, filter_: Image.Resampling
) -> NDArray[np.uint8]:
    """`(H, W)`, `(H, W, 1)` or `(H, W, 3)` at another size, smoothed where it shrinks."""
    flat = pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    return np.array(Image.fromarray(flat).resize((width, height), filter_))
