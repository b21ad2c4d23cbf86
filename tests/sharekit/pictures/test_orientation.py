"""A picture and its mask lie the same way, or a person says which way."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from sharekit.errors import InputError
from sharekit.pictures.orientation import (
    OrientationError,
    SizeError,
    Stored,
    Turn,
    agreement,
    check_same_size,
    turned,
    turned_back,
)

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def agree(
    image: tuple[int, int, int], mask: tuple[int, int, int], choice: Turn | None = None
) -> tuple[int, int]:
    """Orientation, height and width of each."""
    turn, turns = agreement(
        Stored("images/a.jpg", image[0], image[1:]),
        {"polyp": Stored("masks/a.png", mask[0], mask[1:])},
        choice,
        "ask",
    )
    return turn, turns["polyp"]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turning_is_what_pillow_does_and_can_be_undone(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, "PNG", exif=exif)
    with Image.open(buffer) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    assert np.array_equal(turned(PIXELS, orientation), expected)
    assert np.array_equal(turned_back(turned(PIXELS, orientation), orientation), PIXELS)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_equal_orientations_are_applied_to_both(orientation):
    assert agree((orientation, 30, 40), (orientation, 30, 40)) == (orientation, orientation)


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("turned_file", ["image", "mask"])
def test_one_alone_is_never_turned_on_a_square_picture(orientation, turned_file):
    one, other = (orientation, 40, 40), (1, 40, 40)
    with pytest.raises(OrientationError) as caught:
        agree(one, other) if turned_file == "image" else agree(other, one)
    assert caught.value.item == "masks/a.png"
    assert "images/a.jpg" in caught.value.expected


@pytest.mark.parametrize("orientation", [2, 3, 4])
def test_half_turns_and_mirrors_never_tell_by_their_size(orientation):
    with pytest.raises(OrientationError, match=f"{orientation} "):
        agree((orientation, 30, 40), (1, 30, 40))


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_quarter_turn_tells_by_its_size(orientation):
    """A mask that fits the picture as shown alone was drawn on that."""
    assert agree((orientation, 30, 40), (1, 40, 30)) == (orientation, 1)
    with pytest.raises(OrientationError):
        agree((orientation, 30, 40), (1, 30, 40))


@pytest.mark.parametrize(
    ("choice", "turns"), [(Turn.BOTH, (3, 3)), (Turn.IMAGE, (3, 1)), (Turn.NEITHER, (1, 1))]
)
def test_a_person_can_say_what_was_meant(choice, turns):
    assert agree((3, 30, 40), (1, 30, 40), choice) == turns


def test_both_turns_the_picture_with_a_mask_that_has_the_tag():
    assert agree((1, 30, 40), (3, 30, 40), Turn.BOTH) == (3, 3)
    assert agree((3, 30, 40), (4, 30, 40), Turn.BOTH) == (3, 4)


def test_sizes_are_compared_once_both_are_turned():
    with pytest.raises(SizeError, match="40x30"):
        agree((6, 40, 30), (1, 40, 30), Turn.IMAGE)
    with pytest.raises(InputError, match="40x30"):
        check_same_size((30, 40), (29, 40), "x")
    check_same_size((30, 40), (30, 40), "x")
