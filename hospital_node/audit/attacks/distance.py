"""How far two images are from each other: RMSE, on a thumbnail and at full scale."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from hospital_node.audit.attack import Array, Space
from hospital_node.singan.pyramid import resize as resize_tensor

THUMBNAIL = 16
"""Long side in pixels: what stays of an image when texture and small detail are gone."""


def resize(images: Array, height: int, width: int) -> Array:
    """`(N, C, H, W)` to `(N, C, height, width)` in [-1, 1], as the pyramid itself is made."""
    if images.shape[-2:] == (height, width) or not len(images):
        return images.reshape(len(images), images.shape[1], height, width)
    return resize_tensor(torch.from_numpy(np.ascontiguousarray(images)), height, width).numpy()


def thumbnail(images: Array) -> Array:
    """`(N, C, H, W)` with the long side at `THUMBNAIL` pixels."""
    height, width = images.shape[-2:]
    scale = THUMBNAIL / max(height, width)
    return resize(images, max(1, round(height * scale)), max(1, round(width * scale)))


def with_channels(image: Array, channels: int) -> Array:
    """`(C, H, W)` as grey (the mean) or as RGB (grey three times), so that both kinds can be compared."""
    if len(image) == channels:
        return image
    grey = image.mean(axis=0, keepdims=True)
    return np.repeat(grey, channels, axis=0)


SPACES: dict[Space, Callable[[Array], Array]] = {
    Space.THUMBNAIL: thumbnail,
    Space.FULL: lambda images: images,
}
"""Each space with what brings images `(N, C, H, W)` to its size `(N, C, h, w)`."""


def rmse(first: Array, second: Array) -> NDArray[np.float64]:
    """Root mean squared difference of every pair: `(N, C, H, W)` and `(M, C, H, W)` to `(N, M)`, 0 to 2."""
    a = first.reshape(len(first), -1).astype(np.float64)
    b = second.reshape(len(second), a.shape[1]).astype(np.float64)
    # |a - b|^2 = |a|^2 + |b|^2 - 2 ab, as one matrix product; rounding may leave a tiny negative number.
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None] - 2 * (a @ b.T)
    return np.sqrt(np.maximum(squares, 0) / a.shape[1])


def between(images: Array) -> NDArray[np.float64]:
    """RMSE of every unordered pair of different images, `(N * (N - 1) / 2,)`."""
    rows, columns = np.triu_indices(len(images), k=1)
    return rmse(images, images)[rows, columns]
