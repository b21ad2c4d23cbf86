"""Splits a mask of class numbers or colour codes into one black-and-white mask per class, by a user's map."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sharekit.errors import InputError, UsageError
from sharekit.pictures.decode import Raster
from sharekit.pictures.masks import COLOUR_DIFFERENCE, MAX_STRAY, colours_of, numbers_of

CLASS_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
BACKGROUND, IGNORE = "background", "ignore"
"""Names that are not classes: neither gets a mask. The report counts ignored pixels."""
ALL_OTHERS = "*"
"""Stands for all numbers that are not named; 0 stays background."""

MAX_NUMBER = 65535
_COLOUR = re.compile(r"#?([0-9a-fA-F]{6})")

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class MappedMask:
    """The masks made from one file."""

    masks: Mapping[str, Pixels]
    """Class to `(H, W)` with 0 and 255, for every class of the map; a mask may be empty."""
    ignored: float
    """Share of ignored pixels, 0 to 1; they are background in every mask."""


@dataclass(frozen=True)
class MaskMap:
    """The meaning of mask values. Exactly one of the two mappings is not empty."""

    numbers: Mapping[int | str, str]
    """Number, or `ALL_OTHERS`, to name."""
    colours: Mapping[int, str]
    """0xRRGGBB to name."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes that get a mask, in alphabetical order."""
        return tuple(sorted({*self.numbers.values(), *self.colours.values()} - {BACKGROUND, IGNORE}))

    @property
    def text(self) -> str:
        """The map in a canonical form, independent of the order of its entries."""
        numbers = [f"{number}={name}" for number, name in self.numbers.items()]
        colours = [f"#{colour:06x}={name}" for colour, name in self.colours.items()]
        return ",".join(sorted([*numbers, *colours]))

    @staticmethod
    def of_numbers(text: str) -> MaskMap:
        """Parse `1=polyp,2=instrument,255=ignore`; 0 is background unless the text names it.

        Raises:
            UsageError: naming `--mask-map`.
        """
        numbers: dict[int | str, str] = {0: BACKGROUND}
        option = "--mask-map"
        for value, name in _entries(text, option):
            if value != ALL_OTHERS and not (value.isdecimal() and int(value) <= MAX_NUMBER):
                raise _usage(option, f"numbers of 0 to {MAX_NUMBER}, or {ALL_OTHERS}", value)
            numbers[value if value == ALL_OTHERS else int(value)] = name
        return _with_classes(MaskMap(numbers, {}), option)

    @staticmethod
    def of_colours(text: str) -> MaskMap:
        """Parse `#ff0000=polyp,#00ff00=instrument`; black is background unless the text names it.

        Raises:
            UsageError: naming `--mask-colour`.
        """
        colours = {0: BACKGROUND}
        option = "--mask-colour"
        for value, name in _entries(text, option):
            found = _COLOUR.fullmatch(value)
            if found is None:
                raise _usage(option, "colours as #rrggbb", value)
            colours[int(found[1], 16)] = name
        return _with_classes(MaskMap({}, colours), option)

    def split(self, raster: Raster, item: object) -> MappedMask:
        """Make one mask per class.

        Raises:
            InputError: naming `item`; it holds a value that the map does not name, or values of another kind.
        """
        labels = (
            self._labels_of_colours(raster, item) if self.colours else self._labels_of_numbers(raster, item)
        )
        order = self._order()
        masks = {name: np.where(labels == order[name], np.uint8(255), np.uint8(0)) for name in self.classes}
        return MappedMask(masks, float(np.mean(labels == order[IGNORE])))

    def _labels_of_numbers(self, raster: Raster, item: object) -> NDArray[np.uint8]:
        """`(H, W)`: 0 background, 1 ignore, then the classes in their order."""
        numbers = numbers_of(raster)
        if numbers is None:
            raise InputError(
                item,
                expected="a mask of numbers: grey, or with a palette",
                found="colours, or samples that are no unsigned numbers",
                next_step="name its colours with --mask-colour '#ff0000=NAME', or store it with numbers",
            )
        order = self._order()
        table = np.full(MAX_NUMBER + 1, _UNNAMED, np.uint8)
        if ALL_OTHERS in self.numbers:
            table[:] = order[self.numbers[ALL_OTHERS]]
        for number, name in self.numbers.items():
            if isinstance(number, int):
                table[number] = order[name]
        if int(numbers.max(initial=0)) > MAX_NUMBER:
            raise _unnamed(item, str(numbers.max()), "--mask-map")
        labels = table[numbers]
        if (labels == _UNNAMED).any():
            values = np.unique(numbers[labels == _UNNAMED])
            raise _unnamed(item, ", ".join(map(str, values[:_LISTED])), "--mask-map")
        return labels

    def _labels_of_colours(self, raster: Raster, item: object) -> NDArray[np.uint8]:
        """Like `_labels_of_numbers`, by the nearest named colour, which allows for JPEG's rounding."""
        pixels = colours_of(raster)
        if pixels is None and raster.deep is None:
            pixels = np.repeat(raster.samples[:, :, None], 3, axis=2)
        if pixels is None:
            raise InputError(
                item,
                expected="a mask of 8-bit colours",
                found="samples of another depth",
                next_step="store it with 8 bits a channel: magick IN -depth 8 OUT.png",
            )
        order = self._order()
        labels = np.zeros(pixels.shape[:2], np.uint8)
        nearest = np.full(pixels.shape[:2], 256, np.int16)
        for colour, name in self.colours.items():
            rgb = np.array([colour >> 16, colour >> 8 & 255, colour & 255], np.int16)
            distance = np.abs(pixels - rgb).max(axis=2)
            closer = distance < nearest
            labels[closer], nearest[closer] = order[name], distance[closer]
        strange = nearest > COLOUR_DIFFERENCE
        if strange.mean() > MAX_STRAY:
            packed = pixels[strange].astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)
            values, counts = np.unique(packed, return_counts=True)
            commonest = values[np.argsort(-counts)[:_LISTED]]
            raise _unnamed(item, ", ".join(f"#{value:06x}" for value in commonest), "--mask-colour")
        return labels

    def _order(self) -> Mapping[str, int]:
        return {name: number for number, name in enumerate((BACKGROUND, IGNORE, *self.classes))}


_UNNAMED = 255
_LISTED = 5  # values that a message names


def _entries(text: str, option: str) -> list[tuple[str, str]]:
    found = []
    for entry in text.split(","):
        value, equals, name = entry.strip().partition("=")
        if not equals or not CLASS_NAME.fullmatch(name.strip()):
            raise _usage(option, "VALUE=NAME, names of 1 to 32 characters from a-z, 0-9, _ and -", entry)
        found.append((value.strip(), name.strip()))
    values = [value.lower().lstrip("#") for value, _ in found]
    twice = next((value for value in values if values.count(value) > 1), None)
    if twice is not None:
        raise _usage(option, "every value once", f"{twice} twice")
    return found


def _with_classes(mapping: MaskMap, option: str) -> MaskMap:
    if not 1 <= len(mapping.classes) <= _MAX_CLASSES:
        raise _usage(
            option,
            f"1 to {_MAX_CLASSES} classes in addition to {BACKGROUND} and {IGNORE}",
            str(len(mapping.classes)),
        )
    return mapping


_MAX_CLASSES = 16  # per generator


def _usage(option: str, expected: str, found: str) -> UsageError:
    return UsageError(
        option, expected=expected, found=found, next_step="write for example 1=polyp,2=instrument,255=ignore"
    )


def _unnamed(item: object, found: str, option: str) -> InputError:
    return InputError(
        item,
        expected=f"a mask whose values {option} names",
        found=found,
        next_step=f"name them as well, as a class, as {BACKGROUND}, or as {IGNORE}",
    )
