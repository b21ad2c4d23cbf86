"""Departures from the published sampling: calmer noise, another threshold, cleaner masks, second draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consumer.sampling import checked
from consumer.sampling.checked import refusal
from sharekit.errors import missing_package
from sharekit.generator.tensors import PROBABILITY_THRESHOLD

SPECK_SHARE = 0.05
"""A region or a hole that is smaller than this share of the mask's largest region counts as an error."""
MAX_DRAWS = 5
"""Draws of one sample at most; the last is kept, whatever its masks mark."""
REDRAW_STRIDE = 2**40
"""Distance between the index of a sample and that of its next draw: more samples than anybody asks for."""


@dataclass(frozen=True)
class Refinement:
    """Departures from the published sampling; the default has none. Law: `from_json(to_json(x)) == x`."""

    temperature: float = 1.0
    """Factor of all noise, above 0 and at most 2; below 1 samples vary less and stay closer to the mean."""
    mask_threshold: float = PROBABILITY_THRESHOLD
    """A mask probability above this is foreground; between 0 and 1."""
    clean_masks: bool = False
    """Drop specks from masks and fill pinholes."""
    redraw_below: float = 0.0
    """Draw a sample again whose masks mark a smaller share of the image, from 0 to below 1."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, np.generic):
                object.__setattr__(self, name, value.item())  # the dataclass is frozen

    def check(self) -> None:
        """Refuse values that make no sense.

        Raises:
            UsageError: a value of a wrong type, or outside its range.
            DependencyError: `clean_masks` needs SciPy, which is not installed.
        """
        if checked.truth("clean masks", self.clean_masks) and find_spec("scipy") is None:
            raise missing_package("scipy", "validate")
        if not 0 < checked.real("temperature", self.temperature) <= 2:
            raise refusal("temperature", "above 0, at most 2", str(self.temperature))
        if not 0 < checked.real("mask threshold", self.mask_threshold) < 1:
            raise refusal("mask threshold", "between 0 and 1", str(self.mask_threshold))
        if not 0 <= checked.real("redraw below", self.redraw_below) < 1:
            raise refusal("redraw below", "a share from 0 to below 1", str(self.redraw_below))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Refinement:
        return Refinement(**value)

    def wants_another(self, masks: NDArray[np.uint8]) -> bool:
        """Whether to draw a sample with these masks `(K, H, W)` of 0 and 255 again."""
        return float((masks > 0).any(axis=0).mean()) < self.redraw_below

    def masks(self, probabilities: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Masks of 0 and 255 from a sample's foreground probabilities `(K, H, W)` in [0, 1]."""
        foreground = probabilities > self.mask_threshold
        if self.clean_masks:
            foreground = np.stack([cleaned(mask) for mask in foreground])
        return np.where(foreground, np.uint8(255), np.uint8(0)).astype(np.uint8)


UNREFINED = Refinement()


def index_of_draw(index: int, draw: int) -> int:
    """The index whose noise draw number `draw` (from 0) of sample `index` takes."""
    return (index + draw * REDRAW_STRIDE) % 2**63


def cleaned(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A mask `(H, W)` without regions and holes that are small compared with its largest region."""
    kept, largest = _without_specks(mask, np.ones((3, 3), bool), None)
    background, _ = _without_specks(~kept, None, largest)
    return ~background


def _without_specks(
    mask: NDArray[np.bool_], neighbours: NDArray[np.bool_] | None, largest: int | None
) -> tuple[NDArray[np.bool_], int]:
    """Regions of at least `SPECK_SHARE` x `largest` pixels, and `largest`: the largest region's when None."""
    from scipy import ndimage

    regions, count = ndimage.label(mask, neighbours)
    areas = np.bincount(regions.ravel(), minlength=count + 1)
    areas[0] = 0
    reference = int(areas.max()) if largest is None else largest
    large = areas >= SPECK_SHARE * reference
    large[0] = False
    return large[regions], reference
