"""A segmenter's contract: strict, lossless, and one way from stored pixels to tensors and back."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from PIL import Image

from sharekit.errors import InputError
from sharekit.segmenter.contract import METADATA_KEY, SegmenterContract, attach, contract_of

RGB = SegmenterContract(3, (6, 8), (0.5, 0.25, 0.0), (0.5, 0.25, 1.0), "logits", ("polyp",))
GREY = SegmenterContract(1, (4, 4), (0.0,), (1.0,), "probabilities", ("a", "b"), 0.3)

contracts = st.builds(
    SegmenterContract,
    image_channels=st.just(3),
    size=st.tuples(st.integers(1, 4096), st.integers(1, 4096)),
    mean=st.tuples(*[st.floats(-10, 10)] * 3),
    std=st.tuples(*[st.floats(1e-3, 10)] * 3),
    output=st.sampled_from(["logits", "probabilities"]),
    classes=st.lists(
        st.text(st.characters(categories=("L", "N")), min_size=1, max_size=64),
        min_size=1,
        max_size=4,
        unique=True,
    ).map(tuple),
    threshold=st.floats(0.01, 0.99),
)


def model() -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["image"], ["mask"])],
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 4, 4])],
        [helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["batch", 1, 4, 4])],
    )
    return helper.make_model(graph)


@given(contracts)
def test_a_contract_survives_json(contract: SegmenterContract) -> None:
    assert SegmenterContract.from_json(json.loads(json.dumps(contract.to_json()))) == contract


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("image_channels", 2),
        ("image_channels", True),
        ("image_channels", 3.0),
        ("size", [6]),
        ("size", [0, 8]),
        ("size", [6, 5000]),
        ("size", [6.0, 8]),
        ("size", "68"),
        ("mean", [0.5, 0.5]),
        ("mean", [0.5, 0.5, "0"]),
        ("mean", [0.5, 0.5, float("nan")]),
        ("mean", [0.5, 0.5, 10**400]),
        ("std", [0.5, 0.5, 10**400]),
        ("threshold", 10**400),
        ("std", [0.5, 0.5, 0.0]),
        ("std", [0.5, 0.5, float("inf")]),
        ("output", "softmax"),
        ("output", 1),
        ("classes", []),
        ("classes", ["a", "a"]),
        ("classes", [""]),
        ("classes", ["x" * 65]),
        ("classes", ["a\nb"]),
        ("threshold", 0),
        ("threshold", 1.0),
        ("threshold", True),
        ("threshold", None),
    ],
)
def test_a_field_that_makes_no_sense_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"segmenter contract: {field}"):
        SegmenterContract.from_json({**RGB.to_json(), field: value})


@pytest.mark.parametrize("value", [None, [], "contract", {}, {**RGB.to_json(), "extra": 1}])
def test_another_shape_of_json_is_refused(value: Any) -> None:
    with pytest.raises(InputError):
        SegmenterContract.from_json(value)


def test_a_missing_field_is_refused() -> None:
    value = RGB.to_json()
    del value["threshold"]
    with pytest.raises(InputError, match="threshold"):
        SegmenterContract.from_json(value)


def test_pixels_are_scaled_shifted_and_divided_by_channel() -> None:
    pixels = np.broadcast_to(np.array([255, 0, 51], np.uint8), (6, 8, 3))
    prepared = RGB.prepare(np.ascontiguousarray(pixels))
    assert prepared.shape == (3, 6, 8)
    assert prepared.dtype == np.float32
    assert np.allclose(prepared[:, 0, 0], [1.0, -1.0, 0.2])


def test_images_are_resized_by_pillows_bilinear_filter() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (13, 17, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(pixels).resize((8, 6), Image.Resampling.BILINEAR))
    assert np.array_equal(RGB.resize(pixels), expected)


def test_grey_becomes_three_equal_channels_and_rgb_becomes_luma() -> None:
    grey = np.full((4, 4), 100, np.uint8)
    assert np.array_equal(RGB.resize(grey), np.full((6, 8, 3), 100))
    assert np.array_equal(RGB.resize(grey[:, :, None]), RGB.resize(grey))
    red = np.zeros((4, 4, 3), np.uint8)
    red[:, :, 0] = 255
    assert np.array_equal(GREY.resize(red), np.full((4, 4, 1), 76))


@pytest.mark.parametrize(
    "pixels", [np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4), np.float32), np.zeros((0, 4), np.uint8)]
)
def test_other_pixels_are_refused(pixels: np.ndarray) -> None:
    with pytest.raises(InputError):
        RGB.prepare(pixels)


def test_a_mask_is_thresholded_before_it_is_resized() -> None:
    mask = np.kron(np.array([[0, 127], [128, 255]], np.uint8), np.ones((6, 8), np.uint8))
    truth = RGB.prepare_mask(mask)
    assert truth.dtype == np.bool_
    assert np.array_equal(truth, np.repeat([False, True], 3)[:, None] & np.ones((6, 8), bool))


def test_logits_become_probabilities_without_overflow() -> None:
    raw = np.zeros((2, 1, 6, 8), np.float32)
    raw[0, 0, 0, :3] = [-1e4, 1e4, np.log(3)]
    probabilities = RGB.probabilities(raw)
    assert np.allclose(probabilities[0, 0, 0, :4], [0, 1, 0.75, 0.5])
    assert probabilities.dtype == np.float32


def test_probabilities_are_clipped() -> None:
    raw = np.full((1, 2, 4, 4), 1.5, np.float32)
    assert np.array_equal(GREY.probabilities(raw), np.ones_like(raw))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_no_probability(value: float) -> None:
    raw = np.full((1, 2, 4, 4), value, np.float32)
    with pytest.raises(InputError, match="NaN or an infinity"):
        GREY.probabilities(raw)


def test_an_output_of_another_shape_is_refused() -> None:
    with pytest.raises(InputError):
        GREY.probabilities(np.zeros((1, 1, 4, 4), np.float32))


def test_a_model_carries_its_contract_and_nothing_else() -> None:
    carried = model()
    carried.metadata_props.add(key="author", value="somebody")
    attach(carried, replace(GREY, classes=("größe", "b")))
    again = onnx.load_from_string(carried.SerializeToString())
    assert [entry.key for entry in again.metadata_props] == [METADATA_KEY]
    assert contract_of(again, "model") == replace(GREY, classes=("größe", "b"))


@pytest.mark.parametrize("values", [[], ["{"], ["[]"], ["{}", "{}"], ['{"size": 1, "size": 2}']])
def test_a_model_without_one_sound_contract_is_refused(values: list[str]) -> None:
    bare = model()
    for value in values:
        bare.metadata_props.add(key=METADATA_KEY, value=value)
    with pytest.raises(InputError):
        contract_of(bare, "model")
