"""Decodes an untrusted picture file to plain samples, or refuses it and says how to fix it.

The content determines the format, never the file's name. The result is fresh arrays without EXIF, colour
profile, text or thumbnail. If our decoders lack a feature, the refusal says so and does not blame the file.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sharekit.errors import InputError
from sharekit.pictures import png, tiff
from sharekit.pictures.depth import DeepSamples, read_deep
from sharekit.pictures.folder import MAX_FILE_BYTES, is_picture
from sharekit.pictures.orientation import UPRIGHT, Stored, turned_back
from sharekit.pictures.png import broken

FORMATS = ("PNG", "JPEG", "TIFF")
MAX_PIXELS = 64 * 10**6
"""Width times height of one picture."""

Pixels = NDArray[np.uint8]

_ORIENTATION = 0x0112  # EXIF tag
_MAX_LINK_BYTES = 1024  # of a file that holds a link's path instead of a picture
_OTHER_FORMATS = (
    (b"GIF8", "a GIF"),
    (b"BM", "a BMP"),
    (b"RIFF", "a WebP or another RIFF file"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 file"),
    (b"\xffO\xffQ", "a JPEG 2000 file"),
    (b"\xff\x0a", "a JPEG XL file"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL file"),
    (b"%PDF", "a PDF"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip file, such as NIfTI"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x89HDF", "an HDF5 file"),
    (b"P5", "a PGM"),
    (b"P6", "a PPM"),
    (b"<svg", "an SVG drawing"),
    (b"<", "HTML or XML"),
)


@dataclass(frozen=True)
class Limits:
    """The largest file that is decoded."""

    file_bytes: int = MAX_FILE_BYTES
    pixels: int = MAX_PIXELS
    parts: int = 2**16  # chunks of a PNG, segments of a JPEG before its first scan
    scans: int = 200  # of a JPEG; each is a pass over all pixels, and a progressive JPEG has about ten


LIMITS = Limits()


@dataclass(frozen=True)
class Raster:
    """A decoded file as stored: not yet turned upright, nor interpreted as a picture or a mask."""

    samples: NDArray
    """`(H, W)` grey samples or palette indices, or `(H, W, 3)` RGB; uint8 unless `deep`."""
    palette: Pixels | None = None
    """`(N, 3)`: RGB colour of each index."""
    alpha: Pixels | None = None
    """`(H, W)`: 255 is opaque."""
    orientation: int = UPRIGHT
    """EXIF orientation, 1 to 8."""
    grey_bits: int = 8
    """Bits of a stored grey sample; if fewer than 8, `samples` are scaled to 0 to 255."""
    deep: DeepSamples | None = None
    """Details of samples that are not 8-bit unsigned; `samples` are then not usable as a picture."""
    mode: str = ""
    """Pillow's name for the stored pixel format, such as CMYK."""

    def stored(self, name: object) -> Stored:
        """The orientation and size of its pixels, for the file `name`."""
        return Stored(name, self.orientation, self.size)

    def turned_back(self) -> Raster:
        """Undo the turn to upright: the raster as the file stores it."""
        alpha = None if self.alpha is None else turned_back(self.alpha, self.orientation)
        return replace(self, samples=turned_back(self.samples, self.orientation), alpha=alpha)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width as stored."""
        height, width = self.samples.shape[:2]
        return height, width


def decode(data: bytes, item: object, limits: Limits = LIMITS) -> Raster:
    """Decode a PNG, JPEG or TIFF file.

    An MPO from a telephone gives its primary picture; a TIFF with thumbnails gives the full picture.

    Args:
        data: the whole file.
        item: name of the file in error messages.
        limits: the largest file to decode.

    Raises:
        InputError: the file has another format or several pictures, is broken or too large, or has a form
            that our decoders don't read.
    """
    if len(data) > limits.file_bytes:
        raise _too_large(item, f"at most {limits.file_bytes} bytes", f"{len(data)} bytes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if data.startswith(png.SIGNATURE):
                return _from_png(png.essential_chunks(data, item, limits.parts), item, limits)
            if data.startswith(b"\xff\xd8"):
                return _from_jpeg(data, item, limits)
            if data.startswith(tiff.MAGIC):
                return _from_tiff(data, item, limits)
    except InputError:
        raise
    except Image.DecompressionBombError:
        raise _too_many_pixels(item, "a header that claims far more", limits) from None
    except MemoryError:
        raise _too_large(item, "a picture that fits into this machine's memory", "no room for it") from None
    except Exception as error:
        # Pillow puts an object's address into the message of an unknown format.
        unknown = isinstance(error, Image.UnidentifiedImageError)
        raise broken(item, "unreadable header" if unknown else f"{type(error).__name__}: {error}") from error
    found, next_step = _other_format(data)
    raise InputError(
        item,
        expected=f"a file whose content is {', '.join(FORMATS[:-1])} or {FORMATS[-1]}",
        found=found,
        next_step=next_step,
    )


def plain_pixels(raster: Raster, item: object) -> Pixels:
    """The pixels of a picture as stored: `(H, W, C)` uint8, where C is 1 for grey and 3 (RGB) otherwise.

    Raises:
        InputError: the samples do not have 8 bits, or some pixels are see-through.
    """
    if raster.deep is not None:
        raise raster.deep.refused_as_picture(item)
    if raster.alpha is not None and raster.alpha.min(initial=255) < 255:
        raise InputError(
            item,
            expected="an opaque picture",
            found="see-through pixels in its alpha channel",
            next_step="decide what lies behind them and flatten it, for example: "
            "magick IN -background black -alpha remove OUT.png",
        )
    if raster.palette is not None:
        return raster.palette[raster.samples]
    return np.atleast_3d(raster.samples)


def _from_png(data: bytes, item: object, limits: Limits) -> Raster:
    with _opened(data, item, limits) as image:
        bits = data[24]  # IHDR: signature 8, length 4, type 4, width 4, height 4
        image.load()
        deep = read_deep(image, data, bits) if bits > 8 else None
        return _raster(image, item, _orientation(image), bits, deep)


def _from_jpeg(data: bytes, item: object, limits: Limits) -> Raster:
    _check_jpeg(data, item)
    _check_parts(data, item, limits)
    with _opened(data, item, limits) as image:
        image.load()
        return _raster(image, item, _orientation(image), 8, None)


def _from_tiff(data: bytes, item: object, limits: Limits) -> Raster:
    pages = tiff.read_pages(data, item)
    for page in pages:
        _check_pixels(item, page.width, page.height, limits)
    number = tiff.the_picture(pages, data, item)
    page = pages[number]
    is_deep = page.bits > 8 or page.kind != "unsigned"
    try:
        with _opened(data, item, limits) as image:
            image.seek(number)
            if len(image.getbands()) == 1 < page.samples:
                raise Image.UnidentifiedImageError("Pillow would read the first of several planes alone")
            image.load()
            deep = read_deep(image, data, page.bits, page.kind) if is_deep else None
            raster = _raster(image, item, page.orientation, page.bits, deep)
            # Some releases of Pillow turn a TIFF upright when they load it, and drop the tag.
            turned = _ORIENTATION not in getattr(image, "tag_v2", {})
            return raster.turned_back() if turned else raster
    except (OSError, SyntaxError, ValueError, KeyError, EOFError) as error:
        samples = tiff.read_samples(data, page, number) if page.whole else None
        if samples is None:
            raise tiff.unread(item, page, error) from error
    if is_deep:
        return Raster(samples, orientation=page.orientation, deep=DeepSamples(samples, page.bits, page.kind))
    return Raster(tiff.as_colours(samples, page, item), orientation=page.orientation)


@contextlib.contextmanager
def _opened(data: bytes, item: object, limits: Limits) -> Iterator[Image.Image]:
    """Open the file and check its size, without decoding it."""
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        _check_pixels(item, image.width, image.height, limits)
        yield image


def _orientation(image: Image.Image) -> int:
    # Broken EXIF does not spoil the picture: other programs ignore it too.
    with contextlib.suppress(Exception):
        found = int(image.getexif().get(_ORIENTATION, UPRIGHT))
        return found if UPRIGHT <= found <= 8 else UPRIGHT
    return UPRIGHT


def _raster(
    image: Image.Image, item: object, orientation: int, bits: int, deep: DeepSamples | None
) -> Raster:
    """The samples of a loaded image in any 8-bit mode; for a deep image, the `deep` values."""
    alpha = None
    samples: NDArray
    palette = None
    if "transparency" in image.info and image.mode in ("1", "L", "P", "RGB"):
        alpha = np.asarray(image.convert("RGBA").getchannel("A"))
    if image.mode in ("1", "L"):
        samples = np.array(image.convert("L"))
    elif image.mode == "P":
        colours = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
        samples, palette = np.array(image), np.pad(colours, ((0, 256 - len(colours)), (0, 0)))
    elif image.mode in ("LA", "La", "RGBA", "RGBa", "PA"):
        # Do not use convert(): the colours under an opaque alpha must not change.
        opaque = image.convert("RGBA") if image.mode == "PA" else image
        bands = np.asarray(opaque)
        alpha = bands[:, :, -1]
        samples = np.ascontiguousarray(bands[:, :, 0] if bands.shape[2] == 2 else bands[:, :, :3])
    elif image.mode in ("RGB", "RGBX", "CMYK", "YCbCr"):
        samples = np.array(image.convert("RGB"))
    elif deep is not None:
        samples = deep.values
    else:
        raise InputError(
            item,
            expected="grey, RGB, palette, CMYK or YCbCr pixels",
            found=f"{image.mode} pixels",
            next_step="convert it to RGB, for example: magick IN -colorspace sRGB OUT.png",
        )
    return Raster(samples, palette, alpha, orientation, bits if image.mode == "L" else 8, deep, image.mode)


def _check_jpeg(data: bytes, item: object) -> None:
    """Refuse JPEG variants that few decoders read, according to the frame's marker and precision."""
    position = 2
    while data[position : position + 1] == b"\xff" and position + 4 < len(data):
        marker, precision = data[position + 1], data[position + 4]
        if (0xC0 <= marker <= 0xCF and marker not in _NO_FRAMES) or marker == 0xF7:
            if precision != 8 or marker in _JPEG_FORMS:
                raise InputError(
                    item,
                    expected="a JPEG of 8 bits, baseline or progressive",
                    found=f"a {precision}-bit {_JPEG_FORMS.get(marker, '')}JPEG, which our decoder does not "
                    "read; the file itself may be sound",
                    next_step="export it again as PNG with the program that wrote it",
                )
            return
        position += 2 + int.from_bytes(data[position + 2 : position + 4])


def _check_parts(data: bytes, item: object, limits: Limits) -> None:
    """Refuse a JPEG with more segments or scans than any program writes: each is short but costs time."""
    position, segments = 2, 0
    while data[position : position + 1] == b"\xff" and data[position + 1 : position + 2] != _SCAN[1:]:
        segments += 1
        if segments > limits.parts:
            raise _too_large(item, f"at most {limits.parts} segments", "more")
        position += 2 + int.from_bytes(data[position + 2 : position + 4])
    # Compressed data never holds these two bytes: a zero follows each 255 in it.
    scans = data.count(_SCAN)
    if scans > limits.scans:
        raise _too_large(item, f"at most {limits.scans} scans", str(scans))


_SCAN = b"\xff\xda"
_NO_FRAMES = (0xC4, 0xC8, 0xCC)  # tables and extensions between the frames' markers
_JPEG_FORMS = {0xC3: "lossless ", 0xC7: "lossless ", 0xCB: "lossless ", 0xCF: "lossless ", 0xF7: "JPEG-LS "}
"""Frame markers of codings other than DCT."""


def _other_format(data: bytes) -> tuple[str, str]:
    """Name the format that the first bytes suggest, and the next step."""
    if data.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer", "fetch the picture itself: git lfs pull"
    if len(data) < _MAX_LINK_BYTES and is_picture(data.decode("utf-8", "replace")):
        return "the text of a symbolic link", "copy the data with its links followed: cp -rL DATA COPY"
    found = "another or no image format"
    if not data:
        found = "an empty file"
    elif data[128:132] == b"DICM":
        found = "a DICOM file"
    elif data[4:8] == b"ftyp":
        found = "a HEIF or AVIF picture, as some telephones write them"
    else:
        found = next((name for start, name in _OTHER_FORMATS if data.startswith(start)), found)
    return found, "convert it to PNG, or fetch it again from its source"


def _check_pixels(item: object, width: int, height: int, limits: Limits) -> None:
    if width * height > limits.pixels:
        raise _too_many_pixels(item, f"{width}x{height} pixels", limits)


def _too_large(item: object, expected: str, found: str) -> InputError:
    return InputError(item, expected=expected, found=found, next_step="store the picture smaller")


def _too_many_pixels(item: object, found: str, limits: Limits) -> InputError:
    return _too_large(item, f"at most {limits.pixels / 1e6:.0f} million pixels", found)
