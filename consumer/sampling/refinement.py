"""Departures from the published sampling: weaker noise, another threshold, cleaner masks, further draws."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from consumer.sampling import checked
from consumer.sampling.checked import refusal
from sharekit.errors import missing_package
from sharekit.generator.tensors import PROBABILITY_THRESHOLD

SPECK_SHARE = 0.05
"""A region or hole smaller than this share of the mask's largest region counts as an error."""
MAX_DRAWS = 5
"""Largest number of draws of one sample without a range; the last draw is kept in any case."""
MAX_DRAWS_IN_RANGE = 50
"""Largest number of draws of one sample until its coverage lies in a range; then the nearest one is kept."""
LEAST_AGREEMENT = 0.5
MAX_DRAWS_JUDGED = 10
"""Largest number of draws of one sample for a judge; then the one that it agrees with most is kept."""
REDRAW_STRIDE = 2**40
"""Distance between the noise indices of successive draws of a sample; no request has this many samples."""


class Coverage(NamedTuple):
    """A range of the share of an image that its masks mark together, ends included."""

    least: float
    most: float

    def __str__(self) -> str:
        return f"{self.least:g}:{self.most:g}"

    @staticmethod
    def of(value: object) -> Coverage:
        """A `Coverage` from a pair (least, most) or from a text such as 0.05:0.3.

        Raises:
            UsageError: it is neither, or no range of shares.
        """
        ends: tuple[float, ...] = ()
        if isinstance(value, str):
            number = r"[0-9]*\.?[0-9]+"
            match = re.fullmatch(f"({number}):({number})", value)
            ends = tuple(map(float, match.groups())) if match else ()
        elif isinstance(value, tuple | list):
            ends = tuple(checked.real("coverage", end) for end in value)
        if len(ends) == 2 and 0 <= ends[0] < ends[1] <= 1:
            return Coverage(*ends)
        expected = "a pair of shares from 0 to 1, the smaller one first, such as (0.05, 0.3) or 0.05:0.3"
        raise refusal("coverage", expected, checked.shown(value))


def marked_share(masks: NDArray[np.uint8]) -> float:
    """Share of the image, 0 to 1, that at least one of the masks `(K, H, W)` of 0 and 255 marks."""
    return float((masks > 0).any(axis=0).mean())


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
    coverage: Coverage | None = None
    """Range for the share of the image that the masks mark, as a pair (least, most); a sample outside it is
    drawn again, up to `MAX_DRAWS_IN_RANGE` times. If no draw lies inside, the nearest one is kept."""

    def __post_init__(self) -> None:
        if self.coverage is not None:
            object.__setattr__(self, "coverage", Coverage.of(self.coverage))
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
        """All settings, without a range where there is none: data sets of earlier releases stay equal."""
        value = asdict(self)
        coverage = value.pop("coverage")
        return value if coverage is None else {**value, "coverage": list(coverage)}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Refinement:
        return Refinement(**value)

    @property
    def draws(self) -> int:
        """Largest number of draws of one sample."""
        return MAX_DRAWS if self.coverage is None else MAX_DRAWS_IN_RANGE

    @property
    def redraws(self) -> bool:
        """Whether a sample may be drawn again."""
        return self.redraw_below > 0 or self.coverage is not None

    def miss(self, share: float) -> float:
        """How far the marked share of an image is from what is wanted; 0 if it need not be drawn again."""
        least, most = self.coverage or (0.0, 1.0)
        return max(self.redraw_below - share, least - share, share - most, 0.0)

    def prefers(self, later: float, earlier: float) -> bool:
        """Whether a later draw with this miss replaces an earlier one."""
        return self.coverage is None or later < earlier

    def masks(self, probabilities: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Masks of 0 and 255 from a sample's foreground probabilities `(K, H, W)` in [0, 1]."""
        foreground = probabilities > self.mask_threshold
        if self.clean_masks:
            foreground = np.stack([cleaned(mask) for mask in foreground])
        return np.where(foreground, np.uint8(255), np.uint8(0)).astype(np.uint8)


UNREFINED = Refinement()


@dataclass(frozen=True)
class JudgedBy:
    """What a data set says of the segmenter that judged its samples. Law: `JudgedBy(**to_json(x)) == x`."""

    sha256: str
    """Digest of the segmenter's file, hexadecimal."""
    least_agreement: float

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


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
