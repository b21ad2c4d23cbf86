"""Colour transfer after Reinhard et al. (IEEE CG&A 21(5), 2001) to a bundle's protected colours.

A data set moves as a whole: every image is shifted by the same colour, and its contrast around its own mean
is stretched by the same factor. So images differ from each other as before. The target is only as exact as
its noise lets it be, which the bundle states. A number within the noise of the data set's own stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sharekit.bundle.colour_statistics import BOUNDS, ColourStatistics, picture_colours
from sharekit.pictures.lab import from_lab, to_lab

STRETCH = 0.5, 2.0
"""Least and largest factor of contrast: far outside, images lose all detail or show nothing but noise."""


@dataclass(frozen=True)
class ColourMove:
    """How every image of a data set moves."""

    shift: NDArray[np.float64]  # (3,), of L*, a* and b*
    stretch: NDArray[np.float64]  # (3,), of the deviation around the image's own mean

    @staticmethod
    def towards(statistics: ColourStatistics, images: Iterable[NDArray[np.float32]]) -> ColourMove:
        """The move from the average colours of a data set to a bundle's protected ones.

        Args:
            statistics: the target.
            images: each `(C, H, W)` in [-1, 1], C 1 or 3; at least one.
        """
        own = np.mean([picture_colours(image) for image in images], axis=0)
        target = np.array([statistics.values[name] for name in BOUNDS])
        scale = np.array([statistics.noise[name] for name in BOUNDS])
        aimed = own + shrunk(target - own, scale)
        stretch = np.clip(aimed[3:] / np.maximum(own[3:], 1e-6), *STRETCH)
        return ColourMove(aimed[:3] - own[:3], stretch)

    def apply(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Move images `(N, C, H, W)` in [-1, 1], C 1 or 3; grey images stay grey."""
        channels = images.shape[1]
        lab = to_lab(np.broadcast_to(images, (len(images), 3, *images.shape[2:])))
        mean = lab.mean(axis=(2, 3), keepdims=True)
        moved = mean + (lab - mean) * self.stretch[:, None, None] + self.shift[:, None, None]
        if channels == 1:
            moved[:, 1:] = 0
        return from_lab(moved)[:, :channels]


def shrunk(difference: NDArray[np.float64], scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """Differences from noisy numbers, less what the noise alone explains (positive-part James-Stein).

    Args:
        difference: noisy number less the present one.
        scale: of the Laplace noise, whose variance is twice its square.
    """
    squared = np.maximum(difference**2, 1e-12)
    found: NDArray[np.float64] = difference * np.maximum(0, 1 - 2 * scale**2 / squared)
    return found
