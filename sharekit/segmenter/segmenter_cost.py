"""What does a segmenter cost at least? Bounds memory and arithmetic by the shapes that its file declares.

Shapes that depend on the picture's content are unknown and count as nothing; the process that runs the model
has its own limits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

from sharekit.generator.cost import Cost

_MAX_KEPT_BYTES = 1024  # of a float initializer: sizes and scales are shorter, and weights are dropped

Shape = tuple[int, ...]


def least_cost(model: ModelProto) -> Cost:
    """The least cost of one image: the largest operator's inputs and outputs, and all multiply-adds.

    Args:
        model: a model that `segmenter_policy` accepts, with a batch of one image.
    """
    graph = onnx.shape_inference.infer_shapes(_without_weights(model), data_prop=True).graph
    bytes_of = {tensor.name: _bytes(tensor.data_type, tuple(tensor.dims)) for tensor in graph.initializer}
    shapes: dict[str, Shape] = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.output, *graph.value_info):
        shape = _shape(value)
        if shape is not None:
            shapes[value.name] = shape
            bytes_of[value.name] = _bytes(value.type.tensor_type.elem_type, shape)
    memory = max(
        (sum(bytes_of.get(name, 0) for name in {*node.input, *node.output}) for node in graph.node), default=0
    )
    return Cost(memory, sum(_multiply_adds(node, shapes) for node in graph.node))


def _without_weights(model: ModelProto) -> ModelProto:
    graph = GraphProto(name=model.graph.name)
    for field in ("node", "input", "output"):
        getattr(graph, field).extend(getattr(model.graph, field))
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and len(tensor.raw_data) > _MAX_KEPT_BYTES:
            graph.initializer.add(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
        else:
            graph.initializer.append(tensor)
    return ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, graph=graph)


def _shape(value: ValueInfoProto) -> Shape | None:
    """The value's shape; None unless all sides are known."""
    tensor = value.type.tensor_type
    sides = tuple(side.dim_value for side in tensor.shape.dim if side.HasField("dim_value"))
    known = tensor.HasField("shape") and len(sides) == len(tensor.shape.dim)
    return sides if known and all(side >= 0 for side in sides) else None


def _bytes(elem_type: int, shape: Shape) -> int:
    return math.prod(shape) * helper.tensor_dtype_to_np_dtype(elem_type).itemsize if elem_type else 0


def _multiply_adds(node: NodeProto, shapes: Mapping[str, Shape]) -> int:
    """Multiply-adds of a convolution or matrix product; every other operator counts as 0."""
    if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul") or len(node.input) < 2:
        return 0
    left, right = (shapes.get(name) for name in node.input[:2])
    made = shapes.get(node.output[0])
    if not left or not right or made is None:
        return 0
    if node.op_type == "Conv":  # weight (out, in / groups, kernel …)
        return math.prod(made) * math.prod(right[1:])
    if node.op_type == "ConvTranspose":  # weight (in, out / groups, kernel …)
        return math.prod(left) * math.prod(right[1:])
    transposed = any(entry.name == "transA" and entry.i for entry in node.attribute)
    return math.prod(made) * (left[0] if transposed else left[-1])
