"""CIE L*a*b* colours of sRGB pictures and back, for daylight D65 (IEC 61966-2-1, CIE 15)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_FROM_XYZ = np.linalg.inv(_TO_XYZ)
_WHITE = _TO_XYZ.sum(axis=1)  # RGB (1, 1, 1)
_DELTA = 6 / 29


def to_lab(images: NDArray[Any]) -> NDArray[np.float64]:
    """Convert RGB pictures in [-1, 1] to L* in [0, 100], a* and b*; shape `(…, 3, H, W)`."""
    rgb = (np.asarray(images, np.float64) + 1) / 2
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    x, y, z = np.moveaxis(_mixed(_TO_XYZ / _WHITE[:, None], linear), -3, 0)
    x, y, z = (np.where(one > _DELTA**3, np.cbrt(one), one / (3 * _DELTA**2) + 4 / 29) for one in (x, y, z))
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-3)


def from_lab(lab: NDArray[Any]) -> NDArray[np.float32]:
    """Convert L*a*b* of shape `(…, 3, H, W)` to RGB in [-1, 1]; colours that sRGB lacks are clipped."""
    lightness, a, b = np.moveaxis(np.asarray(lab, np.float64), -3, 0)
    y = (lightness + 16) / 116
    curve = np.stack([y + a / 500, y, y - b / 200], axis=-3)
    xyz = np.where(curve > _DELTA, curve**3, 3 * _DELTA**2 * (curve - 4 / 29))
    linear = np.clip(_mixed(_FROM_XYZ * _WHITE, xyz), 0, 1)
    rgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return (2 * rgb - 1).astype(np.float32)


def _mixed(matrix: NDArray[np.float64], channels: NDArray[np.float64]) -> NDArray[np.float64]:
    """A 3x3 matrix times the three channels of every pixel."""
    return np.einsum("ij,...jhw->...ihw", matrix, channels)
