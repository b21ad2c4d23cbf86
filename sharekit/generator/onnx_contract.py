"""What a generator's ONNX file looks like: versions, metadata, inputs, outputs and operators.

The hospital's exporter and the policy (`onnx_policy`) both follow this module, so they cannot drift apart.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, ValueInfoProto, helper

from sharekit.generator.spec import PADDING, GeneratorSpec

OPSET = 18
IR_VERSION = 8
PRODUCER = "sharekit"
GRAPH_NAME = "generator"
SCHEMA_VERSION = "1"

SCHEMA_VERSION_KEY = "sharekit.schema_version"
SPEC_KEY = "sharekit.spec"

IMAGE = "image"
MASK = "mask"

CONVOLUTIONS = PADDING
"""Unpadded 3x3 convolutions per scale: each removes one of the `PADDING` pixels from every side."""

KERNEL = 3  # pixels, side of every convolution's kernel

PADS: NDArray[np.int64] = np.array([0, 0, PADDING, PADDING, 0, 0, PADDING, PADDING], dtype=np.int64)
"""Padding in ONNX's order: the beginnings of the axes N, C, H, W, then their ends."""

LOWER: NDArray[np.float32] = np.array(-1, dtype=np.float32)
UPPER: NDArray[np.float32] = np.array(1, dtype=np.float32)


@dataclass(frozen=True)
class Operator:
    """One allowed operator. Kinds of values:

    `tensor` is float32 (N, C, H, W), computed or noise; `noise` is a graph input; `size` is the (H, W) of a
    noise map; `weight` (out, in, 3, 3), `bias` (out,) and `scalar` () are float32 initializers; `pads`,
    `split`, `lower` and `upper` are initializers with one allowed value; an empty string is an omitted input.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...] = ("tensor",)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """The required attributes with their values; no others are allowed."""


# Only two operators can enlarge a tensor: Pad, by PADDING, and Resize, to the size of a noise map that the
# caller chose. No operator computes with sizes.
OPERATORS: Mapping[str, Operator] = {
    "Mul": Operator(("scalar", "noise")),
    "Add": Operator(("tensor", "tensor")),
    "Pad": Operator(("tensor", "pads")),
    "Conv": Operator(("tensor", "weight", "bias"), attributes={"kernel_shape": [KERNEL, KERNEL]}),
    "LeakyRelu": Operator(("tensor",), attributes={"alpha": 0.2}),
    "Tanh": Operator(("tensor",)),
    "Shape": Operator(("noise",), ("size",), {"start": 2, "end": 4}),
    "Resize": Operator(
        ("tensor", "", "", "size"),
        attributes={
            "axes": [2, 3],
            "coordinate_transformation_mode": "half_pixel",
            "cubic_coeff_a": -0.75,
            "mode": "cubic",
        },
    ),
    "Clip": Operator(("tensor", "lower", "upper")),
    "Split": Operator(("tensor", "split"), ("tensor", "tensor"), {"axis": 1}),
}


def operator_counts(scales: int) -> Mapping[str, int]:
    """How often each operator occurs in a generator of `scales` scales."""
    joints = scales - 1
    counts = {
        "Mul": scales,
        "Add": 2 * joints,
        "Pad": scales,
        "Conv": CONVOLUTIONS * scales,
        "LeakyRelu": (CONVOLUTIONS - 1) * scales,
        "Tanh": scales,
        "Shape": joints,
        "Resize": joints,
        "Clip": 1,
        "Split": 1,
    }
    return {name: count for name, count in counts.items() if count}


def noise_name(scale: int) -> str:
    """Name of the graph input with the noise of `scale`."""
    return f"noise_{scale}"


def split_sizes(spec: GeneratorSpec) -> NDArray[np.int64]:
    """`(2,)` int64: the number of channels of `image`, then of `mask`."""
    return np.array([spec.layout.image_channels, len(spec.layout.mask_classes)], dtype=np.int64)


def graph_inputs(spec: GeneratorSpec) -> list[ValueInfoProto]:
    """`noise_i`: standard normal float32 `(batch, c_i, height_i, width_i)`; the axes of the finest scale are
    called `height` and `width`, like those of the outputs."""
    finest = len(spec.scales) - 1
    values = []
    for number, scale in enumerate(spec.scales):
        suffix = "" if number == finest else f"_{number}"
        axes: list[str | int | None] = ["batch", scale.noise_channels, f"height{suffix}", f"width{suffix}"]
        values.append(helper.make_tensor_value_info(noise_name(number), TensorProto.FLOAT, axes))
    return values


def graph_outputs(spec: GeneratorSpec) -> list[ValueInfoProto]:
    """`image` and `mask`: float32 `(batch, channels, height, width)` in [-1, 1]."""
    return [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", int(channels), "height", "width"])
        for name, channels in zip((IMAGE, MASK), split_sizes(spec), strict=True)
    ]


def metadata(spec: GeneratorSpec) -> Mapping[str, str]:
    """The only metadata in a file: the version of this contract and the generator's spec."""
    return {
        SCHEMA_VERSION_KEY: SCHEMA_VERSION,
        SPEC_KEY: json.dumps(spec.to_json(), sort_keys=True, separators=(",", ":")),
    }
