"""The tensor contract: channel order, ranges, and conversion between 8-bit pixels and tensors.

Tensors are float32, `(N, C, H, W)` or `(C, H, W)`, range [-1, 1]. The image channels come first (3 RGB or
1 grey), then one channel per mask class. Masks are stored in 8 bits, as 0 and 255.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MASK_THRESHOLD = 127
"""A stored mask pixel above this is foreground (8-bit)."""

PROBABILITY_THRESHOLD = 0.5
"""A mask probability above this is foreground: the paper's `mask = output > 0.5`."""


@dataclass(frozen=True)
class ChannelLayout:
    """What each channel holds. Law: `from_json(to_json(x)) == x`."""

    image_channels: int
    """3 (RGB) or 1 (grey)."""
    mask_classes: tuple[str, ...]
    """Names of the mask channels, in channel order."""

    @property
    def channels(self) -> int:
        return self.image_channels + len(self.mask_classes)

    def to_json(self) -> dict[str, Any]:
        return {"image_channels": self.image_channels, "mask_classes": list(self.mask_classes)}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> ChannelLayout:
        return ChannelLayout(int(value["image_channels"]), tuple(value["mask_classes"]))


def pixels_to_tensor(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Convert `(H, W)` or `(H, W, C)` uint8 to `(C, H, W)` float32 in [-1, 1]."""
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    values = np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32)
    return values / np.float32(127.5) - np.float32(1)


def tensor_to_pixels(tensor: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Convert `(..., C, H, W)` float32 in [-1, 1], clipped, to `(..., H, W, C)` uint8."""
    scaled = np.clip((tensor.astype(np.float32) + 1) * np.float32(127.5), 0, 255)
    return np.moveaxis(np.rint(scaled).astype(np.uint8), -3, -1)


def binarise(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Set values of a stored 8-bit mask above `MASK_THRESHOLD` to 255 and the others to 0."""
    return np.where(mask > MASK_THRESHOLD, np.uint8(255), np.uint8(0)).astype(np.uint8)


def mask_probability(tensor: NDArray[np.float32]) -> NDArray[np.float32]:
    """Convert a mask channel in [-1, 1] to a foreground probability in [0, 1]."""
    return np.clip((tensor + 1) / 2, 0, 1).astype(np.float32)


def probability_to_mask(probability: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Convert a foreground probability in [0, 1] to 255 above `PROBABILITY_THRESHOLD`, otherwise to 0."""
    return np.where(probability > PROBABILITY_THRESHOLD, np.uint8(255), np.uint8(0)).astype(np.uint8)
