"""A mask's set of values decides what is a mask, and a refusal says what the file looks like instead."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from sharekit.pictures.decode import decode
from sharekit.pictures.masks import MaskError, MaskKind, MaskReading, read_mask
from tests.sharekit.pictures.encoded import chunk, encoded

MASK = np.zeros((30, 40), np.uint8)
MASK[5:20, 10:30] = 255


def read(pixels, form: str = "PNG", **options) -> MaskReading:
    return read_mask(decode(encoded(pixels, form, **options), "x"))


def drawn(height: int, width: int, values: tuple[int, ...] = (255,), seed: int = 0) -> np.ndarray:
    """Overlapping ellipses of these values on 0, the first value last and so always seen."""
    random = np.random.default_rng(seed)
    image = Image.new("L", (width, height))
    pen = ImageDraw.Draw(image)
    for value in reversed(values):
        x, y = random.uniform(0.1, 0.5, 2) * (width, height)
        pen.ellipse((x, y, x + 0.4 * width, y + 0.4 * height), fill=value)
    return np.asarray(image)


def refused(pixels, kind: MaskKind, *words: str, form: str = "PNG", options: bool = True) -> None:
    reading = read(pixels, form)
    assert reading.kind is kind, reading
    error = reading.refusal("x.png", options=options)
    assert isinstance(error, MaskError)
    assert error.reading is reading
    for word in words:
        assert word in str(error)


# -- masks


def test_a_mask_is_cut_at_127():
    mask = MASK.copy()
    mask[0, :8] = [0, 20, 60, 127, 128, 200, 240, 255]
    expected = MASK.copy()
    expected[0, 4:8] = 255
    assert np.array_equal(read(mask).mask, expected)


def test_jpeg_ringing_in_a_mask_is_taken():
    large = np.asarray(Image.fromarray(MASK).resize((400, 300), Image.Resampling.NEAREST))
    assert np.array_equal(read(large, "JPEG", quality=75).mask, large)


@pytest.mark.parametrize("quality", [10, 30, 50, 75, 90, 95, 98, 100])
@pytest.mark.parametrize("seed", range(3))
def test_lossy_compressions_noise_is_taken_even_when_it_was_stored_without_loss(quality, seed):
    mask = drawn(200, 300, seed=seed)
    with Image.open(io.BytesIO(encoded(mask, "JPEG", quality=quality))) as image:
        noisy = np.asarray(image)
    assert len(np.unique(noisy)) > 2
    for reading in (read(mask, "JPEG", quality=quality), read(noisy)):
        assert reading.kind is MaskKind.BINARY
        assert np.mean(reading.mask != mask) < 0.005


@pytest.mark.parametrize("method", [Image.Resampling.BILINEAR, Image.Resampling.LANCZOS])
def test_soft_edges_are_taken(method):
    soft = np.asarray(Image.fromarray(drawn(600, 800)).resize((400, 300), method))
    assert read(soft).kind is MaskKind.BINARY


def test_a_mask_of_0_and_1_is_a_mask():
    reading = read(MASK // 255)
    assert (reading.kind, reading.values, reading.exact) == (MaskKind.BINARY, (0, 1), False)
    assert np.array_equal(reading.mask, MASK)


@pytest.mark.parametrize("mode", ["1", "RGB", "RGBA", "LA", "P"])
def test_black_and_white_in_any_form_is_a_mask(mode):
    image = Image.fromarray(MASK).convert(mode)
    assert np.array_equal(read(image).mask, MASK)
    assert read(image).exact


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("top", [True, False])
def test_samples_of_few_bits_are_read_as_numbers(bits, top):
    """In two bits white is 3, and a map of 0 and 1 holds 1, which a viewer shows as dark grey."""
    values = (MASK > 0) * np.uint8(2**bits - 1 if top else 1)
    image = Image.frombytes("P", MASK.shape[::-1], values.tobytes())
    image.putpalette([level for grey in range(2**bits) for level in [grey * 255 // (2**bits - 1)] * 3])
    data = encoded(image, bits=bits)
    # Colour type grey (0) instead of palette (3), and no palette: Pillow writes no such file itself.
    header = data[16:25] + b"\0" + data[26:29]
    grey = data[:8] + chunk(b"IHDR", header) + data[data.index(b"IDAT") - 4 :]
    reading = read_mask(decode(grey, "x"))
    assert (reading.kind, np.array_equal(reading.mask, MASK)) == (MaskKind.BINARY, True)


def test_black_and_white_by_a_palette_is_read_by_its_colours():
    """An inverted palette: index 0 is white."""
    image = Image.fromarray((MASK == 0).astype(np.uint8), "P")
    image.putpalette([255, 255, 255, 0, 0, 0])
    assert np.array_equal(read(image).mask, MASK)


# -- what is empty or full


def test_an_empty_mask_is_told():
    refused(MASK * 0, MaskKind.EMPTY, "some foreground", "--allow-empty-masks")
    assert "--allow-empty-masks" not in str(read(MASK * 0).refusal("x"))


def test_a_mask_without_background_is_told():
    refused(np.full_like(MASK, 255), MaskKind.FULL, "some background")


@pytest.mark.parametrize("value", [1, 7, 100, 128, 200])
def test_a_mask_of_one_odd_value_is_refused(value):
    refused(np.full_like(MASK, value), MaskKind.CONSTANT, f"the value {value} everywhere")


# -- what is no mask


@pytest.mark.parametrize(
    "values",
    [(1, 255), (5, 6, 255), (50, 255), (12, 40, 200, 230), (1, 2), (1, 2, 3), (128,), (2,), (12,), (200,)],
    ids=str,
)
@pytest.mark.parametrize("size", [(30, 40), (300, 400)], ids=str)
def test_class_and_instance_numbers_are_refused_with_their_values(values, size):
    refused(drawn(*size, values), MaskKind.NUMBERS, "masks/CLASS", "--mask-map", f"{values[0]} (")


@pytest.mark.parametrize("width", [2, 3, 5])
@pytest.mark.parametrize(("inside", "ring"), [(1, 255), (255, 1), (255, 50)])
def test_a_ring_of_uncertain_pixels_is_refused(width, inside, ring):
    image = Image.new("L", (64, 48))
    ImageDraw.Draw(image).ellipse((10, 8, 50, 40), fill=inside, outline=ring, width=width)
    refused(image, MaskKind.NUMBERS, "void")


def test_void_pixels_are_called_so():
    refused(drawn(48, 64, (1, 2, 255)), MaskKind.NUMBERS, "class numbers, with 255 perhaps for uncertain")


def test_many_numbers_are_called_instances():
    labels = np.repeat(np.repeat(np.arange(1, 26, dtype=np.uint8).reshape(5, 5), 8, 0), 8, 1)
    refused(np.pad(labels, 8), MaskKind.NUMBERS, "instance numbers")


def test_class_numbers_in_the_red_channel_alone_are_refused():
    labels = drawn(30, 40, (1, 2))
    refused(np.dstack([labels, labels * 0, labels * 0]), MaskKind.NUMBERS)


def test_class_numbers_with_a_palette_of_one_colour_are_refused():
    image = Image.fromarray(drawn(30, 40, (1, 2)), "P")
    image.putpalette([0, 0, 0] * 256)
    refused(image, MaskKind.NUMBERS)


def test_a_grey_picture_as_a_mask_is_refused():
    noise = np.random.default_rng(0).integers(0, 256, (30, 40), dtype=np.uint8)
    refused(noise, MaskKind.GREY, "between 64 and 191")


def test_a_dark_picture_is_no_empty_mask():
    noise = np.random.default_rng(0).integers(0, 60, (30, 40), dtype=np.uint8)
    noise[:10] = 0
    refused(noise, MaskKind.GREY, "no value above 59")


def test_a_stray_fraction_of_greys_is_the_limit():
    mask = MASK.copy()
    mask[0, :12] = 100  # 1 % of 1200 pixels
    assert np.array_equal(read(mask).mask, MASK)
    mask[0, 12] = 100
    refused(mask, MaskKind.NUMBERS, "1.1%")


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_a_coloured_mask_is_refused_with_its_colours(form):
    coloured = np.zeros((48, 64, 3), np.uint8)
    coloured[:16, :16] = (255, 0, 0)
    words = ("coloured", "masks/CLASS", "--mask-colour", *(("#ff0000",) if form == "PNG" else ()))
    refused(coloured, MaskKind.COLOURED, *words, form=form)


def test_colours_of_a_palette_are_refused_as_colours():
    image = Image.fromarray(drawn(48, 64, (1, 2)), "P")
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    refused(image, MaskKind.COLOURED, "#800000")


@pytest.mark.parametrize("value", [1, 255, 65535])
@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_a_16_bit_mask_is_refused_with_advice_for_masks(value, form):
    deep = (MASK > 0) * np.uint16(value)
    refused(deep, MaskKind.DEEP, "16-bit", f"{value} (25.0%)", "-threshold 0 -depth 8", form=form)


def test_a_mask_in_the_alpha_channel_is_named():
    image = np.dstack([np.full((*MASK.shape, 3), 200, np.uint8), MASK])
    refused(image, MaskKind.SEE_THROUGH, "the alpha channel itself", "-alpha extract")


def test_without_the_options_they_are_not_advised():
    for pixels in (drawn(48, 64, (1, 2)), MASK * 0, (MASK > 0) * np.uint16(9)):
        assert "--" not in str(read(pixels).refusal("x"))


# -- real masks


@pytest.mark.real_data
def test_real_masks_are_all_masks(kvasir_seg, dsb2018_nuclei):
    for folder in (kvasir_seg, dsb2018_nuclei):
        for path in sorted((folder / "masks").iterdir())[::8]:
            assert read_mask(decode(path.read_bytes(), path)).kind is MaskKind.BINARY
