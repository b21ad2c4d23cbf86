"""An exporter's ONNX file in the one form that a node accepts (`segmenter_policy`).

What says nothing about the computation goes: names, doc strings, producer, annotations. Functions are
inlined, constants become initializers, the batch becomes one image, and values are numbered. Equal graphs
give equal bytes, so the same model is the same submission.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, inliner, numpy_helper

from sharekit import files
from sharekit.errors import InputError
from sharekit.segmenter import INPUT_NAME, METADATA_KEY, OUTPUT_NAME, SegmenterContract
from sharekit.segmenter_policy import GRAPH_NAME, MAX_BYTES, graph_input, graph_output, metadata_value

_CONSTANT_TYPES = {
    "value_float": np.float32,
    "value_floats": np.float32,
    "value_int": np.int64,
    "value_ints": np.int64,
}


def load_model(path: Path) -> ModelProto:
    """Read an ONNX file that is complete in itself.

    Raises:
        InputError: no ONNX file, too large, or its weights lie in another file.
    """
    data = files.read_bytes(path, max_bytes=MAX_BYTES)
    model = ModelProto()
    try:
        model.ParseFromString(data)
    except (DecodeError, RecursionError, ValueError):
        raise _refusal(path, "an ONNX model", "something that does not parse as one") from None
    if not (len(model.graph.input) == len(model.graph.output) == 1):
        found = f"{len(model.graph.input)} inputs and {len(model.graph.output)} outputs"
        raise _refusal(path, "a model of one input (images) and one output (masks)", found)
    if any(tensor.data_location == TensorProto.EXTERNAL for tensor in model.graph.initializer):
        raise _refusal(path, "one self-contained file", "weights in another file")
    return model


def canonical_bytes(model: ModelProto, contract: SegmenterContract) -> bytes:
    """The model as a node wants it, with the contract as its only metadata.

    Raises:
        InputError: it cannot be brought into that form.
    """
    if model.functions:
        model = inliner.inline_local_functions(model)
    opsets = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    if len(opsets) != 1:
        raise _refusal("model", "one operator set of ONNX's default domain", f"{len(opsets)}")
    graph = GraphProto(name=GRAPH_NAME)
    names = {model.graph.input[0].name: INPUT_NAME, model.graph.output[0].name: OUTPUT_NAME}
    for tensor in model.graph.initializer:
        _add_initializer(graph, _name(names, tensor.name), numpy_helper.to_array(tensor))
    for node in model.graph.node:
        if node.op_type == "Constant" and node.domain in ("", "ai.onnx"):
            _add_initializer(graph, _name(names, node.output[0]), _constant(node))
        else:
            graph.node.append(_plain(node, names))
    graph.input.append(graph_input(contract))
    graph.output.append(graph_output(contract))
    plain = ModelProto(ir_version=model.ir_version, graph=graph)
    plain.opset_import.append(helper.make_opsetid("", opsets[0]))
    plain.metadata_props.add(key=METADATA_KEY, value=metadata_value(contract))
    return plain.SerializeToString(deterministic=True)


def _name(names: dict[str, str], name: str) -> str:
    """The number under which a value goes; an input that is left out stays so."""
    return names.setdefault(name, f"v{len(names)}") if name else ""


def _add_initializer(graph: GraphProto, name: str, array: np.ndarray) -> None:
    graph.initializer.append(numpy_helper.from_array(array, name))


def _constant(node: NodeProto) -> np.ndarray:
    (attribute,) = node.attribute
    value = helper.get_attribute_value(attribute)
    if attribute.name == "value":
        return numpy_helper.to_array(value)
    if attribute.name in _CONSTANT_TYPES:
        return np.array(value, _CONSTANT_TYPES[attribute.name])
    raise _refusal("model", "constants that are tensors, numbers or lists of numbers", attribute.name)


def _plain(node: NodeProto, names: dict[str, str]) -> NodeProto:
    """A node by what it computes; a domain stays, so that the policy can refuse it."""
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


def _refusal(item: object, expected: str, found: str) -> InputError:
    return InputError(
        item,
        expected=expected,
        found=found,
        next_step="export the model again, as one ONNX file with its weights inside",
    )
