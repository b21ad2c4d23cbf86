"""EXIF's orientation, and how to treat a picture and a mask whose orientations differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from sharekit.errors import InputError

UPRIGHT = 1
Pixels = TypeVar("Pixels", bound=NDArray)

_WORDS = {
    1: "none",
    2: "2 (mirrored)",
    3: "3 (upside down)",
    4: "4 (mirrored, upside down)",
    5: "5 (mirrored, a quarter turn)",
    6: "6 (a quarter turn)",
    7: "7 (mirrored, a quarter turn)",
    8: "8 (a quarter turn)",
}
_BACK = {6: 8, 8: 6}


class OrientationError(InputError):
    """A mask has another orientation than its picture, and the user has not said how to treat it."""


class SizeError(InputError):
    """A mask has another size than its picture."""


class Turn(StrEnum):
    """The user's choice for masks whose orientation differs from their picture's."""

    BOTH = "both"
    """The mask was drawn on the picture as stored: it turns with the picture."""
    IMAGE = "image"
    """The mask was drawn on the picture as shown: only the picture turns."""
    NEITHER = "neither"
    """No orientation is applied to either."""


def turned(pixels: Pixels, orientation: int) -> Pixels:
    """Apply an EXIF orientation to `(H, W)` or `(H, W, C)` pixels; returns a view."""
    match orientation:
        case 2:
            found = pixels[:, ::-1]
        case 3:
            found = pixels[::-1, ::-1]
        case 4:
            found = pixels[::-1]
        case 5:
            found = pixels.swapaxes(0, 1)
        case 6:
            found = np.rot90(pixels, -1)
        case 7:
            found = np.rot90(pixels, 2).swapaxes(0, 1)
        case 8:
            found = np.rot90(pixels)
        case _:
            found = pixels
    return found  # type: ignore[return-value]


def turned_back(pixels: Pixels, orientation: int) -> Pixels:
    """The inverse of `turned`."""
    return turned(pixels, _BACK.get(orientation, orientation))


@dataclass(frozen=True)
class Stored:
    """The orientation and size of a file's stored pixels."""

    name: object
    orientation: int
    size: tuple[int, int]  # height, width

    @property
    def size_shown(self) -> tuple[int, int]:
        """Height and width once turned upright."""
        return size_turned(self.size, self.orientation)


def size_turned(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Height and width after an orientation is applied."""
    return size[::-1] if orientation >= 5 else size


def agreement(
    image: Stored, masks: Mapping[str, Stored], choice: Turn | None, next_step: str
) -> tuple[int, Mapping[str, int]]:
    """The orientations to apply to a picture and to each of its masks, by class.

    Raises:
        OrientationError: a mask has another orientation than its picture, and `choice` is None.
        SizeError: a mask has another size than the picture once both are turned.
    """
    image_turn = image.orientation
    turns = {}
    for label, mask in masks.items():
        image_turn, turns[label] = agreed(image, mask, choice, next_step)
        check_same_size(size_turned(image.size, image_turn), size_turned(mask.size, turns[label]), mask.name)
    return image_turn, turns


def check_same_size(image: tuple[int, int], mask: tuple[int, int], item: object) -> None:
    """Refuse a mask whose height or width differs from its picture's.

    Raises:
        SizeError: naming `item`.
    """
    if image != mask:
        raise SizeError(
            item,
            expected=f"a mask of the picture's size, {image[1]}x{image[0]} pixels",
            found=f"{mask[1]}x{mask[0]} pixels",
            next_step="use the mask that was drawn on this picture; masks are never resized",
        )


def agreed(image: Stored, mask: Stored, choice: Turn | None, next_step: str) -> tuple[int, int]:
    """The orientations to apply to a picture and to its mask.

    Equal orientations are applied to both. If they differ, the sizes may decide: a mask that fits only the
    picture as shown was drawn on the picture as shown. Otherwise the user has to choose.

    Args:
        image: the picture.
        mask: its mask.
        choice: the user's choice, or None.
        next_step: next step in the error.

    Raises:
        OrientationError: the two differ and `choice` is None; the error names both files.
    """
    match choice:
        case Turn.NEITHER:
            return UPRIGHT, UPRIGHT
        case Turn.IMAGE:
            return image.orientation, UPRIGHT
        case Turn.BOTH:
            tag = image.orientation if image.orientation != UPRIGHT else mask.orientation
            return tag, mask.orientation if mask.orientation != UPRIGHT else tag
    fits_as_shown = image.size_shown == mask.size_shown and image.size != mask.size
    if image.orientation == mask.orientation or fits_as_shown:
        return image.orientation, mask.orientation
    raise OrientationError(
        mask.name,
        expected=f"the EXIF orientation of {image.name}: {_WORDS[image.orientation]}",
        found=f"{_WORDS[mask.orientation]}, so that only one of the two would be turned",
        next_step=next_step,
    )
