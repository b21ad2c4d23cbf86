"""Decide which samples of a generator are good by their masks and their look. Pure.

Every limit is a constant, or follows from the samples themselves: a limit taken from the sources' masks would
publish a statistic of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from hospital_node.audit.attack import Array
from sharekit.generator.tensors import PROBABILITY_THRESHOLD, mask_probability

Flags = NDArray[np.bool_]
"""`(N,)`: one for each sample."""

MIN_MARKED, MAX_MARKED = 0.002, 0.95
"""Shares of the image; a mask that marks less is empty, one that marks more is full."""
SPECK_SHARE = 0.05
"""A region smaller than this share of the mask's largest region is a speck."""
MAX_SPECKS = 0.1
"""Largest share of the marked pixels in specks; a mask with more is in fragments."""
BAND = 16
"""Sides of the image for each side of a band along a mask's outline."""
OUTLIER = 2.5
"""Distance from the median in deviations, above which a sample's look is an outlier of its generator."""


@dataclass(frozen=True)
class Look:
    """Figures on samples, one of each for a sample, `(N,)`; a poor sample is an outlier of its generator."""

    agreement: NDArray[np.float64]
    """Colour difference between the two sides of the mask's outline, as a share of the image's contrast."""
    contrast: NDArray[np.float64]
    """Standard deviation of the image."""
    detail: NDArray[np.float64]
    """Mean difference between neighbouring pixels."""

    def poor(self, among: Flags) -> Flags:
        """Samples whose look is an outlier of the samples `among`: an outline that follows nothing in the
        image, or contrast and detail far from the usual."""
        low = _deviation(self.agreement, among) < -OUTLIER
        odd = [np.abs(_deviation(np.log(values), among)) > OUTLIER for values in (self.contrast, self.detail)]
        return low | odd[0] | odd[1]

    @staticmethod
    def joined(parts: list[Look]) -> Look:
        """The figures of several batches as one."""
        return Look(
            *(
                np.concatenate([getattr(part, name) for part in parts])
                for name in ("agreement", "contrast", "detail")
            )
        )


def masks_of(samples: Array, channels: int) -> NDArray[np.bool_]:
    """Masks `(N, K, H, W)` of samples `(N, C, H, W)`, whose first `channels` are the image."""
    return mask_probability(samples[:, channels:]) > PROBABILITY_THRESHOLD


def broken(masks: NDArray[np.bool_]) -> Flags:
    """Whether masks `(N, K, H, W)` are broken: all empty, one of them full, or one of them in fragments."""
    marked = masks.mean(axis=(2, 3))
    empty = marked.max(axis=1) < MIN_MARKED
    full = marked.max(axis=1) > MAX_MARKED
    fragments = np.array([any(_specks(mask) > MAX_SPECKS for mask in sample) for sample in masks], bool)
    return empty | full | fragments


def look(images: Array, masks: NDArray[np.bool_]) -> Look:
    """The figures of images `(N, c, H, W)` in [-1, 1] with their masks `(N, K, H, W)`."""
    contrast = images.std(axis=(1, 2, 3), dtype=np.float64) + 1e-6
    steps = [np.abs(np.diff(images, axis=axis)).mean(axis=(1, 2, 3), dtype=np.float64) for axis in (2, 3)]
    marked = np.asarray(masks.any(axis=1))
    pairs = zip(images, marked, strict=True)
    differences = np.array([_across(image, mask) for image, mask in pairs])
    return Look(differences / contrast, contrast, steps[0] + steps[1] + 1e-6)


def _specks(mask: NDArray[np.bool_]) -> float:
    """Share of a mask's marked pixels in regions that are small next to its largest one."""
    regions, count = ndimage.label(mask, np.ones((3, 3), bool))
    if not count:
        return 0.0
    areas = np.bincount(regions.ravel())[1:]
    return float(areas[areas < SPECK_SHARE * areas.max()].sum() / areas.sum())


def _across(image: Array, mask: NDArray[np.bool_]) -> float:
    """Difference of the mean colours in the bands inside and outside the outline of a mask, 0 without one."""
    width = max(1, round(min(mask.shape) / BAND))
    inside = mask & ~ndimage.binary_erosion(mask, iterations=width)
    outside = ~mask & ndimage.binary_dilation(mask, iterations=width)
    if not (inside.any() and outside.any()):
        return 0.0
    difference = image[:, inside].mean(axis=1) - image[:, outside].mean(axis=1)
    return float(np.sqrt((difference**2).mean()))


def _deviation(values: NDArray[np.float64], among: Flags) -> NDArray[np.float64]:
    """Distance from the median of the samples `among`, in robust standard deviations."""
    if not among.any():
        return np.zeros(len(values))
    middle = np.median(values[among])
    spread = 1.4826 * np.median(np.abs(values[among] - middle))
    return (values - middle) / max(spread, 1e-6)
