"""Decoding: what is taken comes out pixel by pixel; every way a file can be unfit is one named test."""

from __future__ import annotations

import contextlib
import io
import re
import struct
import sys
import time
import tracemalloc
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image, PngImagePlugin

from sharekit.errors import InputError
from sharekit.pictures.decode import LIMITS, Limits, decode, plain_pixels
from sharekit.pictures.orientation import turned
from tests.sharekit.pictures.encoded import chunk, encoded

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (30, 40, 3), dtype=np.uint8)
GREY = RGB[:, :, 0]
ORIENTATION = 0x0112  # EXIF tag


def with_chunk(png: bytes, kind: bytes, data: bytes) -> bytes:
    """`png` with one more chunk after the header."""
    return png[:33] + chunk(kind, data) + png[33:]


def header_only(width: int, height: int, depth: int = 8, colour: int = 2) -> bytes:
    ihdr = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", ihdr) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    )


def decode_image(data: bytes, item: str, limits: Limits = LIMITS) -> np.ndarray:
    """The upright picture of a file."""
    raster = decode(data, item, limits)
    return turned(plain_pixels(raster, item), raster.orientation)


def refused(data: bytes, *words: str, **options) -> InputError:
    with pytest.raises(InputError) as caught:
        decode_image(data, "x.png", **options)
    assert caught.value.item == "x.png"
    for word in words:
        assert word in str(caught.value)
    return caught.value


# -- what is taken


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
@pytest.mark.parametrize("pixels", [RGB, GREY], ids=["RGB", "grey"])
def test_lossless_formats_come_out_pixel_by_pixel(form, pixels):
    assert np.array_equal(decode_image(encoded(pixels, form), "x"), pixels.reshape(30, 40, -1))


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg_comes_out_as_rgb_or_grey(mode):
    smooth = Image.fromarray(RGB).resize((8, 6)).resize((40, 30), Image.Resampling.BICUBIC)
    image = smooth.convert(mode)
    expected = np.asarray(image.convert("L" if mode == "L" else "RGB"), int).reshape(30, 40, -1)
    decoded = decode_image(encoded(image, "JPEG", quality=95, subsampling=0), "x")
    assert decoded.shape == expected.shape
    assert np.abs(decoded - expected).mean() < 4


def test_the_format_is_told_by_content_not_by_name():
    assert decode_image(encoded(RGB, "TIFF"), "x.jpg").shape == RGB.shape


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_opaque_alpha_is_dropped(mode):
    image = Image.fromarray(RGB).convert(mode)
    decoded = decode_image(encoded(image), "x")
    assert np.array_equal(decoded, np.asarray(image)[:, :, :-1])


def test_a_palette_becomes_rgb():
    image = Image.fromarray(RGB).quantize(16)
    assert np.array_equal(decode_image(encoded(image), "x"), np.asarray(image.convert("RGB")))


def test_one_bit_becomes_0_and_255():
    bits = np.where(GREY > 127, np.uint8(255), np.uint8(0))
    decoded = decode_image(encoded(Image.fromarray(bits).convert("1")), "x")
    assert np.array_equal(decoded[:, :, 0], bits)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_exif_orientation_is_applied(orientation, form):
    turned = {
        1: RGB,
        2: RGB[:, ::-1],
        3: RGB[::-1, ::-1],
        4: RGB[::-1],
        5: RGB.transpose(1, 0, 2),
        6: np.rot90(RGB, -1),
        7: np.rot90(RGB, 2).transpose(1, 0, 2),
        8: np.rot90(RGB),
    }
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    assert np.array_equal(decode_image(encoded(RGB, form, exif=exif), "x"), turned[orientation])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["PNG", "TIFF", "JPEG"])
def test_stored_pixels_are_not_turned(orientation, form):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    raster = decode(encoded(RGB, form, exif=exif), "x")
    assert (raster.size, raster.orientation) == ((30, 40), orientation)
    if form != "JPEG":
        assert np.array_equal(raster.samples, RGB)


def test_the_primary_picture_of_a_telephones_mpo_is_taken():
    smooth = Image.fromarray(RGB).resize((8, 6)).resize((40, 30), Image.Resampling.BICUBIC)
    data = encoded(smooth, "MPO", save_all=True, append_images=[smooth.resize((8, 6))], quality=95)
    assert Image.open(io.BytesIO(data)).format == "MPO"
    assert np.abs(decode_image(data, "x").astype(int) - np.asarray(smooth, int)).mean() < 4


@pytest.mark.parametrize("broken", ["checksum", "zlib", "keyword", "compression"])
def test_a_broken_text_costs_no_picture(broken):
    chunks = {
        "checksum": chunk(b"tEXt", b"Comment\0hello")[:-1] + b"?",
        "zlib": chunk(b"zTXt", b"Comment\0\0no deflate stream"),
        "keyword": chunk(b"tEXt", b""),
        "compression": chunk(b"iTXt", b"Comment\0\1\7\0\0x"),
    }
    png = encoded(RGB)
    data = png[:33] + chunks[broken] + png[33:]
    assert np.array_equal(decode_image(data, "x"), RGB)


def test_what_follows_the_end_of_a_png_is_not_read():
    assert np.array_equal(decode_image(encoded(RGB) + b"more", "x"), RGB)


def tiff(*pages: tuple[np.ndarray, dict], **file_options) -> bytes:
    """A TIFF by tifffile: the pixels of every page with its options."""
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer, **file_options) as writer:
        for pixels, options in pages:
            writer.write(pixels, metadata=None, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_colours_that_claim_to_be_grey_are_read(compression, planar):
    """The published TIFFs of CVC-ClinicDB: three samples a pixel, tagged black-is-zero."""
    pixels = RGB if planar == "contig" else RGB.transpose(2, 0, 1)
    data = tiff((pixels, {"photometric": "minisblack", "planarconfig": planar, "compression": compression}))
    with contextlib.suppress(Image.UnidentifiedImageError), Image.open(io.BytesIO(data)) as opened:
        assert opened.mode == "L"  # of three planes one
    assert np.array_equal(decode_image(data, "x"), RGB)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("options", [{}, {"tile": (16, 16)}, {"rowsperstrip": 7}])
@pytest.mark.parametrize("bigtiff", [True, False])
def test_usual_tiffs_of_any_organisation_are_read(compression, options, bigtiff):
    page = (RGB, {"photometric": "rgb", "compression": compression, **options})
    assert np.array_equal(decode_image(tiff(page, bigtiff=bigtiff), "x"), RGB)


def smaller(width: int, height: int) -> np.ndarray:
    return np.asarray(Image.fromarray(RGB).resize((width, height), Image.Resampling.BOX))


@pytest.mark.parametrize("first", [True, False])
def test_a_thumbnail_inside_a_tiff_is_passed_over(first):
    pages = [(smaller(10, 7), {"photometric": "rgb", "subfiletype": 1}), (RGB, {"photometric": "rgb"})]
    assert np.array_equal(decode_image(tiff(*(pages if first else pages[::-1])), "x"), RGB)


def test_a_smaller_copy_that_does_not_say_so_is_a_thumbnail_too():
    data = tiff((RGB, {"photometric": "rgb"}), (smaller(20, 15), {"photometric": "rgb"}))
    assert np.array_equal(decode_image(data, "x"), RGB)


def test_white_is_zero_is_turned_into_grey():
    data = tiff((GREY, {"photometric": "miniswhite"}))
    assert np.array_equal(decode_image(data, "x")[:, :, 0], 255 - GREY)


# -- what is refused


def test_a_truncated_file_is_refused():
    for form in ("PNG", "JPEG", "TIFF"):
        data = encoded(RGB, form)
        refused(data[: len(data) // 2], "broken")


def test_a_png_without_its_end_is_refused():
    refused(encoded(RGB)[:-12], "broken")


def test_a_flipped_bit_in_a_png_is_refused():
    data = bytearray(encoded(RGB))
    data[len(data) // 2] ^= 1
    refused(bytes(data), "broken")


@pytest.mark.parametrize("form", ["GIF", "BMP", "WEBP", "PPM"])
def test_another_format_under_a_png_name_is_refused(form):
    refused(encoded(RGB, form), "PNG, JPEG or TIFF")


@pytest.mark.parametrize("data", [b"", b"GIF", b"%PDF-1.4", b"\x89PNG\r\n\x1a\n"])
def test_no_image_at_all_is_refused(data):
    refused(data)


def test_an_enormous_header_is_refused_before_decoding():
    refused(header_only(2**31 - 1, 2**31 - 1), "64 million pixels")
    refused(header_only(60_000, 60_000), "64 million pixels")


def test_more_pixels_than_the_limit_are_refused_before_decoding():
    refused(header_only(8001, 8000), "8001x8000")
    refused(encoded(RGB), "40x30", limits=Limits(pixels=1199))
    assert decode_image(encoded(RGB), "x", Limits(pixels=1200)).shape == RGB.shape


def test_a_pixel_bomb_is_refused():
    row = b"\0" * (1 + 3 * 20_000)
    packer = zlib.compressobj(9)
    body = b"".join([*(packer.compress(row) for _ in range(5_000)), packer.flush()])
    ihdr = struct.pack(">IIBBBBB", 20_000, 5_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", ihdr) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    assert len(bomb) < 2**20
    refused(bomb, "64 million pixels")


@pytest.mark.parametrize(
    ("kind", "prefix"), [(b"zTXt", b"k\0\0"), (b"iTXt", b"k\0\1\0\0\0"), (b"iCCP", b"k\0\0")]
)
def test_a_text_chunk_bomb_is_refused_or_never_unpacked(kind, prefix):
    data = with_chunk(encoded(RGB), kind, prefix + zlib.compress(b"\0" * (100 * 2**20), 9))
    tracemalloc.start()
    with contextlib.suppress(InputError):
        assert np.array_equal(decode_image(data, "x.png"), RGB)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 * 2**20


def test_a_file_above_the_size_limit_is_refused():
    refused(encoded(RGB), "at most 100 bytes", limits=Limits(file_bytes=100))


def test_an_animated_png_is_refused():
    other = Image.fromarray(RGB[::-1].copy())
    refused(encoded(RGB, save_all=True, append_images=[other]), "several frames")


def test_a_multi_page_tiff_is_refused():
    other = Image.fromarray(RGB[::-1].copy())
    data = encoded(RGB, "TIFF", save_all=True, append_images=[other])
    refused(data, "several frames", "a TIFF of 2 pages", "40x30")


def test_a_small_page_of_something_else_is_a_page():
    other = np.ascontiguousarray(smaller(20, 15)[::-1])
    refused(tiff((RGB, {"photometric": "rgb"}), (other, {"photometric": "rgb"})), "2 pages", "20x15")


def test_a_stack_of_pages_is_not_counted_to_its_end():
    data = tiff(*[(GREY, {"photometric": "minisblack"})] * 70)
    refused(data, "a TIFF of more than 64 pages")


def test_a_page_that_hides_parts_of_the_picture_is_refused():
    data = tiff((RGB, {"photometric": "rgb"}), (GREY > 127, {"photometric": 4, "subfiletype": 4}))
    refused(data, "transparency mask")


def test_a_layout_that_nobody_can_interpret_is_named_and_the_file_not_blamed():
    many = np.dstack([RGB, RGB[:, :, :2]])
    data = tiff((many, {"photometric": "minisblack", "planarconfig": "contig"}))
    error = refused(data, "5 unsigned 8-bit samples a pixel", "black-is-zero", "may be sound")
    assert "broken" not in str(error)


def test_a_compression_that_the_decoders_lack_is_named_and_the_file_not_blamed():
    data = bytearray(tiff((RGB, {"photometric": "rgb", "compression": "zlib"})))
    # The tag says JPEG 2000 instead.
    position = data.index(struct.pack("<HHI", 259, 3, 1))
    data[position + 8 : position + 10] = struct.pack("<H", 34712)
    error = refused(bytes(data), "JPEG 2000", "may be sound")
    assert "broken" not in str(error)


def test_without_tifffile_an_unusual_layout_is_named_with_the_package(monkeypatch):
    data = tiff((RGB, {"photometric": "minisblack", "planarconfig": "contig"}))
    monkeypatch.setitem(sys.modules, "tifffile", None)
    refused(data, "3 unsigned 8-bit samples a pixel, black-is-zero", "pip install 'sharekit[tiff]'")


def test_a_cut_tiff_of_an_unusual_layout_is_broken():
    data = tiff((RGB, {"photometric": "minisblack", "planarconfig": "contig"}))
    refused(data[: len(data) - 900], "broken")


@pytest.mark.parametrize(
    ("marker", "precision", "words"), [(0xC1, 12, "12-bit"), (0xC3, 8, "lossless"), (0xF7, 8, "JPEG-LS")]
)
def test_a_jpeg_that_few_decoders_read_is_named_and_the_file_not_blamed(marker, precision, words):
    data = bytearray(encoded(RGB, "JPEG"))
    position = data.index(b"\xff\xc0")
    data[position + 1], data[position + 4] = marker, precision
    assert "broken" not in str(refused(bytes(data), words, "may be sound"))


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\0" * 128 + b"DICM" + b"\0" * 99, "DICOM"),
        (b"\0\0\0\x18ftypheic" + b"\0" * 99, "HEIF"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"../../store/images/r0.png", "symbolic link"),
        (b"\x1f\x8b\x08" + b"\0" * 99, "NIfTI"),
        (b"", "an empty file"),
    ],
)
def test_what_people_have_instead_of_a_picture_is_named(data, name):
    refused(data, name, "PNG, JPEG or TIFF")


def test_an_unknown_chunk_that_the_pixels_need_is_named():
    data = with_chunk(encoded(RGB), b"CgBI", b"\0\0\0\0")
    assert "broken" not in str(refused(data, "CgBI", "does not know"))


def test_16_bit_grey_is_refused_with_the_way_to_convert():
    deep = Image.fromarray(GREY.astype(np.uint16) * 257)
    for form in ("PNG", "TIFF"):
        refused(encoded(deep, form), "16-bit", "-depth 8")


def deep_rgb(values: np.ndarray) -> bytes:
    """`(H, W, 3)` uint16 as a 16-bit PNG, which Pillow does not write."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    ihdr = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, 2, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", ihdr) + body + chunk(b"IEND", b"")


TWELVE_BITS = np.random.default_rng(1).integers(17, 3713, (30, 40, 3)).astype(np.uint16)


@pytest.mark.parametrize("form", ["grey PNG", "grey TIFF", "RGB PNG", "RGB TIFF", "RGB TIFF, zlib"])
def test_the_advice_for_deep_pictures_is_of_the_files_own_range(form):
    values = TWELVE_BITS if form.startswith("RGB") else TWELVE_BITS[:, :, 0]
    if form == "RGB PNG":
        data = deep_rgb(values)
    elif form.startswith("RGB"):
        data = tiff((values, {"photometric": "rgb", "compression": "zlib" if "zlib" in form else None}))
    else:
        data = encoded(Image.fromarray(values), form.split()[1])
    low, high = values.min(), values.max()
    error = refused(data, f"from {low} to {high}", "uses 12 bits")
    start, end = re.search(r"-level ([\d.]+)%,([\d.]+)% -depth 8", error.next_step).groups()
    # What ImageMagick's -level does: the range becomes black to white, and nothing is clipped.
    assert float(start) * 655.35 == pytest.approx(low, abs=0.01)
    assert float(end) * 655.35 == pytest.approx(high, abs=0.01)


def test_a_deep_picture_of_one_value_has_no_advice_that_would_help():
    error = refused(encoded(Image.fromarray(np.full((30, 40), 700, np.uint16))), "all of the value 700")
    assert "-level" not in error.next_step


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.uint32])
def test_the_range_of_other_samples_is_told_too(dtype):
    values = np.linspace(0, 3000, 1200).reshape(30, 40).astype(dtype)
    if dtype is not np.uint32:
        values = values - dtype(1000)
    data = tiff((values, {"photometric": "minisblack"}))
    refused(data, f"from {values.min():g} to {values.max():g}", "-depth 8")


def test_16_bit_colour_is_refused_though_pillow_opens_it_as_8_bit():
    data = deep_rgb(RGB.astype(np.uint16) * 257)
    assert Image.open(io.BytesIO(data)).mode == "RGB"
    refused(data, "16-bit", "-depth 8")


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_floating_point_and_32_bit_tiff_are_refused_with_the_way_to_convert(dtype):
    refused(encoded(Image.fromarray(GREY.astype(dtype)), "TIFF"), "-depth 8")


def test_signed_8_bit_tiff_is_refused():
    refused(encoded(GREY, "TIFF", tiffinfo={339: 2}), "signed", "-depth 8")


def test_lab_is_refused():
    refused(encoded(Image.fromarray(RGB, "LAB"), "TIFF"), "LAB", "sRGB")


def test_see_through_pixels_are_refused():
    image = Image.fromarray(RGB).convert("RGBA")
    image.putpixel((3, 3), (1, 2, 3, 254))
    refused(encoded(image), "see-through", "alpha remove")


def test_a_transparent_colour_in_use_is_refused():
    pixels = RGB.copy()
    pixels[0, 0] = (1, 2, 3)
    refused(encoded(pixels, transparency=(1, 2, 3)), "see-through")
    palette = Image.fromarray(RGB).quantize(16)
    refused(encoded(palette, transparency=0), "see-through")


def test_errors_name_no_more_than_the_item():
    info = PngImagePlugin.PngInfo()
    info.add_text("Patient", "Jane Doe")
    data = encoded(RGB, pnginfo=info)
    assert "Jane" not in str(refused(data[: len(data) // 2]))


# What costs far more than its bytes


@pytest.mark.parametrize("kind", [b"IDAT", b"prVt", b"tEXt"])
def test_a_png_of_very_many_chunks_is_refused_before_they_are_read(kind: bytes) -> None:
    png = encoded(GREY)
    at = png.index(b"IDAT") - 4
    few, many = (png[:at] + chunk(kind, b"") * count + png[at:] for count in (50, LIMITS.parts))
    assert decode(few, "x").samples.shape == GREY.shape
    started = time.process_time()
    with pytest.raises(InputError, match="at most 65536 chunks"):
        decode(many, "x")
    assert time.process_time() - started < 3


def test_a_jpeg_of_very_many_segments_is_refused_before_they_are_read() -> None:
    jpeg = encoded(GREY, "JPEG")
    few, many = (jpeg[:2] + b"\xff\xfe\0\2" * count + jpeg[2:] for count in (50, LIMITS.parts))
    assert decode(few, "x").samples.shape == GREY.shape
    with pytest.raises(InputError, match="at most 65536 segments"):
        decode(many, "x")


def test_a_jpeg_of_very_many_scans_is_refused() -> None:
    """A scan of a hundred bytes is a pass over all pixels: a megabyte of them takes minutes."""
    jpeg = encoded(GREY, "JPEG", progressive=True)
    last = jpeg.rfind(b"\xff\xda")
    assert jpeg.count(b"\xff\xda") < LIMITS.scans / 10
    few, many = (jpeg[:-2] + jpeg[last:-2] * count + jpeg[-2:] for count in (20, LIMITS.scans))
    assert decode(few, "x").samples.shape == GREY.shape
    with pytest.raises(InputError, match="at most 200 scans"):
        decode(many, "x")
