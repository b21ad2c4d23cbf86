"""A rectangle of a picture that holds an overlay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGE = 0.2
"""Letters higher than this share of the short side are no caption; the detector takes lesions for them."""


class Kind(StrEnum):
    """How an overlay was found."""

    TEXT = "text"
    """The text detector found it."""
    GRAPHIC = "graphic"
    """It lies on the dark ground next to the picture: a glyph cut at the edge, a colour bar, a small map."""
    CONSTANT = "constant"
    """Many pictures of one size have it at the same place, as a logo."""
    DECLARED = "declared"
    """The file itself says that it lies outside the picture, as a DICOM ultrasound image does."""


@dataclass(frozen=True)
class Region:
    """Pixels `top <= y < bottom`, `left <= x < right`. Law: `from_json(to_json(x)) == x`."""

    kind: Kind
    left: int
    top: int
    right: int
    bottom: int
    score: float = 1.0
    """How sure the detector is, 0 to 1."""

    @property
    def slices(self) -> tuple[slice, slice]:
        """Its rows and columns, as the index of an array."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def area(self) -> int:
        """Pixels in it."""
        return (self.bottom - self.top) * (self.right - self.left)

    @property
    def short_side(self) -> int:
        """Pixels of its shorter side."""
        return min(self.bottom - self.top, self.right - self.left)

    @property
    def long_side(self) -> int:
        """Pixels of its longer side."""
        return max(self.bottom - self.top, self.right - self.left)

    def is_large(self, height: int, width: int) -> bool:
        """Whether it is too large for a caption in a picture of this size."""
        return self.short_side > LARGE * min(height, width)

    def moved(self, right: int, down: int) -> Region:
        """The region, this many pixels further right and down."""
        return Region(
            self.kind,
            self.left + right,
            self.top + down,
            self.right + right,
            self.bottom + down,
            self.score,
        )

    def grown(self, margin: int, height: int, width: int) -> Region:
        """The region with `margin` more pixels on every side, inside a picture of this size."""
        return Region(
            self.kind,
            max(0, self.left - margin),
            max(0, self.top - margin),
            min(width, self.right + margin),
            min(height, self.bottom + margin),
            self.score,
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": str(self.kind),
            "box": [self.left, self.top, self.right, self.bottom],
            "score": round(self.score, 3),
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Region:
        left, top, right, bottom = map(int, value["box"])
        return Region(Kind(value["kind"]), left, top, right, bottom, float(value["score"]))


def covered(regions: Sequence[Region], height: int, width: int) -> NDArray[np.bool_]:
    """`(H, W)`: the pixels inside at least one region."""
    found = np.zeros((height, width), bool)
    for region in regions:
        found[region.slices] = True
    return found
