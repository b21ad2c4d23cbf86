"""Decode the bytes of a pair's files to pixels that the node may hold, or refuse them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hospital_node.dicom.read_dicom import DicomImage
from hospital_node.intake.intake_rules import IntakeRules
from hospital_node.node.pair import Pair
from hospital_node.overlays.region import Region
from hospital_node.singan.sides import LEAST_SHORT_SIDE, least_max_side
from sharekit.errors import InputError
from sharekit.pictures.decode import Raster, decode, plain_pixels
from sharekit.pictures.folder import SINGLE_CLASS
from sharekit.pictures.mask_map import MaskMap
from sharekit.pictures.masks import MaskKind, MaskReading, read_mask
from sharekit.pictures.orientation import agreement, turned
from sharekit.pictures.pairing import SourcePair

Pixels = NDArray[np.uint8]

_NEXT_TURN = (
    "say which way up the mask was drawn: --apply-orientation both (on the picture as stored), image (on the "
    "picture as shown), or neither"
)


@dataclass(frozen=True)
class ReadPair:
    """A pair as the node will store it, and what to report about it."""

    pair: Pair
    zero_one: tuple[str, ...] = ()
    """Mask files of 0 and 1."""
    ignored: float = 0.0
    """Share of pixels that a mask map says to ignore; they are background."""
    converted: bool = False
    """Whether the picture was CMYK, which is converted to RGB without a colour profile."""
    declared: tuple[Region, ...] = ()
    """Regions that the file itself declares to lie outside the picture."""
    says_burned_in: bool = False
    """Whether the file itself says that text is burned into its pixels."""


def read_pair(source: SourcePair, image: bytes, masks: Mapping[str, bytes], rules: IntakeRules) -> ReadPair:
    """Decode a picture and its masks, turn them the same way up and check them.

    Args:
        source: names of the files, for errors.
        image: the picture's file.
        masks: class to the mask's file.
        rules: what intake takes.

    Raises:
        MaskError: a file has values that no mask has.
        InputError: a file is refused; the error names it.
    """
    raster = decode(image, source.image, rules.limits)
    pixels = plain_pixels(raster, source.image)
    rasters = {name: decode(data, source.masks[name], rules.limits) for name, data in masks.items()}
    image_turn, mask_turns = agreement(
        raster.stored(source.image),
        {name: mask.stored(source.masks[name]) for name, mask in rasters.items()},
        rules.turn,
        _NEXT_TURN,
    )
    pixels = np.ascontiguousarray(turned(pixels, image_turn))
    check_picture(pixels, source.image, rules)
    stored: dict[str, Pixels] = {}
    zero_one: list[str] = []
    ignored = 0.0
    for name, mask in rasters.items():
        path = source.masks[name]
        if rules.mask_map is None:
            reading = _black_and_white(mask, path, rules)
            masks_found: Mapping[str, Pixels] = {name: reading.mask}
            zero_one += [path] if reading.values == (0, 1) else []
        else:
            masks_found, ignored = _mapped(mask, name, path, rules.mask_map, rules.allow_empty_masks)
        for label, found in masks_found.items():
            stored[label] = np.ascontiguousarray(turned(found, mask_turns[name]))
    return ReadPair(Pair(pixels, stored), tuple(zero_one), ignored, converted=raster.mode == "CMYK")


def read_dicom_pair(
    source: SourcePair, image: DicomImage, frame: int, masks: Mapping[str, bytes], rules: IntakeRules
) -> ReadPair:
    """The pair of one frame of a decoded DICOM image; `source` and `masks` as in `read_pair`.

    Raises:
        MaskError: a file has values that no mask has.
        InputError: the frame is refused; the error names it.
    """
    pixels = np.ascontiguousarray(image.frames[frame])
    check_picture(pixels, source.image, rules)
    stored: dict[str, Pixels] = {}
    zero_one: list[str] = []
    if image.masks:
        stored = {name: np.ascontiguousarray(found[frame]) for name, found in image.masks.items()}
        if not rules.allow_empty_masks:
            stored = {name: found for name, found in stored.items() if found.any()}
        if not stored:
            raise InputError(
                source.image,
                expected="a segment on this frame",
                found="none",
                next_step="leave it out, or take it as a negative with --allow-empty-masks",
            )
    for name, data in {} if image.masks else masks.items():
        path = source.masks[name]
        mask = decode(data, path, rules.limits)
        if mask.size != pixels.shape[:2]:
            raise InputError(
                path,
                expected=f"a mask of the picture's size, {pixels.shape[1]}x{pixels.shape[0]} pixels",
                found=f"{mask.size[1]}x{mask.size[0]} pixels",
                next_step="export the mask in the picture's size",
            )
        if rules.mask_map is None:
            reading = _black_and_white(mask, path, rules)
            stored[name] = reading.mask
            zero_one += [path] if reading.values == (0, 1) else []
        else:
            stored.update(_mapped(mask, name, path, rules.mask_map, rules.allow_empty_masks)[0])
    return ReadPair(
        Pair(pixels, stored), tuple(zero_one), declared=image.outside, says_burned_in=image.burned_in
    )


def check_picture(pixels: Pixels, item: object, rules: IntakeRules) -> None:
    """Refuse a picture `(H, W, C)` from which nothing can be learnt.

    Raises:
        InputError: it is too small, too narrow for training, or of one colour; names `item`.
    """
    height, width = pixels.shape[:2]
    if min(height, width) < rules.short_side:
        raise InputError(
            item,
            expected=f"a short side of at least {rules.short_side} pixels",
            found=f"{width}x{height} pixels",
            next_step="take the picture in its original size",
        )
    needed = least_max_side(height, width)
    if needed > rules.max_side and max(height, width) > rules.max_side:
        raise InputError(
            item,
            expected=f"a short side of at least {LEAST_SHORT_SIDE} pixels once training brings the long side "
            f"to {rules.max_side}",
            found=f"{width}x{height} pixels",
            next_step=f"ingest it with --max-side {needed} and train with --max-side {needed} or more, or "
            "crop it closer to a square",
        )
    if (pixels == pixels[0, 0]).all():
        raise InputError(
            item,
            expected="a picture that shows something",
            found=f"one colour everywhere, {', '.join(map(str, pixels[0, 0].tolist()))}",
            next_step="check that it is the right file; a conversion may have lost its values",
        )


def _black_and_white(mask: Raster, path: str, rules: IntakeRules) -> MaskReading:
    reading = read_mask(mask)
    if reading.kind is MaskKind.BINARY or (reading.kind is MaskKind.EMPTY and rules.allow_empty_masks):
        return reading
    raise reading.refusal(path, options=True)


def _mapped(
    mask: Raster, name: str, path: str, mask_map: MaskMap, allow_empty: bool
) -> tuple[Mapping[str, Pixels], float]:
    """Masks of the classes that a mapped file shows, or of all classes if empty masks are allowed."""
    if name != SINGLE_CLASS:
        raise InputError(
            path,
            expected="masks of numbers or colours in masks/ itself, since a map was given",
            found=f"a mask of the class {name}",
            next_step="ingest black-and-white masks in class folders without --mask-map and --mask-colour",
        )
    split = mask_map.split(mask, path)
    found = {label: one for label, one in split.masks.items() if one.any() or allow_empty}
    if not found:
        raise InputError(
            path,
            expected=f"a mask with one of the classes {', '.join(mask_map.classes)}",
            found="none of them",
            next_step="leave the picture out, or take it as a negative with --allow-empty-masks",
        )
    full = next((label for label, one in found.items() if one.all()), None)
    if full is not None:
        raise InputError(
            path,
            expected="a mask with some background",
            found=f"{full} everywhere",
            next_step="check that it is the right file; there is nothing to segment in it",
        )
    return found, split.ignored
