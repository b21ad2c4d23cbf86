"""Rules of what intake takes, and how to read a folder's masks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hospital_node.singan.config import DEFAULT_PROFILE, PROFILES
from sharekit.errors import UsageError
from sharekit.pictures.decode import LIMITS, Limits
from sharekit.pictures.mask_map import MaskMap
from sharekit.pictures.orientation import Turn

SHORT_SIDE = 25  # pixels, the coarsest scale's short side


@dataclass(frozen=True)
class IntakeRules:
    """Settings of one ingest."""

    limits: Limits = LIMITS
    short_side: int = SHORT_SIDE
    """Least short side of a picture, pixels."""
    max_side: int = PROFILES[DEFAULT_PROFILE].max_side
    """Long side of the finest scale that the images will be trained with, pixels."""
    mask_suffix: str | None = None
    """Ending of every mask's name; None tries the usual endings where needed."""
    mask_map: MaskMap | None = None
    """What the values of masks in `masks/` mean; None takes black-and-white masks only."""
    turn: Turn | None = None
    """How to turn masks whose EXIF orientation differs from their picture's; None refuses them."""
    allow_empty_masks: bool = False
    """Take images without a finding."""
    groups: Path | None = None
    """CSV that names the patient of every image; None: patients are unknown."""
    keep_overlays: bool = False
    """Leave text and graphics that a device wrote into the pictures, and do not look for them."""

    def __post_init__(self) -> None:
        if self.max_side < self.short_side:
            raise UsageError(
                "--max-side",
                expected=f"at least {self.short_side}",
                found=str(self.max_side),
                next_step="give the long side that training will use",
            )
