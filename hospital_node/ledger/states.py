"""States of images and generators, the allowed transitions, and the records that carry them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sharekit.generator.tensors import ChannelLayout


class ImageState(StrEnum):
    """The state of an image; every image is in exactly one."""

    REFUSED = "refused"
    """Intake did not take it, or a person refused it."""
    REVIEW = "review"
    """Quarantined: intake is unsure about text or graphics in it, and a person decides (`review`)."""
    INGESTED = "ingested"
    """Its pixels are in the node, and generators may learn from it."""
    HELD_OUT = "held-out"
    """Segmenters are evaluated on it; no generator ever learns from it."""


class GeneratorState(StrEnum):
    """The state of a generator; every generator is in exactly one."""

    PLANNED = "planned"
    """Its images are chosen, and it waits for its training, or for the rest of it."""
    TRAINING = "training"
    TRAINED = "trained"
    FAILED = "failed"
    """Training stopped on an error; a person may start it again."""
    QUARANTINED = "quarantined"
    """Its worker died so often that only a person may start it again."""
    AUDITED = "audited"
    """The audit allows it to be put forward for release."""
    WITHHELD = "withheld"
    """The audit does not allow its release."""
    RELEASED = "released"
    WITHDRAWN = "withdrawn"
    """The hospital has given it up; it never leaves (again)."""


ASKING = (
    GeneratorState.TRAINED,
    GeneratorState.AUDITED,
    GeneratorState.WITHHELD,
    GeneratorState.RELEASED,
)
"""States of generators that ask to leave."""

State = ImageState | GeneratorState
_I, _G = ImageState, GeneratorState

IMAGE_TRANSITIONS: Mapping[ImageState | None, frozenset[ImageState | None]] = {
    None: frozenset({_I.REFUSED, _I.REVIEW, _I.INGESTED, _I.HELD_OUT}),
    # A person decided; the record of the image that was then taken supersedes it.
    _I.REVIEW: frozenset({_I.REFUSED, None}),
    # The record of a corrected file supersedes the refusal.
    _I.REFUSED: frozenset({None}),
    # Both are final: scores on an image that a generator has learnt from say nothing about new images.
    _I.INGESTED: frozenset(),
    _I.HELD_OUT: frozenset(),
}
"""Every change of an image's state that the ledger writes. None: the image is not in the ledger."""

GENERATOR_TRANSITIONS: Mapping[GeneratorState | None, frozenset[GeneratorState | None]] = {
    None: frozenset({_G.PLANNED}),
    # Failed without training: an image could not be read. None: another plan replaced this one.
    _G.PLANNED: frozenset({_G.TRAINING, _G.FAILED, None}),
    # Planned again: the run was stopped, or the worker died.
    _G.TRAINING: frozenset({_G.PLANNED, _G.TRAINED, _G.FAILED, _G.QUARANTINED}),
    # Once trained, a generator keeps its weights: a new training makes a new generator.
    _G.TRAINED: frozenset({_G.AUDITED, _G.WITHHELD, _G.WITHDRAWN}),
    _G.FAILED: frozenset({_G.PLANNED, _G.WITHDRAWN}),
    _G.QUARANTINED: frozenset({_G.PLANNED, _G.WITHDRAWN}),
    # An audit may be repeated.
    _G.AUDITED: frozenset({_G.AUDITED, _G.WITHHELD, _G.RELEASED, _G.WITHDRAWN}),
    _G.WITHHELD: frozenset({_G.AUDITED, _G.WITHHELD, _G.WITHDRAWN}),
    _G.RELEASED: frozenset({_G.AUDITED, _G.WITHHELD, _G.RELEASED, _G.WITHDRAWN}),
    _G.WITHDRAWN: frozenset(),
}
"""Every change of a generator's state that the ledger writes. None: the generator is not in the ledger."""


@dataclass(frozen=True)
class ImageRecord:
    """What the ledger knows of one image with its masks."""

    id: str
    """Random identifier, 32 lower-case hexadecimal digits; says nothing about the image."""
    source_image: str
    """Path of the image relative to `data_dir`; empty for a mask without an image."""
    source_masks: tuple[str, ...]
    """Paths of the masks relative to `data_dir`, in the order of `mask_classes`."""
    state: ImageState
    reason: str = ""
    """Why it is in this state, for a person."""
    height: int = 0  # pixels; 0 when refused
    width: int = 0  # pixels; 0 when refused
    image_channels: int = 0  # 3 (RGB) or 1 (grey); 0 when refused
    mask_classes: tuple[str, ...] = ()
    updated: str = ""
    """UTC time of the last change, ISO 8601; the ledger sets it."""
    data_dir: str = ""
    """The folder it was ingested from."""
    content_key: str = ""
    """Keyed commitment to the source files, so that a second ingest recognises them; may be empty."""
    unit: str = ""
    """Keyed digest of the patient's identifier (`units.patient_unit`); empty if the patient is unknown."""
    overlays: str = ""
    """Text and graphics that intake found, as JSON (`outcome.Overlays`); empty if it did not look."""

    @property
    def size(self) -> tuple[int, int, int]:
        """Height, width, and channels of image and masks together: what its training costs depends on."""
        return self.height, self.width, self.image_channels + len(self.mask_classes)

    @property
    def layout(self) -> ChannelLayout:
        """Its channels, for an image that intake took."""
        return ChannelLayout(self.image_channels, self.mask_classes)

    @property
    def source(self) -> str:
        """The hospital's file name of it, or of its masks if the image is missing."""
        return self.source_image or ", ".join(self.source_masks)

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "state": str(self.state),
            "reason": self.reason,
            "source_image": self.source_image,
            "source_masks": list(self.source_masks),
            "height": self.height,
            "width": self.width,
            "image_channels": self.image_channels,
            "mask_classes": list(self.mask_classes),
            "updated": self.updated,
        }


@dataclass(frozen=True)
class GeneratorRecord:
    """What the ledger knows of one generator."""

    id: str
    """Random identifier, 32 lower-case hexadecimal digits; bundles carry it."""
    state: GeneratorState
    images: tuple[str, ...]
    """Identifiers of the k >= 1 images behind it, in the order in which training takes them."""
    profile: str = ""
    """Name of the settings that its training began with; empty before."""
    settings: str = ""
    """These settings as canonical JSON; empty before its training began."""
    attempts: int = 0
    """How often its worker died while training it."""
    reason: str = ""
    """Why it is in this state, for a person."""
    releases: tuple[int, ...] = ()
    """The releases that hold it, whatever became of it later."""
    created: str = ""
    """UTC time at which it was planned, ISO 8601."""
    updated: str = ""
    """UTC time of the last change, ISO 8601."""

    @property
    def begun(self) -> bool:
        """Whether its training has begun, so that a checkpoint of these settings may exist."""
        return bool(self.settings)


@dataclass(frozen=True)
class Event:
    """One change, never altered. `before` is None for something new, `after` None for something that left."""

    time: str
    id: str
    before: State | None
    after: State | None
    reason: str
