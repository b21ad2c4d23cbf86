"""How far two images are from each other: RMSE, on a thumbnail and at full scale."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from hospital_node.audit.attack import Array, Compared, Space
from hospital_node.singan.augment_real import moved
from hospital_node.singan.pyramid import resize as resize_tensor

THUMBNAIL = 16
"""Long side in pixels: what stays of an image when texture and small detail are gone."""
NEAREST_POSSIBLE = 1e-6
"""RMSE that stands for a perfect copy where a logarithm is taken."""
TURNS = 12
"""Steps of a full turn in which an attacker turns a real image."""
Poses = Callable[[Array], list[Array]]
"""Real images `(N, C, H, W)` to all the ways in which an attacker looks at them."""
_ROWS = 128  # images that are converted to float64 at once


def resize(images: Array, height: int, width: int) -> Array:
    """`(N, C, H, W)` to `(N, C, height, width)` in [-1, 1], as the pyramid itself is made."""
    if images.shape[-2:] == (height, width) or not len(images):
        return images if len(images) else images.reshape(0, images.shape[1], height, width)
    return resize_tensor(torch.from_numpy(np.ascontiguousarray(images)), height, width).numpy()


def reduced(images: Array, long_side: int) -> Array:
    """`(N, C, H, W)` with the long side at `long_side` pixels at most."""
    height, width = images.shape[-2:]
    scale = min(1.0, long_side / max(height, width))
    return resize(images, max(1, round(height * scale)), max(1, round(width * scale)))


def thumbnail(images: Array) -> Array:
    """`(N, C, H, W)` with the long side at `THUMBNAIL` pixels."""
    height, width = images.shape[-2:]
    scale = THUMBNAIL / max(height, width)
    return resize(images, max(1, round(height * scale)), max(1, round(width * scale)))


def as_they_are(images: Array) -> list[Array]:
    """Images in the pose that they have, and in no other."""
    return [images]


def poses(images: Array) -> list[Array]:
    """Images `(N, C, H, W)` turned in `TURNS` steps, and each also mirrored; the first are as they are.

    Training may turn and mirror real pictures at random, so a sample may show a source in any of these poses.
    """
    if not len(images):
        return [images]
    tensor = torch.from_numpy(np.ascontiguousarray(images))
    still, whole = torch.zeros(len(tensor)), torch.ones(len(tensor))
    angles = (torch.full((len(tensor),), 2 * math.pi * step / TURNS) for step in range(1, TURNS))
    turned = [images, *(moved(tensor, angle, whole, still, still).numpy() for angle in angles)]
    return [*turned, *(one[..., ::-1] for one in turned)]


def with_channels(image: Array, channels: int) -> Array:
    """`(C, H, W)` as grey (the mean) or as RGB (grey three times), to compare images of different kinds."""
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
    width = int(np.prod(first.shape[1:]))
    b = second.reshape(len(second), width).astype(np.float64)
    found = np.empty((len(first), len(second)))
    for start in range(0, len(first), _ROWS):
        a = first[start : start + _ROWS].reshape(-1, width).astype(np.float64)
        # |a - b|^2 = |a|^2 + |b|^2 - 2 ab, as one matrix product; rounding may leave a tiny negative number.
        squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None] - 2 * (a @ b.T)
        found[start : start + _ROWS] = np.sqrt(np.maximum(squares, 0) / width)
    return found


def between(images: Array) -> NDArray[np.float64]:
    """RMSE of every unordered pair of different images, `(N * (N - 1) / 2,)`."""
    rows, columns = np.triu_indices(len(images), k=1)
    return rmse(images, images)[rows, columns]


def difficulty(found: Compared) -> NDArray[np.float64]:
    """Median RMSE of each real image to the controls, itself left out: `(k + M,)`.

    A dark, plain image is near to everything. Scores are divided by this, so that it does not look exposed.
    """
    pairs = rmse(found.real, found.controls)
    k = len(found.sources)
    pairs[np.arange(k, len(pairs)), np.arange(len(found.controls))] = np.nan
    return np.maximum(np.nanmedian(pairs, axis=1), NEAREST_POSSIBLE)


def scores(distances: NDArray[np.float64], hard: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log of distances `(k + M,)` relative to `difficulty`: the lower, the more exposed."""
    return np.log(np.maximum(distances, NEAREST_POSSIBLE) / hard)
