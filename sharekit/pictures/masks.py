"""What does a mask file hold? Its set of values decides whether it is a mask, before any threshold.

Values of 0 and 255, of 0 and 1, or near 0 and 255 after lossy compression are masks. Class numbers, instance
numbers, 255 for uncertain pixels, colour codes and grey pictures are not: a threshold would silently keep
some of their objects and drop others.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from sharekit.errors import InputError
from sharekit.generator.tensors import MASK_THRESHOLD, binarise
from sharekit.pictures.decode import Raster

BETWEEN = (64, 191)
"""Range of greys that are neither background nor foreground; JPEG's ringing stays outside it."""
MAX_STRAY = 0.01
"""Largest share of a mask's pixels that may lie in `BETWEEN`."""
COLOUR_DIFFERENCE = 32
"""Largest difference between the channels of a grey pixel; JPEG's rounding stays below it."""
MAX_SCATTERED = 0.5
"""Largest share of pixels with odd values that may lie in areas of one value. Measured: at most 0.33 for JPEG
down to quality 5, at most 0.02 for Kvasir-SEG's masks and soft edges, and at least 0.56 for label maps, even
with thin rings."""
NOISE = 16
"""How far lossy compression can move the commonest background and foreground values from 0 and 255."""
MANY = 16
"""More values than this are instance numbers rather than classes."""
RARE = 0.002
"""Smallest share of a mask's pixels for a value to count when guessing what the values stand for."""

_NAMED = 5  # values or colours that a message lists

Pixels = NDArray[np.uint8]


class MaskKind(StrEnum):
    """What a mask file holds."""

    BINARY = "binary"
    EMPTY = "empty"
    """Background everywhere."""
    FULL = "full"
    """Foreground everywhere."""
    CONSTANT = "constant"
    """One other value everywhere."""
    NUMBERS = "class-numbers"
    GREY = "grey"
    COLOURED = "coloured"
    DEEP = "deep"
    """Samples of another depth than 8 bits."""
    SEE_THROUGH = "see-through"


USABLE = frozenset({MaskKind.BINARY, MaskKind.EMPTY, MaskKind.FULL})


class MaskError(InputError):
    """A file that is refused as a mask; `reading` says what it holds."""

    reading: MaskReading


@dataclass(frozen=True)
class MaskReading:
    """What a mask file holds."""

    kind: MaskKind
    mask: Pixels
    """`(H, W)` with 0 and 255, as stored; an empty array if the kind is not in `USABLE`."""
    found: str = ""
    """Description of the content for a person."""
    exact: bool = True
    """Whether the file holds only 0 and 255."""
    values: tuple[int, ...] = ()
    """Its grey values in ascending order, if it is grey."""

    def refusal(self, item: object, *, options: bool = False) -> MaskError:
        """The error that says why the file is not a mask, and what to do.

        Args:
            item: the file.
            options: whether the command has the mask options of `ingest`.
        """
        expected, next_step = _ADVICE[self.kind]
        if options and self.kind in _OPTIONS:
            next_step = f"{_OPTIONS[self.kind]}, or {next_step}"
        error = MaskError(item, expected=expected, found=self.found, next_step=next_step)
        error.reading = self
        return error


_TWO_VALUES = "a mask of two values, 0 for background and 255 for foreground"
_ONE_EACH = "store every class as a black-and-white mask of its own: masks/CLASS/NAME.png"
_ADVICE = {
    MaskKind.EMPTY: (
        "a mask with some foreground",
        "leave pictures without a finding out; with several classes leave out the empty mask",
    ),
    MaskKind.FULL: (
        "a mask with some background",
        "check that it is the right file; there is nothing to segment in it",
    ),
    MaskKind.CONSTANT: (_TWO_VALUES, "check that it is the right file"),
    MaskKind.NUMBERS: (_TWO_VALUES, _ONE_EACH),
    MaskKind.GREY: (
        f"a mask: at most {MAX_STRAY:.0%} of its pixels between {BETWEEN[0]} and {BETWEEN[1]}",
        "store the mask with 0 for background and 255 for foreground",
    ),
    MaskKind.COLOURED: ("a grey or black-and-white mask", _ONE_EACH),
    MaskKind.DEEP: (
        "a mask of 8 bits, 0 for background and 255 for foreground",
        "write it in 8 bits; where 0 is background and all else foreground: "
        "magick IN -threshold 0 -depth 8 OUT.png",
    ),
    MaskKind.SEE_THROUGH: (
        "an opaque mask",
        "if the mask is its alpha channel: magick IN -alpha extract OUT.png",
    ),
}
_OPTIONS = {
    MaskKind.EMPTY: "take it as a negative with --allow-empty-masks",
    MaskKind.CONSTANT: "name what its value means with --mask-map",
    MaskKind.NUMBERS: "name what its values mean, as in --mask-map 1=polyp,2=instrument,255=ignore",
    MaskKind.DEEP: "name what its values mean with --mask-map",
    MaskKind.COLOURED: "name what its colours mean, as in --mask-colour '#ff0000=polyp,#00ff00=instrument'",
}


def read_mask(raster: Raster) -> MaskReading:
    """Determine what a decoded mask file holds."""
    if raster.deep is not None:
        return _other(MaskKind.DEEP, f"{raster.deep.name}{_listed(raster.deep.values)}")
    if raster.alpha is not None and raster.alpha.min(initial=255) < 255:
        plain = (raster.samples == raster.samples.reshape(-1, *raster.samples.shape[2:])[0]).all()
        drawn = "; one colour below it: the mask seems to be the alpha channel itself" if plain else ""
        return _other(MaskKind.SEE_THROUGH, f"see-through pixels in its alpha channel{drawn}")
    colours = colours_of(raster)
    if colours is not None:
        coloured = _colourfulness(colours) > COLOUR_DIFFERENCE
        # Relative to the pixels that are not black: a small coloured finding on black is still coloured.
        if coloured.sum() > MAX_STRAY * colours.any(axis=2).sum():
            return _other(MaskKind.COLOURED, f"{coloured.mean():.1%} coloured pixels{_named(colours)}")
    if raster.palette is not None and _hides_numbers(raster.palette, raster.samples):
        return _of_greys(raster.samples, 255)
    return _of_greys(_greys(raster), 2**raster.grey_bits - 1)


def _hides_numbers(palette: Pixels, indices: Pixels) -> bool:
    """Whether a palette shows different indices in the same colour."""
    used = palette[np.unique(indices)]
    return len(np.unique(used, axis=0)) < len(used)


def numbers_of(raster: Raster) -> NDArray | None:
    """`(H, W)`: the stored numbers of a mask's pixels, which are grey samples or palette indices.

    None for colours, signed and floating-point samples.
    """
    if raster.deep is not None:
        deep = raster.deep
        return deep.values if deep.kind == "unsigned" and deep.values.ndim == 2 else None
    if raster.palette is not None:
        return raster.samples
    colours = colours_of(raster)
    if colours is not None and (_colourfulness(colours) > COLOUR_DIFFERENCE).any():
        return None
    return _greys(raster)


def colours_of(raster: Raster) -> Pixels | None:
    """`(H, W, 3)` RGB of a mask in colours or with a palette; None for grey and deep samples."""
    if raster.deep is not None:
        return None
    if raster.palette is not None:
        return raster.palette[raster.samples]
    return raster.samples if raster.samples.ndim == 3 else None


def _colourfulness(colours: Pixels) -> Pixels:
    """`(H, W)`: difference of each pixel's largest and smallest channel, 0 for grey."""
    return _channelwise(np.maximum, colours) - _channelwise(np.minimum, colours)


def _channelwise(of_two: np.ufunc, colours: Pixels) -> Pixels:
    """`(H, W)`: a value of each pixel's channels, much faster than a reduction along the axis."""
    return functools.reduce(of_two, np.moveaxis(colours, 2, 0))


def _greys(raster: Raster) -> Pixels:
    """`(H, W)` grey samples as stored: samples of fewer than 8 bits are not scaled up, so 1 stays 1."""
    colours = colours_of(raster)
    if colours is not None:
        # Take the largest channel: some programs keep class numbers only in the red one.
        return _channelwise(np.maximum, colours)
    return raster.samples // np.uint8(255 // (2**raster.grey_bits - 1))


def _of_greys(greys: Pixels, white: int) -> MaskReading:
    """Read grey samples `(H, W)` whose largest possible value is `white`."""
    counts = np.bincount(greys.reshape(-1), minlength=256)
    values = tuple(np.flatnonzero(counts).tolist())
    if set(values) <= {0, white} or values == (0, 1):
        return _usable(np.where(greys > 0, np.uint8(255), np.uint8(0)), values, exact=values != (0, 1))
    if len(values) == 1 and values[0] < 255 - NOISE:
        return _other(MaskKind.CONSTANT, f"the value {values[0]} everywhere")
    if white < 255 or _in_areas(greys, counts):
        return _other(MaskKind.NUMBERS, f"{_looks_like(counts)}{_listed(greys)}", values)
    stray = counts[BETWEEN[0] : BETWEEN[1] + 1].sum() / greys.size
    if stray > MAX_STRAY:
        return _other(MaskKind.GREY, f"{stray:.1%}: a grey picture or soft edges")
    dark, bright = _levels(counts)
    if dark > NOISE or (counts[bright] and bright < 255 - NOISE):
        return _other(MaskKind.NUMBERS, f"{_looks_like(counts)}{_listed(greys)}", values)
    if NOISE < values[-1] <= MASK_THRESHOLD:
        return _other(MaskKind.GREY, f"no foreground, and no value above {values[-1]}: a dark grey picture")
    return _usable(binarise(greys), values, exact=False)


def _usable(mask: Pixels, values: tuple[int, ...], *, exact: bool) -> MaskReading:
    if not mask.any():
        return MaskReading(MaskKind.EMPTY, mask, "none", exact, values)
    if mask.all():
        return MaskReading(MaskKind.FULL, mask, "foreground everywhere", exact, values)
    return MaskReading(MaskKind.BINARY, mask, "", exact, values)


def _in_areas(greys: Pixels, counts: NDArray) -> bool:
    """Whether values other than the commonest dark and bright ones fill areas, as labels do.

    Lossy compression and soft edges leave odd values scattered along outlines. A single odd value also counts
    as a label, unless it is rare.
    """
    dark, bright = _levels(counts)
    odd = (greys != dark) & (greys != bright)
    total = int(odd.sum())
    values = int((counts > 0).sum()) - int(counts[dark] > 0) - int(counts[bright] > 0)
    if values == 1 and (total > MAX_STRAY * greys.size or not counts[bright]):
        return True
    return total > 0 and int((odd & _solid(greys)).sum()) >= MAX_SCATTERED * total


def _levels(counts: NDArray) -> tuple[int, int]:
    """The commonest dark value and the commonest bright value; the count of either may be 0."""
    first = BETWEEN[1] + 1
    return int(counts[: BETWEEN[0]].argmax()), first + int(counts[first:].argmax())


def _solid(greys: Pixels) -> NDArray[np.bool_]:
    """`(H, W)`: whether a pixel belongs to a square of 2 x 2 equal pixels."""
    corner = greys[:-1, :-1]
    square = (corner == greys[1:, :-1]) & (corner == greys[:-1, 1:]) & (corner == greys[1:, 1:])
    found = np.zeros(greys.shape, np.bool_)
    for rows in (slice(None, -1), slice(1, None)):
        for columns in (slice(None, -1), slice(1, None)):
            found[rows, columns] |= square
    return found


def _other(kind: MaskKind, found: str, values: tuple[int, ...] = ()) -> MaskReading:
    return MaskReading(kind, np.zeros((0, 0), np.uint8), found, exact=False, values=values)


def _looks_like(counts: NDArray) -> str:
    """Guess what the values of a file that is not a mask stand for, from their counts `(256,)`."""
    values = np.flatnonzero(counts > RARE * counts.sum())
    if len(values) > MANY or (counts[values].sum() < counts.sum() / 2):
        return "instance numbers, one value an object"
    if len(values) > 2 and values[-1] == 255:
        return "class numbers, with 255 perhaps for uncertain pixels (void)"
    return "class or instance numbers, or shades"


def _listed(samples: NDArray) -> str:
    """The commonest values with their shares, for the end of a message."""
    values, counts = np.unique(samples, return_counts=True)
    commonest = sorted(np.argsort(-counts, kind="stable")[:_NAMED])
    listed = ", ".join(f"{values[index]:g} ({counts[index] / samples.size:.1%})" for index in commonest)
    return f": {listed}" + (f" and {len(values) - _NAMED} more" if len(values) > _NAMED else "")


def _named(colours: Pixels) -> str:
    """The commonest colours with their shares, for the end of a message."""
    packed = (colours.astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)).reshape(-1)
    values, counts = np.unique(packed, return_counts=True)
    commonest = np.argsort(-counts, kind="stable")[:_NAMED]
    listed = ", ".join(f"#{values[index]:06x} ({counts[index] / packed.size:.1%})" for index in commonest)
    return f": {listed}" + (f" and {len(values) - _NAMED} more" if len(values) > _NAMED else "")
