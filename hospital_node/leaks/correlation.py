"""Pearson correlation: how alike two arrays are, for any scale and offset."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def correlation(first: NDArray, second: NDArray) -> float:
    """Pearson correlation of two arrays of one size, -1 to 1; 0 where one of them is constant."""
    a = first.astype(np.float64).ravel()
    b = second.astype(np.float64).ravel()
    a -= a.mean()
    b -= b.mean()
    scale = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / scale) if scale > 0 else 0.0
