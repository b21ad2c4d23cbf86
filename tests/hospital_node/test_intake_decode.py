"""Decoding: what is taken comes out pixel by pixel; every way a file can be unfit is one named test."""

from __future__ import annotations

import contextlib
import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from hospital_node.intake.decode import Limits, check_same_size, decode_image, decode_mask
from sharekit.errors import InputError

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (30, 40, 3), dtype=np.uint8)
GREY = RGB[:, :, 0]
MASK = np.zeros((30, 40), np.uint8)
MASK[5:20, 10:30] = 255
ORIENTATION = 0x0112  # EXIF tag


def encoded(pixels, form: str = "PNG", mode: str | None = None, **options) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels, mode)
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_chunk(png: bytes, kind: bytes, data: bytes) -> bytes:
    """`png` with one more chunk after the header."""
    return png[:33] + chunk(kind, data) + png[33:]


def header_only(width: int, height: int, depth: int = 8, colour: int = 2) -> bytes:
    ihdr = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", ihdr) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    )


def refused(data: bytes, *words: str, decode=decode_image, **options) -> InputError:
    with pytest.raises(InputError) as caught:
        decode(data, "x.png", **options)
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
    decoded = decode_image(encoded(Image.fromarray(MASK).convert("1")), "x")
    assert np.array_equal(decoded[:, :, 0], MASK)


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


def test_a_mask_is_cut_at_127():
    mask = MASK.copy()
    mask[0, :8] = [0, 20, 60, 127, 128, 200, 240, 255]
    expected = MASK.copy()
    expected[0, 4:8] = 255
    assert np.array_equal(decode_mask(encoded(mask), "x"), expected)


def test_jpeg_ringing_in_a_mask_is_taken():
    large = np.asarray(Image.fromarray(MASK).resize((400, 300), Image.Resampling.NEAREST))
    assert np.array_equal(decode_mask(encoded(large, "JPEG", quality=75), "x"), large)


def test_a_grey_valued_rgb_mask_is_taken():
    assert np.array_equal(decode_mask(encoded(np.dstack([MASK] * 3)), "x"), MASK)


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
    refused(encoded(RGB, "TIFF", save_all=True, append_images=[other]), "several frames")


def test_16_bit_grey_is_refused_with_the_way_to_convert():
    deep = Image.fromarray(GREY.astype(np.uint16) * 257)
    for form in ("PNG", "TIFF"):
        refused(encoded(deep, form), "16-bit", "-depth 8")


def test_16_bit_colour_is_refused_though_pillow_opens_it_as_8_bit():
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in RGB)
    ihdr = struct.pack(">IIBBBBB", 40, 30, 16, 2, 0, 0, 0)
    data = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", ihdr)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
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


def test_a_short_side_below_25_pixels_is_refused():
    refused(encoded(RGB[:24]), "at least 25 pixels", "40x24")
    assert decode_image(encoded(RGB[:25]), "x").shape == (25, 40, 3)


def test_an_empty_mask_is_refused():
    refused(encoded(np.zeros_like(MASK)), "some foreground", decode=decode_mask)


def test_a_mask_without_background_is_refused():
    refused(encoded(np.full_like(MASK, 255)), "some background", decode=decode_mask)


def test_a_mask_of_0_and_1_is_refused_with_the_way_to_convert():
    refused(encoded((MASK > 0).astype(np.uint8)), "multiply", "255", decode=decode_mask)


def test_a_grey_picture_as_a_mask_is_refused():
    refused(encoded(GREY), "between 64 and 191", decode=decode_mask)


def test_a_stray_fraction_of_greys_is_the_limit():
    mask = MASK.copy()
    mask[0, :12] = 100  # 1 % of 1200 pixels
    assert np.array_equal(decode_mask(encoded(mask), "x"), MASK)
    mask[0, 12] = 100
    refused(encoded(mask), "1.1%", decode=decode_mask)


def test_a_coloured_mask_is_refused():
    coloured = np.zeros_like(RGB)
    coloured[:4, :4] = (255, 0, 0)
    refused(encoded(coloured), "coloured", "masks/CLASS", decode=decode_mask)


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(InputError, match="40x30"):
        check_same_size(RGB, MASK[:-1], "x")
    check_same_size(RGB, MASK, "x")


def test_errors_name_no_more_than_the_item():
    info = PngImagePlugin.PngInfo()
    info.add_text("Patient", "Jane Doe")
    data = encoded(RGB, pnginfo=info)
    assert "Jane" not in str(refused(data[: len(data) // 2]))
