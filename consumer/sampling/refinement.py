"""What may be done to samples beyond the published method: calmer noise, another threshold, cleaner masks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharekit.errors import missing_package
from sharekit.generator.tensors import PROBABILITY_THRESHOLD

SPECK_SHARE = 0.05
"""A region, or a hole, with a smaller share of the mask's largest region is taken for an error."""
MAX_DRAWS = 5
"""The last of so many draws is kept, whatever it is."""
REDRAW_STRIDE = 2**40
"""From a sample's index to that of its next draw: far beyond the samples that anybody asks for."""


@dataclass(frozen=True)
class Refinement:
    """Departures from the published sampling; the default is none. Law: `from_json(to_json(x)) == x`."""

    temperature: float = 1.0
    """Factor of all noise, above 0 and at most 2; below 1 samples vary less and keep closer to the mean."""
    mask_threshold: float = PROBABILITY_THRESHOLD
    """A mask probability above this is foreground; between 0 and 1."""
    clean_masks: bool = False
    """Drop specks from masks and fill pinholes."""
    redraw_below: float = 0.0
    """Draw again what marks a smaller share of the image, from 0 to below 1."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Refinement:
        return Refinement(**value)

    def wants_another(self, masks: NDArray[np.uint8]) -> bool:
        """Whether a sample with these masks `(K, H, W)` of 0 and 255 is to be drawn again."""
        return float((masks > 0).any(axis=0).mean()) < self.redraw_below

    def masks(self, probabilities: NDArray[np.float32]) -> NDArray[np.uint8]:
        """A sample's foreground probabilities `(K, H, W)` in [0, 1] to masks of 0 and 255.

        Raises:
            DependencyError: masks are to be cleaned, and SciPy is not installed.
        """
        foreground = probabilities > self.mask_threshold
        if self.clean_masks:
            foreground = np.stack([cleaned(mask) for mask in foreground])
        return np.where(foreground, np.uint8(255), np.uint8(0)).astype(np.uint8)


UNREFINED = Refinement()


def index_of_draw(index: int, draw: int) -> int:
    """The index that draw number `draw`, from 0, of a sample takes its noise from."""
    return (index + draw * REDRAW_STRIDE) % 2**63


def cleaned(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A mask `(H, W)` without the regions and holes that are small beside its largest region.

    Raises:
        DependencyError: SciPy is not installed.
    """
    kept, largest = _without_specks(mask, np.ones((3, 3), bool), None)
    background, _ = _without_specks(~kept, None, largest)
    return ~background


def _without_specks(
    mask: NDArray[np.bool_], neighbours: NDArray[np.bool_] | None, largest: int | None
) -> tuple[NDArray[np.bool_], int]:
    """The regions of at least `SPECK_SHARE` of `largest` pixels, by default those of the largest of them."""
    try:
        from scipy import ndimage
    except ImportError:
        raise missing_package("scipy", "validate") from None
    regions, count = ndimage.label(mask, neighbours)
    areas = np.bincount(regions.ravel(), minlength=count + 1)
    areas[0] = 0
    reference = int(areas.max()) if largest is None else largest
    large = areas >= SPECK_SHARE * reference
    large[0] = False
    return large[regions], reference
