"""Rewrite an exporter's ONNX file into the one form that a node accepts (`segmenter_policy`).

Names, doc strings, producer and annotations are removed, because they do not affect the computation.
Functions are inlined, constants become initializers, the batch becomes one image, and values are numbered.
Equal graphs give equal bytes, so the same model is the same submission.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, inliner, numpy_helper

from sharekit.segmenter.contract import INPUT_NAME, METADATA_KEY, OUTPUT_NAME, SegmenterContract
from sharekit.segmenter.model_file import refusal
from sharekit.segmenter.segmenter_policy import (
    GRAPH_NAME,
    IR_VERSIONS,
    graph_input,
    graph_output,
    metadata_value,
)

_CONSTANT_TYPES = {
    ("value_float", AttributeProto.FLOAT): np.float32,
    ("value_floats", AttributeProto.FLOATS): np.float32,
    ("value_int", AttributeProto.INT): np.int64,
    ("value_ints", AttributeProto.INTS): np.int64,
}


def canonical_bytes(model: ModelProto, contract: SegmenterContract) -> bytes:
    """The model in the form that a node accepts, with the contract as its only metadata.

    Raises:
        InputError: the model cannot be rewritten into that form.
    """
    if model.functions:
        model = _inlined(model)
    opsets = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    if len(opsets) != 1:
        raise refusal("model", "one operator set of ONNX's default domain", f"{len(opsets)}")
    graph = GraphProto(name=GRAPH_NAME)
    names = {model.graph.input[0].name: INPUT_NAME, model.graph.output[0].name: OUTPUT_NAME}
    for tensor in model.graph.initializer:
        _add_initializer(graph, _name(names, tensor.name), _array(tensor))
    for node in model.graph.node:
        if node.op_type == "Constant" and node.domain in ("", "ai.onnx"):
            array = _constant(node)
            _add_initializer(graph, _name(names, node.output[0]), array)
        else:
            graph.node.append(_plain(node, names))
    graph.input.append(graph_input(contract))
    graph.output.append(graph_output(contract))
    # Since version 4 of the format, nothing that remains in the file depends on the version.
    plain = ModelProto(ir_version=max(model.ir_version, IR_VERSIONS[0]), graph=graph)
    plain.opset_import.append(helper.make_opsetid("", opsets[0]))
    plain.metadata_props.add(key=METADATA_KEY, value=metadata_value(contract))
    return plain.SerializeToString(deterministic=True)


def _inlined(model: ModelProto) -> ModelProto:
    try:
        return inliner.inline_local_functions(model)
    except Exception as error:  # several kinds of C++ errors
        raise refusal("model", "functions that can be inlined", str(error)[:200]) from None


def _name(names: dict[str, str], name: str) -> str:
    """The numbered name of a value; an omitted input keeps its empty name."""
    return names.setdefault(name, f"v{len(names)}") if name else ""


def _add_initializer(graph: GraphProto, name: str, array: np.ndarray) -> None:
    graph.initializer.append(numpy_helper.from_array(array, name))


def _array(tensor: TensorProto) -> np.ndarray:
    try:
        return numpy_helper.to_array(tensor)
    except (
        ArithmeticError,
        LookupError,
        TypeError,
        ValueError,
    ) as error:  # onnx documents no errors
        found = f"{tensor.name!r:.80}: {type(error).__name__}"
        raise refusal("model", "tensors of as many values as their shape says", found) from None


def _constant(node: NodeProto) -> np.ndarray:
    if len(node.attribute) == len(node.output) == 1 and not node.attribute[0].ref_attr_name:
        (attribute,) = node.attribute
        kind = (attribute.name, attribute.type)
        if kind == ("value", AttributeProto.TENSOR):
            return _array(attribute.t)
        if kind in _CONSTANT_TYPES:
            return np.array(helper.get_attribute_value(attribute), _CONSTANT_TYPES[kind])
    found = ", ".join(attribute.name for attribute in node.attribute) or "nothing"
    raise refusal("model", "constants that are one tensor, number or list of numbers", found[:200])


def _plain(node: NodeProto, names: dict[str, str]) -> NodeProto:
    """A node with only what it computes; a foreign domain stays, so that the policy can refuse it."""
    plain = NodeProto(op_type=node.op_type)
    if node.domain not in ("", "ai.onnx"):
        plain.domain = node.domain
    plain.input.extend(_name(names, name) for name in node.input)
    plain.output.extend(_name(names, name) for name in node.output)
    for attribute in sorted(node.attribute, key=lambda entry: entry.name):
        kept = onnx.AttributeProto()
        kept.CopyFrom(attribute)
        kept.ClearField("doc_string")
        plain.attribute.append(kept)
    return plain
