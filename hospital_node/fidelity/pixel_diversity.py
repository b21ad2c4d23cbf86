"""Diversity: how much pictures of one place differ, pixel by pixel."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sharekit.intervals import Interval, bootstrap


def pixel_std(pictures: NDArray[np.float32], *, seed: int = 0, draws: int = 200) -> Interval:
    """Standard deviation over pictures `(N, C, H, W)` in [-1, 1], N at least 2; mean of pixels and channels.

    Unbiased variance, so that few samples can be compared with many real images. Interval over the pictures;
    it is shifted to the figure, because a resample repeats pictures and so looks less diverse.
    """
    count = len(pictures)
    flat = pictures.reshape(count, -1).astype(np.float64)
    flat -= flat.mean(axis=0)
    squares = flat**2

    def spread(weights: NDArray[np.float64]) -> float:
        """Spread of pictures that appear `weights` times, `count` in total."""
        moment, mean = weights @ squares, weights @ flat
        return float(np.sqrt(np.maximum(moment - mean**2 / count, 0) / (count - 1)).mean())

    found = bootstrap(
        spread(np.ones(count)),
        count,
        lambda rows, _: spread(np.bincount(rows, minlength=count).astype(np.float64)),
        seed=seed,
        draws=draws,
        centred=True,
    )
    return replace(found, low=max(found.low, 0.0))
