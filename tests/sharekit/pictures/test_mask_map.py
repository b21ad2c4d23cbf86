"""Masks of numbers or colours become one mask a class, exactly as a person says, or are refused."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tifffile
from PIL import Image

from sharekit.errors import InputError, UsageError
from sharekit.pictures.decode import Raster, decode
from sharekit.pictures.mask_map import MaskMap
from tests.sharekit.pictures.encoded import encoded

LABELS = np.zeros((30, 40), np.uint8)
LABELS[:10] = 1
LABELS[10:14] = 255
LABELS[20:, 20:] = 2


def raster(pixels, form: str = "PNG", **options) -> Raster:
    return decode(encoded(pixels, form, **options), "x")


def split(text: str, pixels, **options) -> dict[str, np.ndarray]:
    return {
        name: mask > 0 for name, mask in MaskMap.of_numbers(text).split(raster(pixels), "x").masks.items()
    }


def test_numbers_give_one_mask_a_class():
    found = MaskMap.of_numbers("1=polyp,2=instrument,255=ignore").split(raster(LABELS), "x")
    assert list(found.masks) == ["instrument", "polyp"]
    assert np.array_equal(found.masks["polyp"], np.where(LABELS == 1, 255, 0))
    assert np.array_equal(found.masks["instrument"], np.where(LABELS == 2, 255, 0))
    assert found.ignored == pytest.approx(4 / 30)


def test_a_number_that_nobody_named_is_refused_with_it():
    with pytest.raises(InputError, match="found 2, 255"):
        MaskMap.of_numbers("1=polyp").split(raster(LABELS), "x.png")


def test_background_can_be_said_and_zero_can_be_a_class():
    assert np.array_equal(
        split("0=wall,1=background,2=background,255=background", LABELS)["wall"], LABELS == 0
    )


def test_several_numbers_may_be_one_class():
    assert np.array_equal(split("1=tool,2=tool,255=ignore", LABELS)["tool"], (LABELS == 1) | (LABELS == 2))


def test_a_star_is_every_other_number():
    instances = np.arange(1200, dtype=np.uint16).reshape(30, 40) % 700
    assert np.array_equal(split("*=cell", instances)["cell"], instances > 0)
    assert np.array_equal(split("*=cell,255=ignore", LABELS)["cell"], (LABELS > 0) & (LABELS < 255))


def test_16_bit_numbers_can_be_named():
    deep = (LABELS > 0) * np.uint16(65535)
    assert np.array_equal(split("65535=polyp", deep)["polyp"], LABELS > 0)
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, deep, photometric="minisblack", compression="zlib", metadata=None)
    found = MaskMap.of_numbers("65535=polyp").split(decode(buffer.getvalue(), "x"), "x")
    assert np.array_equal(found.masks["polyp"] > 0, LABELS > 0)


def test_numbers_of_a_palette_are_its_indices():
    image = Image.fromarray(LABELS, "P")
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, *([224, 224, 192] * 253)])
    assert np.array_equal(split("1=polyp,2=tool,255=ignore", image)["tool"], LABELS == 2)


COLOURS = np.zeros((48, 64, 3), np.uint8)
COLOURS[:16] = (255, 0, 0)
COLOURS[16:32, :32] = (0, 255, 0)


@pytest.mark.parametrize(("form", "options"), [("PNG", {}), ("JPEG", {"quality": 90, "subsampling": 0})])
def test_colours_give_one_mask_a_class(form, options):
    found = MaskMap.of_colours("#ff0000=polyp,#00FF00=tool").split(raster(COLOURS, form, **options), "x")
    assert np.array_equal(found.masks["polyp"] > 0, COLOURS[:, :, 0] > 127)
    assert np.array_equal(found.masks["tool"] > 0, COLOURS[:, :, 1] > 127)


def test_colours_of_a_palette_are_its_own():
    image = Image.fromarray(COLOURS).quantize(8)
    found = MaskMap.of_colours("ff0000=polyp,00ff00=background").split(raster(image), "x")
    assert np.array_equal(found.masks["polyp"] > 0, COLOURS[:, :, 0] > 127)


def test_white_of_a_grey_mask_is_a_colour():
    found = MaskMap.of_colours("#ffffff=polyp").split(
        raster(np.where(LABELS == 1, 255, 0).astype(np.uint8)), "x"
    )
    assert np.array_equal(found.masks["polyp"] > 0, LABELS == 1)


def test_a_colour_that_nobody_named_is_refused_with_it():
    with pytest.raises(InputError, match="#00ff00"):
        MaskMap.of_colours("#ff0000=polyp").split(raster(COLOURS), "x.png")


def test_a_mask_in_colours_has_no_numbers():
    with pytest.raises(InputError, match="--mask-colour"):
        MaskMap.of_numbers("1=polyp").split(raster(COLOURS), "x.png")


def test_the_order_of_a_map_says_nothing():
    assert MaskMap.of_numbers("2=b, 1=a").text == MaskMap.of_numbers("1=a,2=b").text
    assert MaskMap.of_numbers("1=a").text != MaskMap.of_numbers("1=b").text


@pytest.mark.parametrize(
    "text",
    ["", "1", "1=", "=a", "1=A b", "x=a", "70000=a", "-1=a", "1=a,1=b", "255=ignore", "1=background", "1=_a"],
)
def test_a_map_that_says_nothing_is_wrong_usage(text):
    with pytest.raises(UsageError, match="--mask-map"):
        MaskMap.of_numbers(text)


@pytest.mark.parametrize("text", ["red=a", "#ff00=a", "#ff0000=a,FF0000=b"])
def test_colours_are_six_hexadecimal_digits_each_once(text):
    with pytest.raises(UsageError, match="--mask-colour"):
        MaskMap.of_colours(text)
