"""The report on an ingested folder, for the hospital only: it names files."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sharekit.errors import InputError


@dataclass(frozen=True)
class Refusal:
    """Why one file, or the pair it belongs to, was not taken. Law: `from_json(to_json(x)) == x`."""

    path: str  # relative to the data folder
    expected: str
    found: str
    next_step: str

    @staticmethod
    def of(error: InputError) -> Refusal:
        return Refusal(error.item, error.expected, error.found, error.next_step)

    @property
    def reason(self) -> str:
        return f"{self.path}: expected {self.expected}, found {self.found}. Next: {self.next_step}"

    def to_json(self) -> dict[str, str]:
        return dict(vars(self))

    @staticmethod
    def from_json(value: Mapping[str, str]) -> Refusal:
        return Refusal(**value)


@dataclass(frozen=True)
class InReview:
    """A picture that a person has to look at before it is taken. Law: `from_json(to_json(x)) == x`."""

    path: str  # relative to the data folder
    id: str  # of the image in the ledger
    doubt: str

    def to_json(self) -> dict[str, str]:
        return dict(vars(self))

    @staticmethod
    def from_json(value: Mapping[str, str]) -> InReview:
        return InReview(**value)


class WarningKind(StrEnum):
    """What a person should check, although it was taken."""

    NAMES = "names"
    """Files that do not pair have a common feature in their names."""
    LINKED_FOLDER = "linked-folder"
    """A folder is a symbolic link; nothing in it was looked at."""
    OTHER_MASK = "other-mask"
    """A picture is in the node already, with other masks."""
    OTHER_PICTURE = "other-picture"
    """A file holds another picture than when it was ingested; the earlier one stays."""
    LEFT_FOLDER = "left-folder"
    """A picture in the node is no longer in the folder that it came from."""
    COPIES = "copies"
    """Some of the images show the same picture."""
    LAYOUTS = "layouts"
    """Images have different channels, so no data set can hold all of them."""
    IGNORED = "ignored-pixels"
    """Pixels that a mask map says to ignore are stored as background."""
    CONVERTED = "converted-colours"
    """Pictures were converted to RGB without a colour profile."""
    OVERLAYS = "overlays"
    """Text or graphics in pictures were painted over."""
    OVERLAYS_ON_MASK = "overlays-on-mask"
    """Painted pixels lie in a mask."""
    KEPT_OVERLAYS = "kept-overlays"
    """Pictures were taken without looking for text and graphics in them."""


@dataclass(frozen=True)
class IntakeWarning:
    """One thing to check. Law: `from_json(to_json(x)) == x`."""

    kind: WarningKind
    message: str
    files: tuple[str, ...] = ()
    """Files that it concerns, relative to the data folder."""

    def to_json(self) -> dict[str, Any]:
        return {"kind": str(self.kind), "message": self.message, "files": list(self.files)}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> IntakeWarning:
        return IntakeWarning(WarningKind(value["kind"]), value["message"], tuple(value["files"]))


@dataclass(frozen=True)
class IntakeReport:
    """The report on an ingested folder. Law: `from_json(to_json(x)) == x`."""

    node: str
    hospital: str
    hold_out: bool
    """Whether the images are for evaluation only."""
    ingested: int
    """Pairs taken now."""
    known: int
    """Pairs that the node had already, or that are in the folder twice."""
    images: int
    """Images of this side of the node, training images or hold-out, after this run."""
    pictures: int
    """Distinct pictures among them: copies of one picture count once."""
    units: int
    """Patients among them, or distinct pictures where patients are unknown."""
    unknown_patients: int
    """Images among them whose patient is unknown."""
    refused: tuple[Refusal, ...]
    """Refusals of this run, including files that were refused before."""
    review: tuple[InReview, ...]
    """Pictures that wait for a person."""
    warnings: tuple[IntakeWarning, ...]
    skipped: tuple[str, ...]
    """Hidden files, linked folders, and folders that are not looked into."""

    @property
    def usable(self) -> int:
        return self.ingested + self.known

    def to_json(self) -> dict[str, Any]:
        return {
            **{field.name: getattr(self, field.name) for field in dataclasses.fields(self)},
            "refused": [refusal.to_json() for refusal in self.refused],
            "review": [one.to_json() for one in self.review],
            "warnings": [warning.to_json() for warning in self.warnings],
            "skipped": list(self.skipped),
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> IntakeReport:
        return IntakeReport(
            **{
                **value,
                "refused": tuple(map(Refusal.from_json, value["refused"])),
                "review": tuple(map(InReview.from_json, value["review"])),
                "warnings": tuple(map(IntakeWarning.from_json, value["warnings"])),
                "skipped": tuple(value["skipped"]),
            }
        )
