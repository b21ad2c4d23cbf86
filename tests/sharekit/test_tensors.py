"""The tensor contract."""

from __future__ import annotations

import numpy as np
import pytest

from sharekit.generator.spec import GeneratorSpec, Scale
from sharekit.generator.tensors import (
    ChannelLayout,
    binarise,
    mask_probability,
    pixels_to_tensor,
    probability_to_mask,
    tensor_to_pixels,
)

EVERY_GREY = np.arange(256, dtype=np.uint8).reshape(16, 16)
LAYOUTS = [ChannelLayout(3, ("polyp",)), ChannelLayout(1, ("nucleus", "border"))]


@pytest.mark.parametrize("shape", [(16, 16), (16, 16, 1), (16, 4, 4), (8, 8, 4)])
def test_every_pixel_survives_the_way_to_a_tensor_and_back(shape: tuple[int, ...]) -> None:
    pixels = EVERY_GREY.reshape(shape)
    tensor = pixels_to_tensor(pixels)
    assert tensor.dtype == np.float32
    assert (tensor.min(), tensor.max()) == (-1, 1)
    np.testing.assert_array_equal(tensor_to_pixels(tensor).reshape(shape), pixels)


def test_channels_come_first_and_keep_their_order() -> None:
    pixels = np.zeros((2, 3, 4), np.uint8)
    pixels[:, :, 2] = 255
    tensor = pixels_to_tensor(pixels)
    assert tensor.shape == (4, 2, 3)
    assert [channel.max() for channel in tensor] == [-1, -1, 1, -1]


def test_values_outside_the_range_are_clipped() -> None:
    tensor = np.array([-9, 9], np.float32).reshape(1, 1, 2)
    assert tensor_to_pixels(tensor).ravel().tolist() == [0, 255]


def test_a_mask_is_foreground_above_127() -> None:
    np.testing.assert_array_equal(binarise(EVERY_GREY) == 255, EVERY_GREY > 127)


def test_a_stored_mask_survives_the_way_through_a_probability() -> None:
    mask = binarise(EVERY_GREY)
    probability = mask_probability(pixels_to_tensor(mask)[0])
    assert set(np.unique(probability)) == {0, 1}
    np.testing.assert_array_equal(probability_to_mask(probability), mask)


def test_a_probability_of_one_half_is_background() -> None:
    assert probability_to_mask(np.array([0.5, 0.5001], np.float32)).tolist() == [0, 255]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_survives_the_round_trip(layout: ChannelLayout) -> None:
    assert ChannelLayout.from_json(layout.to_json()) == layout
    assert layout.channels == layout.image_channels + len(layout.mask_classes)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_specification_survives_the_round_trip(layout: ChannelLayout) -> None:
    spec = GeneratorSpec("0" * 32, layout, (Scale(25, 30, 1), Scale(50, 61, layout.channels)))
    assert GeneratorSpec.from_json(spec.to_json()) == spec


def test_another_size_stretches_every_scale_alike() -> None:
    spec = GeneratorSpec("0" * 32, LAYOUTS[0], (Scale(25, 30, 1), Scale(50, 60, 4)))
    assert spec.resized(50, 60) == spec
    assert [scale.noise_shape for scale in spec.resized(100, 30).scales] == [(1, 50, 15), (4, 100, 30)]
