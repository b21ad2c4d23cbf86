"""Departures from the published sampling: weaker noise, another threshold, cleaner masks, second draws."""

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
"""A region or hole smaller than this share of the mask's largest region counts as an error."""
MAX_DRAWS = 5
"""Largest number of draws of one sample; the last draw is kept in any case."""
REDRAW_STRIDE = 2**40
"""Distance between the noise indices of successive draws of a sample; no request has this many samples."""


@dataclass(frozen=True)
class Refinement:
    """Departures from the published sampling; the default has none. Law: `from_json(to_json(x)) == x`."""

    temperature: float = 1.0
    """Factor on all noise, above 0 and at most 2. Below 1, samples vary less and stay closer to the mean."""
    mask_threshold: float = PROBABILITY_THRESHOLD
    """Probability above which a mask pixel is foreground; between 0 and 1."""
    clean_masks: bool = False
    """Drop specks from masks and fill pinholes."""
    redraw_below: float = 0.0
    """Share of the image, from 0 to below 1; a sample whose masks mark less is drawn again."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, np.generic):
                object.__setattr__(self, name, value.item())  # the dataclass is frozen

    def check(self) -> None:
        """Refuse values of a wrong type or outside their range.

        Raises:
            UsageError: a value has a wrong type or is outside its range.
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
        """Whether these masks `(K, H, W)` of 0 and 255 mark so little that the sample is drawn again."""
        return float((masks > 0).any(axis=0).mean()) < self.redraw_below

    def masks(self, probabilities: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Masks of 0 and 255 from a sample's foreground probabilities `(K, H, W)` in [0, 1]."""
        foreground = probabilities > self.mask_threshold
        if self.clean_masks:
            foreground = np.stack([cleaned(mask) for mask in foreground])
        return np.where(foreground, np.uint8(255), np.uint8(0)).astype(np.uint8)


UNREFINED = Refinement()


def index_of_draw(index: int, draw: int) -> int:
    """The noise index of draw number `draw`, from 0, of sample `index`."""
    return (index + draw * REDRAW_STRIDE) % 2**63


def cleaned(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A mask `(H, W)` without the regions and holes that are small relative to its largest region."""
    kept, largest = _without_specks(mask, np.ones((3, 3), bool), None)
    background, _ = _without_specks(~kept, None, largest)
    return ~background


def _without_specks(
    mask: NDArray[np.bool_], neighbours: NDArray[np.bool_] | None, largest: int | None
) -> tuple[NDArray[np.bool_], int]:
    """The regions of at least `SPECK_SHARE` x `largest` pixels, and `largest`.

    When `largest` is None, it is the area of the mask's largest region.
    """
    from scipy import ndimage

    regions, count = ndimage.label(mask, neighbours)
    areas = np.bincount(regions.ravel(), minlength=count + 1)
    areas[0] = 0
    reference = int(areas.max()) if largest is None else largest
    large = areas >= SPECK_SHARE * reference
    large[0] = False
    return large[regions], reference
