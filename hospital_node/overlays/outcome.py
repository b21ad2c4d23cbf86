"""What intake does about the overlays of one picture: paint over, or ask a person; pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hospital_node.overlays.paint import painted
from hospital_node.overlays.region import LARGE, Kind, Region
from hospital_node.overlays.text_detector import SURE

__all__ = ["LARGE", "Overlays", "Ruling", "Treatment", "decide", "on_masks"]

WHOLE = 0.5
"""Share of the frame above which a region is the picture itself."""
MOST_PAINTED = 0.15
"""Largest share of a picture that is painted over without asking."""


class Treatment(StrEnum):
    """What happened to the overlays of an image."""

    PAINTED = "painted-over"
    """Intake looked for overlays, and painted over what it found, if anything."""
    KEPT = "kept"
    """The hospital left overlays in, on purpose (`--keep-overlays`): intake did not look."""
    CLEARED = "cleared"
    """Intake was unsure, and a person decided that the picture stays as it is."""
    WAITING = "waiting"
    """Intake is unsure, and nobody has decided yet."""
    UNKNOWN = "unknown"
    """The image was ingested by a release that did not look for overlays."""


class Ruling(StrEnum):
    """What a person decided about a picture that intake is unsure about."""

    PAINT = "paint"
    """The proposed regions are overlays: paint them over."""
    KEEP = "keep"
    """The doubtful ones are none: paint only what is certain."""


@dataclass(frozen=True)
class Overlays:
    """The overlays of one image, as the ledger keeps them. Law: `from_json(to_json(x)) == x`."""

    treatment: Treatment
    painted: tuple[Region, ...] = ()
    doubtful: tuple[Region, ...] = ()
    """Regions that a person has to look at, or has looked at."""
    doubt: str = ""
    """Why intake is unsure, in words."""
    ruling: Ruling | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "treatment": str(self.treatment),
            "painted": [region.to_json() for region in self.painted],
            "doubtful": [region.to_json() for region in self.doubtful],
            "doubt": self.doubt,
            "ruling": None if self.ruling is None else str(self.ruling),
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Overlays:
        return Overlays(
            Treatment(value["treatment"]),
            tuple(map(Region.from_json, value["painted"])),
            tuple(map(Region.from_json, value["doubtful"])),
            value["doubt"],
            None if value["ruling"] is None else Ruling(value["ruling"]),
        )

    def to_text(self) -> str:
        """As the ledger's column holds it."""
        return json.dumps(self.to_json(), separators=(",", ":"))

    @staticmethod
    def from_text(text: str) -> Overlays:
        """Read the ledger's column; it is empty for images of earlier releases."""
        return Overlays.from_json(json.loads(text)) if text else Overlays(Treatment.UNKNOWN)


def decide(
    regions: Sequence[Region],
    masks: Mapping[str, NDArray[np.uint8]],
    height: int,
    width: int,
    ruling: Ruling | None = None,
    *,
    says_burned_in: bool = False,
) -> Overlays:
    """What to paint over, and what to ask a person about.

    Args:
        regions: everything that counts as an overlay.
        masks: class to its mask `(H, W)`, 0 and 255, as the image is stored.
        height: pixels.
        width: pixels.
        ruling: what a person decided about this image; None: nobody has.
        says_burned_in: the file itself says that text is burned into its pixels.
    """
    large = [one for one in regions if one.kind is Kind.TEXT and one.is_large(height, width)]
    letters = [one for one in large if one.area <= WHOLE * height * width]
    doubtful = dict.fromkeys(letters, "letters too large for a caption")
    certain = [one for one in regions if one not in large]
    lesion = np.zeros((height, width), bool)
    for mask in masks.values():
        lesion |= mask > 0
    writes = any(
        one.kind is Kind.TEXT and one.score >= SURE and not lesion[one.slices].any() for one in certain
    )
    on_mask = [
        one
        for one in certain
        if (one.score < SURE or one.kind in (Kind.GRAPHIC, Kind.CONSTANT)) and lesion[one.slices].any()
    ]
    if writes:
        doubtful |= dict.fromkeys(on_mask, "a weak sign of text, or a graphic, on a mask")
    # Where the device writes nothing else, a weak sign on a finding is the finding.
    certain = [one for one in certain if one not in on_mask]
    if ruling is None:
        found = [one for one in certain if one.kind is not Kind.DECLARED]
        share = float(painted(found, height, width).mean()) if found else 0.0
        if says_burned_in and not any(one.kind is Kind.TEXT for one in certain):
            doubt = "the file says that text is burned in, and none was found"
            return Overlays(Treatment.WAITING, tuple(certain), tuple(doubtful), doubt)
        if share > MOST_PAINTED:
            doubt = f"overlays on {share:.0%} of the picture"
            return Overlays(Treatment.WAITING, (), (*certain, *doubtful), doubt)
        if doubtful:
            doubt = "; ".join(sorted(set(doubtful.values())))
            return Overlays(Treatment.WAITING, tuple(certain), tuple(doubtful), doubt)
    if ruling is Ruling.PAINT:
        return Overlays(Treatment.PAINTED, (*certain, *doubtful), tuple(doubtful), ruling=ruling)
    treatment = Treatment.CLEARED if ruling is Ruling.KEEP else Treatment.PAINTED
    return Overlays(treatment, tuple(certain), tuple(doubtful), ruling=ruling)


def on_masks(
    overlays: Overlays, masks: Mapping[str, NDArray[np.uint8]], height: int, width: int
) -> list[str]:
    """Classes whose mask has painted pixels in it."""
    if not overlays.painted:
        return []
    changed = painted(overlays.painted, height, width)
    return [name for name, mask in masks.items() if (mask[changed] > 0).any()]
