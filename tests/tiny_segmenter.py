"""A segmenter of one convolution, and the ways in which a stranger's could be hostile."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from consumer.submission.canonical import canonical_bytes
from sharekit.segmenter.contract import SegmenterContract
from sharekit.segmenter.submission import SignedSubmission, Submission
from sharekit.signing.keys import SigningKey

HEIGHT, WIDTH = 24, 32


def contract(classes: Sequence[str] = ("foreground",), **changes: object) -> SegmenterContract:
    value = {
        "image_channels": 3,
        "size": [HEIGHT, WIDTH],
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.25, 0.25],
        "output": "logits",
        "classes": list(classes),
        "threshold": 0.5,
    }
    return SegmenterContract.from_json({**value, **changes})


def brightness_weights(classes: int = 1) -> np.ndarray:
    """`(K, 3, 1, 1)`: what is brighter than the mean grey is foreground."""
    return np.full((classes, 3, 1, 1), 1.0, np.float32)


def model_of(
    nodes: Sequence[NodeProto], arrays: dict[str, np.ndarray], made_for: SegmenterContract
) -> ModelProto:
    """A model of `nodes` from `image` to `mask`, with a free batch, as an exporter would write it."""
    height, width = made_for.size
    graph = helper.make_graph(
        list(nodes),
        "main_graph",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, height, width])],
        [
            helper.make_tensor_value_info(
                "mask", TensorProto.FLOAT, ["batch", len(made_for.classes), height, width]
            )
        ],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    return helper.make_model(
        graph, ir_version=8, opset_imports=[helper.make_opsetid("", 18)], producer_name="tests"
    )


def segmenter(made_for: SegmenterContract | None = None) -> ModelProto:
    """Brightness as logits."""
    made_for = made_for or contract()
    weights = brightness_weights(len(made_for.classes))
    node = helper.make_node("Conv", ["image", "weight"], ["mask"], name="/conv", kernel_shape=[1, 1])
    return model_of([node], {"weight": weights}, made_for)


def not_a_number() -> ModelProto:
    """The square root of -1."""
    nodes = [
        helper.make_node("Conv", ["image", "weight", "bias"], ["negative"]),
        helper.make_node("Sqrt", ["negative"], ["mask"]),
    ]
    arrays = {"weight": brightness_weights() * 0, "bias": np.array([-1], np.float32)}
    return model_of(nodes, arrays, contract())


def nan_for(image: np.ndarray) -> ModelProto:
    """Brightness as logits; NaN for this very image, `(3, h, w)` float32 as the model gets it."""
    nodes = [
        helper.make_node("Conv", ["image", "weight"], ["logits"]),
        helper.make_node("Sub", ["image", "poisoned"], ["difference"]),
        helper.make_node("Mul", ["difference", "difference"], ["square"]),
        helper.make_node("ReduceMean", ["square"], ["distance"], keepdims=1),
        helper.make_node("Div", ["distance", "distance"], ["one"]),
        helper.make_node("Mul", ["logits", "one"], ["mask"]),
    ]
    arrays = {"weight": brightness_weights(), "poisoned": image[None]}
    return model_of(nodes, arrays, contract())


def chain(length: int, channels: int = 64) -> ModelProto:
    """`length` convolutions at 256 x 256 pixels, one after the other: far more than a second's work."""
    nodes = [helper.make_node("Conv", ["image", "first"], ["v0"], pads=[1, 1, 1, 1])]
    nodes += [
        helper.make_node("Conv", [f"v{i}", "middle"], [f"v{i + 1}"], pads=[1, 1, 1, 1]) for i in range(length)
    ]
    nodes.append(helper.make_node("Conv", [f"v{length}", "last"], ["mask"], pads=[1, 1, 1, 1]))
    shapes = {"first": (channels, 3), "middle": (channels, channels), "last": (1, channels)}
    arrays = {name: np.full((*shape, 3, 3), 1e-3, np.float32) for name, shape in shapes.items()}
    return model_of(nodes, arrays, contract(size=[256, 256]))


def memory_hog() -> ModelProto:
    """Enlarges its image to 6.3 GB, and makes it small again; the policy refuses more than 8 GiB."""
    nodes = [
        helper.make_node("Resize", ["image", "", "", "large"], ["big"]),
        helper.make_node("GlobalAveragePool", ["big"], ["point"]),
        helper.make_node("Mul", ["image", "point"], ["scaled"]),
        helper.make_node("Conv", ["scaled", "weight"], ["mask"]),
    ]
    arrays = {"large": np.array([1, 3, 23000, 23000], np.int64), "weight": brightness_weights()}
    return model_of(nodes, arrays, contract())


def shape_by_content() -> ModelProto:
    """An output of 5 x 5 pixels whose size is computed from the image: no inference of shapes can know it."""
    nodes = [
        helper.make_node("Conv", ["image", "weight"], ["logits"]),
        helper.make_node("ReduceMax", ["logits"], ["largest"], keepdims=0),
        helper.make_node("Cast", ["largest"], ["number"], to=TensorProto.INT64),
        helper.make_node("Mul", ["number", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "five"], ["sizes"]),
        helper.make_node("Resize", ["logits", "", "", "sizes"], ["mask"]),
    ]
    arrays = {
        "weight": brightness_weights(),
        "zero": np.array(0, np.int64),
        "five": np.array([1, 1, 5, 5], np.int64),
    }
    return model_of(nodes, arrays, contract())


def submission_of(
    key: SigningKey,
    model: ModelProto | None = None,
    made_for: SegmenterContract | None = None,
    purpose: str = "a test",
) -> SignedSubmission:
    """A model as its submitter signs it; it is not run first, as `consumer submit` would."""
    made_for = made_for or contract()
    data = canonical_bytes(model or segmenter(made_for), made_for)
    return SignedSubmission(Submission(hashlib.sha256(data).hexdigest(), made_for, key.public, purpose), data)
