"""Bytes of an untrusted image file to plain pixels, or a refusal that says how to mend the file.

The format is told by content, never by the file's name. What comes out is a fresh array: no EXIF, colour
profile, text or thumbnail survives it.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import BITSPERSAMPLE, SAMPLEFORMAT, TiffImageFile

from sharekit.errors import InputError
from sharekit.generator.tensors import binarise

FORMATS = ("PNG", "JPEG", "TIFF")
COLOUR_DIFFERENCE = 32
"""Between the channels of a mask's pixel; JPEG's own rounding of colours stays well below."""
CLASS_NUMBERS = 32
"""A mask whose brightest value is at most this is taken for a map of class numbers, and refused so."""


@dataclass(frozen=True)
class Limits:
    """What intake takes at most, and at least."""

    file_bytes: int = 256 * 2**20  # bytes of one file
    pixels: int = 64 * 10**6  # width times height of one image
    short_side: int = 25  # pixels, the coarsest scale's short side
    between: tuple[int, int] = (64, 191)  # mask greys that are neither background nor foreground
    stray_fraction: float = 0.01  # share of a mask's pixels that may be in between


LIMITS = Limits()


def decode_image(data: bytes, item: object, limits: Limits = LIMITS) -> NDArray[np.uint8]:
    """Decode an image, EXIF orientation applied.

    Args:
        data: a PNG, JPEG or TIFF file.
        item: what the errors call it.
        limits: what is taken.

    Returns:
        `(H, W, C)` uint8: C is 1 for grey pictures, 3 (RGB) for all others.

    Raises:
        InputError: another format, broken, several frames, more than 8 bits, see-through, too large or
            too small.
    """
    pixels = _decode(data, item, limits)
    if min(pixels.shape[:2]) < limits.short_side:
        raise InputError(
            item,
            expected=f"a short side of at least {limits.short_side} pixels",
            found=_size(pixels),
            next_step="take the picture in its original size",
        )
    return pixels


def decode_mask(data: bytes, item: object, limits: Limits = LIMITS) -> NDArray[np.uint8]:
    """Decode a mask, EXIF orientation applied, and cut it at the threshold.

    Returns:
        `(H, W)` uint8, 0 and 255, with both values present.

    Raises:
        InputError: as `decode_image`; or it is coloured, has too many greys in between, or is all one value.
    """
    pixels = _decode(data, item, limits)
    grey = _single_channel(pixels, item, limits)
    low, high = limits.between
    share = float(np.mean((grey >= low) & (grey <= high)))
    if share > limits.stray_fraction:
        raise InputError(
            item,
            expected=f"a mask: at most {limits.stray_fraction:.0%} of its pixels between {low} and {high}",
            found=f"{share:.1%}",
            next_step="store the mask with 0 for background and 255 for foreground",
        )
    mask = binarise(grey)
    if not mask.any():
        raise InputError(item, **_empty_mask(int(grey.max())))
    if mask.all():
        raise InputError(
            item,
            expected="a mask with some background",
            found="foreground everywhere",
            next_step="check that it is the right file; there is nothing to segment in it",
        )
    return mask


def check_same_size(image: NDArray[np.uint8], mask: NDArray[np.uint8], item: object) -> None:
    """Refuse a mask of another size than its image, both turned upright.

    Raises:
        InputError: the sizes differ.
    """
    if image.shape[:2] != mask.shape:
        raise InputError(
            item,
            expected=f"a mask of the image's size, {_size(image)}",
            found=_size(mask),
            next_step="use the mask that was drawn on this picture; intake does not resize masks",
        )


def _decode(data: bytes, item: object, limits: Limits) -> NDArray[np.uint8]:
    if len(data) > limits.file_bytes:
        raise _too_large(item, f"at most {limits.file_bytes} bytes", f"{len(data)} bytes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                _check_header(image, data, item, limits)
            if data.startswith(b"\x89PNG"):
                # Decoding alone passes over wrong checksums and a missing end.
                with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
                    image.verify()
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                image.load()
                return _plain_pixels(ImageOps.exif_transpose(image), item)
    except InputError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_many_pixels(item, "a header that claims far more", limits) from None
    except Image.UnidentifiedImageError:
        raise InputError(
            item,
            expected=f"a file whose content is {', '.join(FORMATS[:-1])} or {FORMATS[-1]}",
            found="another or no image format",
            next_step="convert it to PNG",
        ) from None
    except Exception as error:
        raise InputError(
            item,
            expected="a whole image file",
            found=f"a broken one ({type(error).__name__}: {error})",
            next_step="fetch the file again from its source",
        ) from error


def _check_header(image: Image.Image, data: bytes, item: object, limits: Limits) -> None:
    """Everything that can be refused before a pixel is decoded."""
    if image.width * image.height > limits.pixels:
        raise _too_many_pixels(item, f"{image.width}x{image.height} pixels", limits)
    if getattr(image, "is_animated", False):
        raise InputError(
            item,
            expected="one picture in a file",
            found=f"several frames ({image.format})",
            next_step="store every frame that is wanted in a file of its own",
        )
    bits = _bits_per_sample(image, data)
    if image.mode in ("I", "F") or image.mode.startswith("I;") or max(bits) > 8:
        depth = "floating-point" if image.mode == "F" else f"{max(bits)}-bit"
        raise InputError(
            item,
            expected="8 bits a channel",
            found=f"{depth} samples",
            next_step="choose the window that a reader would use and convert it, for example: "
            "magick IN -level 10%,90% -depth 8 OUT.png",
        )
    if isinstance(image, TiffImageFile) and set(_tag(image, SAMPLEFORMAT, 1)) != {1}:
        raise InputError(
            item,
            expected="unsigned samples",
            found="signed or undefined samples",
            next_step="convert it to 8-bit unsigned, for example: magick IN -depth 8 OUT.png",
        )


def _bits_per_sample(image: Image.Image, data: bytes) -> Sequence[int]:
    # Pillow opens 16-bit colour as 8-bit "RGB" and drops the low byte without a word.
    if isinstance(image, TiffImageFile):
        return _tag(image, BITSPERSAMPLE, 1)
    if image.format == "PNG":
        return (data[24],)  # IHDR: signature 8, length 4, type 4, width 4, height 4
    return (8,)


def _tag(image: TiffImageFile, tag: int, default: int) -> tuple[int, ...]:
    value = image.tag_v2.get(tag, default)
    return value if isinstance(value, tuple) else (value,)


def _plain_pixels(image: Image.Image, item: object) -> NDArray[np.uint8]:
    """`(H, W, 1)` or `(H, W, 3)` uint8 of a decoded image in any 8-bit mode."""
    if "transparency" in image.info:
        image = image.convert("LA" if image.mode in ("1", "L") else "RGBA")
    if image.mode in ("LA", "La", "RGBA", "RGBa", "PA"):
        if np.asarray(image.getchannel(image.mode[-1])).min() < 255:
            raise InputError(
                item,
                expected="an opaque picture",
                found="see-through pixels in its alpha channel",
                next_step="decide what lies behind them and flatten it, for example: "
                "magick IN -background black -alpha remove OUT.png",
            )
        # Not by convert(): the colours under an opaque alpha are taken as they are.
        image = image.convert("RGBA" if image.mode == "PA" else image.mode)
        bands = image.split()[:-1]
        return np.stack([np.asarray(band, dtype=np.uint8) for band in bands], axis=2)
    if image.mode in ("1", "L"):
        return np.array(image.convert("L"), dtype=np.uint8)[:, :, None]
    if image.mode in ("RGB", "RGBX", "P", "CMYK", "YCbCr"):
        return np.array(image.convert("RGB"), dtype=np.uint8)
    raise InputError(
        item,
        expected="grey, RGB, palette, CMYK or YCbCr pixels",
        found=f"{image.mode} pixels",
        next_step="convert it to RGB, for example: magick IN -colorspace sRGB OUT.png",
    )


def _single_channel(pixels: NDArray[np.uint8], item: object, limits: Limits) -> NDArray[np.uint8]:
    if pixels.shape[2] == 1:
        return pixels[:, :, 0]
    coloured = np.ptp(pixels, axis=2) > COLOUR_DIFFERENCE
    # Of what is not black: a small coloured finding on a large background is coloured all the same.
    if coloured.sum() > limits.stray_fraction * pixels.any(axis=2).sum():
        raise InputError(
            item,
            expected="a grey or black-and-white mask",
            found=f"{coloured.mean():.1%} coloured pixels",
            next_step="store every class as a black-and-white mask of its own: masks/CLASS/NAME.png",
        )
    return pixels[:, :, 1]


def _empty_mask(brightest: int) -> dict[str, str]:
    if 0 < brightest <= CLASS_NUMBERS:
        return {
            "expected": "a mask with 255 for foreground",
            "found": f"no value above {brightest}: a map of class numbers?",
            "next_step": "multiply a map of 0 and 1 by 255; of a larger one store every class by itself, as "
            "masks/CLASS/NAME.png",
        }
    return {
        "expected": "a mask with some foreground",
        "found": "none",
        "next_step": "leave pictures without a finding out; with several classes leave out the empty mask",
    }


def _too_large(item: object, expected: str, found: str) -> InputError:
    return InputError(item, expected=expected, found=found, next_step="store the picture smaller")


def _too_many_pixels(item: object, found: str, limits: Limits) -> InputError:
    return _too_large(item, f"at most {limits.pixels / 1e6:.0f} million pixels", found)


def _size(pixels: NDArray[np.uint8]) -> str:
    return f"{pixels.shape[1]}x{pixels.shape[0]} pixels"
