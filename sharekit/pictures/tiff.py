"""Reads a TIFF's pages, their layouts, and the pixels of layouts that Pillow does not read."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import (
    BITSPERSAMPLE,
    COMPRESSION,
    COMPRESSION_INFO,
    IMAGELENGTH,
    IMAGEWIDTH,
    PHOTOMETRIC_INTERPRETATION,
    PLANAR_CONFIGURATION,
    SAMPLEFORMAT,
    SAMPLESPERPIXEL,
    STRIPBYTECOUNTS,
    STRIPOFFSETS,
    TILEBYTECOUNTS,
    TILEOFFSETS,
    ImageFileDirectory_v2,
)

from sharekit.errors import InputError
from sharekit.pictures.png import broken

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
MAX_PAGES = 64
"""A file with more pages is a stack and is refused without looking at them."""
_MAX_COPIES = 8  # smaller pages to compare with the picture; each comparison decodes both

_ORIENTATION, _SUBFILE_TYPE, _OLD_SUBFILE_TYPE = 274, 254, 255
_REDUCED, _TRANSPARENCY = 1, 4  # bits of the subfile type
_OLD_REDUCED = 2
_UNSIGNED = 1
_BLACK_IS_ZERO, _WHITE_IS_ZERO, _RGB = 1, 0, 2
_PHOTOMETRIC = {
    _WHITE_IS_ZERO: "white-is-zero",
    _BLACK_IS_ZERO: "black-is-zero",
    _RGB: "RGB",
    3: "palette",
    4: "transparency mask",
    5: "CMYK",
    6: "YCbCr",
    8: "CIE L*a*b*",
    32803: "colour filter array",
    34892: "linear raw",
}
_FORMATS = {1: "unsigned", 2: "signed", 3: "floating-point", 4: "undefined", 5: "complex", 6: "complex"}
_COMPRESSIONS = {
    1: "uncompressed",
    5: "LZW",
    6: "old JPEG",
    7: "JPEG",
    8: "deflate",
    32773: "PackBits",
    33003: "JPEG 2000",
    33005: "JPEG 2000",
    33007: "JPEG",
    34712: "JPEG 2000",
    34887: "LERC",
    34925: "LZMA",
    50000: "ZSTD",
    50001: "WebP",
    50002: "JPEG XL",
}
_SAME_PICTURE = 12
"""Largest mean difference of greys (0 to 255) for a smaller page to be the same picture."""


@dataclass(frozen=True)
class Page:
    """One page, described by its tags."""

    width: int
    height: int
    bits: int  # of a sample, the largest
    sample_format: int
    photometric: int
    samples: int  # of a pixel
    compression: int
    separate: bool
    """Whether each sample has its own plane."""
    subfile_type: int
    old_subfile_type: int
    orientation: int
    whole: bool
    """Whether all its strips or tiles lie inside the file."""

    @property
    def kind(self) -> str:
        """The kind of its samples: unsigned, signed, floating-point, …"""
        return _FORMATS.get(self.sample_format, "undefined")

    @property
    def is_reduced(self) -> bool:
        """Whether its tags mark it as a smaller copy of another page."""
        return bool(self.subfile_type & _REDUCED) or self.old_subfile_type == _OLD_REDUCED

    @property
    def is_transparency(self) -> bool:
        return bool(self.subfile_type & _TRANSPARENCY) or self.photometric == 4

    @property
    def layout(self) -> str:
        """The layout in words, such as `3 unsigned 8-bit samples a pixel, black-is-zero, LZW`."""
        colours = _PHOTOMETRIC.get(self.photometric, f"photometric {self.photometric}")
        compression = _COMPRESSIONS.get(self.compression, f"compression {self.compression}")
        planes = ", one plane each" if self.separate and self.samples > 1 else ""
        plural = "s" if self.samples > 1 else ""
        return (
            f"{self.samples} {self.kind} {self.bits}-bit sample{plural} a pixel{planes}, {colours}, "
            f"{compression}"
        )


def read_pages(data: bytes, item: object) -> tuple[Page, ...]:
    """Read the pages of a TIFF in order.

    Raises:
        InputError: naming `item`; it has no readable page, or more than `MAX_PAGES`.
    """
    file = io.BytesIO(data)
    header = data[:16] if data[2:3] == b"+" or data[3:4] == b"+" else data[:8]
    pages: list[Page] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            directory = ImageFileDirectory_v2(header)
            seen: set[int] = set()
            while directory.next and directory.next not in seen:
                if len(pages) == MAX_PAGES:
                    raise _several(item, f"a TIFF of more than {MAX_PAGES} pages")
                seen.add(directory.next)
                file.seek(directory.next)
                directory.load(file)
                pages.append(_page(directory, len(data)))
        except InputError:
            raise
        except Exception as error:
            # A damaged later page does not matter if the first is whole.
            if not pages:
                raise broken(item, f"{type(error).__name__}: {error}") from error
    if not pages:
        raise broken(item, "a TIFF without a page")
    return tuple(pages)


def _page(directory: ImageFileDirectory_v2, length: int) -> Page:
    def numbers(tag: int, default: int) -> tuple[int, ...]:
        value = directory.get(tag, default)
        return value if isinstance(value, tuple) else (value,)

    def number(tag: int, default: int) -> int:
        return int(numbers(tag, default)[0])

    offsets = numbers(STRIPOFFSETS, 0) if STRIPOFFSETS in directory else numbers(TILEOFFSETS, 0)
    counts = numbers(STRIPBYTECOUNTS, 0) if STRIPOFFSETS in directory else numbers(TILEBYTECOUNTS, 0)
    whole = all(
        offset > 0 and count > 0 and offset + count <= length
        for offset, count in zip(offsets, counts, strict=False)
    )
    formats = numbers(SAMPLEFORMAT, _UNSIGNED)
    return Page(
        number(IMAGEWIDTH, 0),
        number(IMAGELENGTH, 0),
        max(numbers(BITSPERSAMPLE, 1)),
        next((one for one in formats if one != _UNSIGNED), _UNSIGNED),
        number(PHOTOMETRIC_INTERPRETATION, _WHITE_IS_ZERO),
        number(SAMPLESPERPIXEL, 1),
        number(COMPRESSION, 1),
        number(PLANAR_CONFIGURATION, 1) == 2,
        number(_SUBFILE_TYPE, 0),
        number(_OLD_SUBFILE_TYPE, 0),
        number(_ORIENTATION, 1),
        whole and len(offsets) == len(counts),
    )


def the_picture(pages: Sequence[Page], data: bytes, item: object) -> int:
    """The number of the page that is the picture: the only page that is not a thumbnail of another.

    Raises:
        InputError: naming `item`; it has several pictures, or a page that hides parts of the picture.
    """
    full = [number for number, page in enumerate(pages) if not page.is_reduced]
    if not full:
        full = [max(range(len(pages)), key=lambda number: pages[number].width * pages[number].height)]
    if any(pages[number].is_transparency for number in full):
        raise InputError(
            item,
            expected="an opaque picture in a page of its own",
            found="a TIFF with a page that is a transparency mask",
            next_step="flatten it, for example: magick IN -background black -flatten OUT.png",
        )
    largest = max(full, key=lambda number: pages[number].width * pages[number].height)
    others = [number for number in full if number != largest]
    copies = len(others) <= _MAX_COPIES and all(_is_smaller_copy(data, pages, one, largest) for one in others)
    if not copies:
        sizes = dict.fromkeys(f"{pages[number].width}x{pages[number].height}" for number in full)
        raise _several(item, f"a TIFF of {len(full)} pages, {' and '.join(list(sizes)[:4])} pixels")
    return largest


def _is_smaller_copy(data: bytes, pages: Sequence[Page], small: int, large: int) -> bool:
    """Whether a page is a thumbnail of another: at most half as large, and the same picture."""
    page, whole = pages[small], pages[large]
    if min(page.width, page.height) < 1 or 2 * page.width > whole.width or 2 * page.height > whole.height:
        return False
    with contextlib.suppress(Exception), Image.open(io.BytesIO(data), formats=["TIFF"]) as image:
        greys = []
        for number in (small, large):
            image.seek(number)
            grey = image.convert("L").resize((page.width, page.height), Image.Resampling.BOX)
            greys.append(np.asarray(grey, np.int16))
        return bool(np.abs(greys[0] - greys[1]).mean() <= _SAME_PICTURE)
    return False


def _several(item: object, found: str) -> InputError:
    return InputError(
        item,
        expected="one picture in a file",
        found=f"several frames: {found}",
        next_step="store every page that is wanted in a file of its own",
    )


def as_colours(samples: NDArray, page: Page, item: object) -> NDArray[np.uint8]:
    """The pixels of a layout that Pillow does not read, as `(H, W)` or `(H, W, 3)` uint8.

    Raises:
        InputError: naming `item`; the layout says too little about its colours.
    """
    grey = page.samples == 1 and page.photometric in (_BLACK_IS_ZERO, _WHITE_IS_ZERO)
    # Many programs write RGB as three 8-bit samples that claim to be grey.
    colour = page.samples == 3 and page.photometric in (_BLACK_IS_ZERO, _RGB)
    if samples.dtype != np.uint8 or not (grey or colour):
        raise _gap(item, page, "which says too little about its colours")
    return 255 - samples if grey and page.photometric == _WHITE_IS_ZERO else samples


def read_samples(data: bytes, page: Page, number: int) -> NDArray | None:
    """The stored samples of a page, `(H, W)` or `(H, W, S)`; None if tifffile is missing or fails."""
    try:
        import tifffile
    except ImportError:
        return None
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            samples = np.asarray(file.pages[number].asarray(maxworkers=1))
    except Exception:
        return None
    if page.separate and page.samples > 1 and samples.ndim == 3:
        samples = np.moveaxis(samples, 0, -1)
    shape = (page.height, page.width) if page.samples == 1 else (page.height, page.width, page.samples)
    return np.ascontiguousarray(samples) if samples.shape == shape else None


def unread(item: object, page: Page, error: Exception) -> InputError:
    """The refusal of a page that neither Pillow, which raised `error`, nor tifffile reads."""
    if not page.whole:
        return broken(item, "parts of its pixels are missing")
    # If Pillow knows the layout but fails to load it, the data are damaged.
    if not isinstance(error, Image.UnidentifiedImageError) and page.compression in COMPRESSION_INFO:
        return broken(item, f"{type(error).__name__}: {error}")
    if find_spec("tifffile") is None:
        return _gap(item, page, "which needs the package tifffile (pip install 'sharekit[tiff]')")
    return _gap(item, page, "which our decoders do not read")


def _gap(item: object, page: Page, why: str) -> InputError:
    return InputError(
        item,
        expected="a TIFF of a usual layout: 8-bit grey, palette, RGB, CMYK or YCbCr",
        found=f"a TIFF of {page.layout}, {why}; the file itself may be sound",
        next_step="convert it, for example: magick IN -colorspace sRGB -depth 8 OUT.png",
    )
