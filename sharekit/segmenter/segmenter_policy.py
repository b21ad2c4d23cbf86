"""May a stranger's segmentation model be loaded? Checks it against allowed fields, operators and sizes.

All parts of a generator are known beforehand (`onnx_policy`), but a segmenter may be any network of these
operators. None of them runs a subgraph, draws random numbers or reads a file. This module bounds the cost by
declared shapes; the process that runs the model limits the cost that depends on the picture.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto, helper

from sharekit.generator.cost import CostLimits
from sharekit.segmenter.contract import INPUT_NAME, METADATA_KEY, OUTPUT_NAME, SegmenterContract
from sharekit.segmenter.segmenter_cost import least_cost
from sharekit.storage import onnx_bytes
from sharekit.storage.budget import Budget
from sharekit.storage.onnx_bytes import refuse

GRAPH_NAME = "segmenter"
MAX_BYTES = 256 * 2**20
BUDGET = Budget(MAX_BYTES, max_nodes=2**19, max_depth=16)
MAX_SIDE = 1024  # pixels
MAX_PARTS = 8192
"""Most nodes, initializers, inputs or outputs, each; UNet++ on SE-ResNeXt-50 has some thousand nodes."""
MAX_AXES = 6
MAX_LENGTH = 2**26  # of an axis of an initializer
MAX_METADATA_CHARACTERS = 2**13
MAX_INTEGERS = 64  # of an attribute
COST_LIMITS = CostLimits(memory=8 * 2**30, multiply_adds=10**13)
"""For one image; UNet++ on SE-ResNeXt-50 at 1024x1024 pixels takes a tenth of both."""
IR_VERSIONS = range(7, 14)
OPSETS = range(11, 25)

_OPERATORS = """
    Add ArgMax AveragePool BatchNormalization Cast Ceil Clip Concat Conv ConvTranspose DepthToSpace
    Div Elu Equal Erf Exp Flatten Floor Gather Gelu Gemm GlobalAveragePool GlobalMaxPool
    GroupNormalization HardSigmoid HardSwish Identity InstanceNormalization LayerNormalization
    LeakyRelu Log LogSoftmax MatMul Max MaxPool Min Mish Mul Neg PRelu Pad Pow Reciprocal ReduceMax
    ReduceMean ReduceSum Relu Reshape Resize Selu Shape Sigmoid Slice Softmax Softplus SpaceToDepth
    Split Sqrt Squeeze Sub Tanh Transpose Unsqueeze Where
"""
OPERATORS = frozenset(_OPERATORS.split())
"""Allowed operators of the default domain. `Constant` is not allowed: only initializers are checked."""

DTYPES: Mapping[int, np.dtype] = {
    TensorProto.FLOAT: np.dtype("<f4"),
    TensorProto.INT64: np.dtype("<i8"),
    TensorProto.INT32: np.dtype("<i4"),
    TensorProto.BOOL: np.dtype("?"),
}

_FIELDS = onnx_bytes.fields(
    ModelProto="ir_version opset_import graph metadata_props",
    OperatorSetIdProto="domain version",
    StringStringEntryProto="key value",
    GraphProto="name node initializer input output",
    NodeProto="op_type input output attribute",
    AttributeProto="name type f i s floats ints",
    TensorProto="name dims data_type raw_data",
    ValueInfoProto="name type",
    TypeProto="tensor_type",
    Tensor="elem_type shape",
    TensorShapeProto="dim",
    Dimension="dim_value",
)


def metadata_value(contract: SegmenterContract) -> str:
    """The contract in its canonical encoding, the only metadata of the file."""
    return json.dumps(contract.to_json(), sort_keys=True, separators=(",", ":"))


def graph_input(contract: SegmenterContract) -> ValueInfoProto:
    """`image`: float32 `(1, C, h, w)`; the batch is one image, so that all shapes are known."""
    shape = [1, contract.image_channels, *contract.size]
    return helper.make_tensor_value_info(INPUT_NAME, TensorProto.FLOAT, shape)


def graph_output(contract: SegmenterContract) -> ValueInfoProto:
    """`mask`: float32 `(1, K, h, w)`, one channel per class."""
    shape = [1, len(contract.classes), *contract.size]
    return helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, shape)


def check_segmenter(data: bytes, item: object, contract: SegmenterContract) -> None:
    """Refuse `data` unless it is a segmenter's ONNX file within the limits above.

    Args:
        data: the very bytes that will be loaded.
        item: name of the file in error messages.
        contract: the contract in the submission; the file must state the same.

    Raises:
        VerificationError: the file breaks a rule; the error names the first one.
    """
    with onnx_bytes.rules(item, "do not load this file; pack the model again with `consumer submit`"):
        if max(contract.size) > MAX_SIDE:
            refuse(f"sides of at most {MAX_SIDE} px", "{}x{}".format(*reversed(contract.size)))
        model = onnx_bytes.parse(data, BUDGET)
        onnx_bytes.check_counts(model, MAX_PARTS)
        onnx_bytes.check_fields(model, "model", _FIELDS)
        _check_header(model)
        entries = onnx_bytes.metadata_of(model, frozenset({METADATA_KEY}), MAX_METADATA_CHARACTERS)
        if entries[METADATA_KEY] != metadata_value(contract):
            refuse("the contract of the submission in the file's metadata", "another")
        _check_interface(model.graph, contract)
        _check_operators(model.graph)
        _check_initializers(model.graph)
        onnx_bytes.check_by_onnx(model)
        excess = COST_LIMITS.excess(least_cost(model))
        if excess is not None:
            refuse(f"an image that needs {excess[0]}", f"{excess[1]} at least")


def _check_header(model: ModelProto) -> None:
    if model.ir_version not in IR_VERSIONS:
        refuse(f"an IR version from {IR_VERSIONS[0]} to {IR_VERSIONS[-1]}", str(model.ir_version))
    opsets = [(entry.domain, entry.version) for entry in model.opset_import]
    if len(opsets) != 1 or opsets[0][0] != "" or opsets[0][1] not in OPSETS:
        refuse(
            f"an operator set from {OPSETS[0]} to {OPSETS[-1]} of the default domain alone",
            f"operator sets {opsets!r:.200}",
        )
    if model.graph.name != GRAPH_NAME:
        refuse(f"a graph named {GRAPH_NAME}", f"a graph named {model.graph.name!r:.80}")


def _check_interface(graph: GraphProto, contract: SegmenterContract) -> None:
    for label, found, expected in (
        ("input", graph.input, graph_input(contract)),
        ("output", graph.output, graph_output(contract)),
    ):
        if list(found) != [expected]:
            shape = [dim.dim_value for dim in expected.type.tensor_type.shape.dim]
            refuse(f"one {label} {expected.name!r}, float32 {shape}", f"{len(found)} of another form")


def _check_operators(graph: GraphProto) -> None:
    for number, node in enumerate(graph.node):
        if node.op_type not in OPERATORS:
            refuse(f"one of the operators {', '.join(sorted(OPERATORS))}", f"{node.op_type!r:.80}")
        if any(len(entry.ints) + len(entry.floats) + len(entry.s) > MAX_INTEGERS for entry in node.attribute):
            refuse(f"attributes of at most {MAX_INTEGERS} values", f"more at node {number}")


def _check_initializers(graph: GraphProto) -> None:
    seen: set[str] = set()
    for tensor in graph.initializer:
        if tensor.name in seen:
            refuse("every initializer once", f"{tensor.name!r:.80} twice")
        seen.add(tensor.name)
        onnx_bytes.array_of(tensor, DTYPES, max_axes=MAX_AXES, sides=(0, MAX_LENGTH))
