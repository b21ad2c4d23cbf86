"""Measure whether a mask's outlines lie on edges of the image, as those of a plausible mask do.

The control is the same outline, shifted to every place of the image and wrapped around its borders: the
toroidal shift test of Lotwick and Silverman (J. R. Stat. Soc. B 44:406-413, 1982). The mean over all shifts
is exactly the mean of the image, so the test needs no random numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sharekit.errors import DependencyError, missing_package

LONG_SIDE = 256
"""Long side in pixels of a reduced image, so that an outline's width does not depend on the resolution."""
FOLLOWS = 1.2
"""Smallest agreement with which masks count as following edges.

Experts' masks reach 2.3 on polyps and 6.3 on nuclei. Masks that belong to other images or are mirrored reach
0.9 to 1.2.
"""


def missing() -> DependencyError | None:
    """The error for a missing scikit-image; None when it is installed."""
    return missing_package("scikit-image", "validate") if find_spec("skimage") is None else None


def edge_agreement(pixels: NDArray[np.uint8], masks: Sequence[NDArray[np.bool_]]) -> float | None:
    """Mean gradient on the masks' outlines / mean on the shifted outlines: 1 by chance, more on edges.

    The gradient is the Sobel magnitude of the grey image. An outline consists of the pixels on both sides of
    the border.

    Args:
        pixels: image uint8 `(H, W)` or `(H, W, 3)`.
        masks: `(H, W)` each.

    Returns:
        The ratio; None if there is no outline (every mask empty or full) or no edge (a flat image).
    """
    from skimage.filters import sobel
    from skimage.segmentation import find_boundaries

    # Integer grey levels and Sobel's weights of powers of two give exactly 0 for a flat image.
    gradient = sobel(_reduced(Image.fromarray(pixels).convert("L")).astype(np.float64))
    outline = np.zeros(gradient.shape, bool)
    for mask in masks:
        grey = Image.fromarray(np.where(mask, np.uint8(255), np.uint8(0)))
        outline |= find_boundaries(_reduced(grey) > 127, mode="thick")
    everywhere = float(gradient.mean())
    if not outline.any() or not everywhere:
        return None
    return float(gradient[outline].mean()) / everywhere


def _reduced(image: Image.Image) -> NDArray[np.uint8]:
    scale = min(1.0, LONG_SIDE / max(image.size))
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return np.asarray(image.resize(size, Image.Resampling.BOX))
