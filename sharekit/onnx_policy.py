"""May this ONNX file be loaded? An allow-list of bytes, fields, parts and values, checked before any runtime.

Everything that `onnx_contract` does not name is refused: the file can hold a SinGAN pyramid and nothing else.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np
import onnx
from google.protobuf.message import DecodeError, Message
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper

from sharekit import onnx_contract as contract
from sharekit.errors import SharekitError, VerificationError
from sharekit.files import parse_json
from sharekit.generator import GeneratorSpec
from sharekit.names import printable

MAX_BYTES = 32 * 2**20
MAX_SCALES = 32
MAX_SIDE = 16384  # pixels, of a noise map at the trained size
MAX_MASK_CLASSES = 16
MAX_CHANNELS = 512  # of a convolution
MAX_METADATA_CHARACTERS = 2**16
MAX_PARTS = 1024
"""Of each kind in the graph: nodes, initializers, inputs, outputs; 32 scales have 510 nodes."""

IDENTIFIER = re.compile(r"[0-9a-f]{32}")
CLASS_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
VALUE_NAME = re.compile(r"[a-z][a-z0-9_.]{0,63}")

# Protobuf messages by name, and the fields that may be set in them.
_FIELDS: Mapping[str, frozenset[str]] = {
    name: frozenset(fields.split())
    for name, fields in {
        "ModelProto": "ir_version opset_import producer_name graph metadata_props",
        "OperatorSetIdProto": "domain version",
        "StringStringEntryProto": "key value",
        "GraphProto": "name node initializer input output",
        "NodeProto": "op_type input output attribute",
        "AttributeProto": "name type f i s ints",
        "TensorProto": "name dims data_type raw_data",
        "ValueInfoProto": "name type",
        "TypeProto": "tensor_type",
        "Tensor": "elem_type shape",
        "TensorShapeProto": "dim",
        "Dimension": "dim_value dim_param",
    }.items()
}

_RANK_KINDS = {0: "scalar", 1: "bias", 4: "weight"}


def check_generator(data: bytes, item: object, spec: GeneratorSpec | None = None) -> None:
    """Refuse `data` unless it is a generator's ONNX file within the contract and the limits above.

    Args:
        data: the very bytes that will be loaded.
        item: what an error calls them.
        spec: what the manifest says of this generator; the file must say the same.

    Raises:
        VerificationError: the first rule that does not hold.
    """
    try:
        model = _parse(data)
        _check_counts(model)
        _check_fields(model, "model")
        _check_header(model)
        declared = _declared_spec(model)
        if spec is not None and declared != spec:
            _refuse("the spec in the manifest", "another spec in the file's metadata")
        _check_interface(model.graph, declared)
        _check_operators(model.graph, declared)
        _check_dataflow(model.graph, _initializer_kinds(model.graph, declared))
        _check_channels(model.graph, declared)
        _check_by_onnx(model)
    except _BrokenRuleError as rule:
        raise VerificationError(
            item,
            expected=rule.expected,
            found=rule.found,
            next_step="do not load this file; ask the hospital that signed it",
        ) from None


class _BrokenRuleError(Exception):
    def __init__(self, expected: str, found: str) -> None:
        self.expected, self.found = expected, found
        super().__init__(found)


def _refuse(expected: str, found: str) -> NoReturn:
    raise _BrokenRuleError(expected, found)


def _parse(data: bytes) -> ModelProto:
    """The model, if `data` is the canonical encoding of it: no unknown, repeated or trailing field."""
    if len(data) > MAX_BYTES:
        _refuse(f"at most {MAX_BYTES} bytes", f"{len(data)} bytes")
    model = ModelProto()
    try:
        model.ParseFromString(data)
        model.DiscardUnknownFields()
        canonical = model.SerializeToString(deterministic=True)
    except (DecodeError, RecursionError, ValueError) as error:
        _refuse("an ONNX model", f"bytes that do not parse ({type(error).__name__})")
    if canonical != data:
        _refuse(
            "the canonical encoding of the fields that ONNX defines", "unknown, repeated or reordered fields"
        )
    return model


def _check_counts(model: ModelProto) -> None:
    """Before anything walks through the model: a few bytes can hold very many empty messages."""
    graph = model.graph
    parts = (
        graph.node,
        graph.initializer,
        graph.input,
        graph.output,
        model.opset_import,
        model.metadata_props,
    )
    if any(len(part) > MAX_PARTS for part in parts):
        _refuse(
            f"at most {MAX_PARTS} nodes, initializers, inputs, outputs", f"{max(map(len, parts))} of one kind"
        )


def _check_fields(message: Message, where: str) -> None:
    allowed = _FIELDS.get(message.DESCRIPTOR.name, frozenset())
    for descriptor, value in message.ListFields():
        place = f"{where}.{descriptor.name}"
        if descriptor.name not in allowed:
            _refuse(f"only the fields {', '.join(sorted(allowed))} in {where}", place)
        if descriptor.message_type is None:
            continue
        children = [value] if isinstance(value, Message) else value
        for number, child in enumerate(children):
            _check_fields(child, place if child is value else f"{place}[{number}]")


def _check_header(model: ModelProto) -> None:
    if model.ir_version != contract.IR_VERSION:
        _refuse(f"IR version {contract.IR_VERSION}", f"IR version {model.ir_version}")
    opsets = [(entry.domain, entry.version) for entry in model.opset_import]
    if opsets != [("", contract.OPSET)]:
        _refuse(
            f"operator set {contract.OPSET} of the default domain alone", f"operator sets {opsets!r:.200}"
        )
    if model.producer_name != contract.PRODUCER:
        _refuse(f"the producer {contract.PRODUCER}", f"the producer {model.producer_name!r:.80}")
    if model.graph.name != contract.GRAPH_NAME:
        _refuse(f"a graph named {contract.GRAPH_NAME}", f"a graph named {model.graph.name!r:.80}")


def _declared_spec(model: ModelProto) -> GeneratorSpec:
    """The spec in the file's metadata, every value of it within limits."""
    entries = {entry.key: entry.value for entry in model.metadata_props}
    keys = {contract.SCHEMA_VERSION_KEY, contract.SPEC_KEY}
    if set(entries) != keys or len(entries) != len(model.metadata_props):
        found = ", ".join(printable(entry.key) for entry in model.metadata_props) or "none"
        _refuse(f"the metadata {', '.join(sorted(keys))}, each once", f"{found:.500}")
    if any(len(value) > MAX_METADATA_CHARACTERS for value in entries.values()):
        _refuse(f"metadata of at most {MAX_METADATA_CHARACTERS} characters", "a longer value")
    try:
        spec = GeneratorSpec.from_json(parse_json(entries[contract.SPEC_KEY].encode(), "metadata"))
    except (SharekitError, KeyError, TypeError, ValueError, AttributeError) as error:
        _refuse("a generator's spec in the metadata", f"{type(error).__name__} when reading it")
    if entries != contract.metadata(spec):
        _refuse(
            f"contract {contract.SCHEMA_VERSION} and a spec as the exporter writes it",
            "other metadata values",
        )
    _check_spec(spec)
    return spec


def _check_spec(spec: GeneratorSpec) -> None:
    layout = spec.layout
    if not IDENTIFIER.fullmatch(spec.id):
        _refuse("an identifier of 32 lower-case hexadecimal digits", f"{spec.id!r:.80}")
    if layout.image_channels not in (1, 3):
        _refuse("1 or 3 image channels", str(layout.image_channels))
    classes = layout.mask_classes
    if not 1 <= len(classes) <= MAX_MASK_CLASSES or len(set(classes)) != len(classes):
        _refuse(f"1 to {MAX_MASK_CLASSES} different mask classes", f"{len(classes)} names")
    for name in classes:
        if not (isinstance(name, str) and CLASS_NAME.fullmatch(name)):
            _refuse(f"class names like {CLASS_NAME.pattern}", f"{name!r:.80}")
    if not 1 <= len(spec.scales) <= MAX_SCALES:
        _refuse(f"1 to {MAX_SCALES} scales", f"{len(spec.scales)} scales")
    for number, scale in enumerate(spec.scales):
        if not (1 <= scale.height <= MAX_SIDE and 1 <= scale.width <= MAX_SIDE):
            _refuse(f"sides of 1 to {MAX_SIDE} px", f"{scale.width}x{scale.height} at scale {number}")
        channels = layout.channels if number else 1
        if scale.noise_channels != channels:
            _refuse(f"{channels} noise channels at scale {number}", str(scale.noise_channels))


def _check_interface(graph: GraphProto, spec: GeneratorSpec) -> None:
    for label, found, expected in (
        ("inputs", graph.input, contract.graph_inputs(spec)),
        ("outputs", graph.output, contract.graph_outputs(spec)),
    ):
        if list(found) != expected:
            names = ", ".join(printable(value.name) for value in found)
            _refuse(f"the {label} of the spec, by name, type and axes", f"the {label} {names:.500}")


def _check_operators(graph: GraphProto, spec: GeneratorSpec) -> None:
    """Every operator, its attributes and its number of occurrences."""
    for number, node in enumerate(graph.node):
        operator = contract.OPERATORS.get(node.op_type)
        if operator is None:
            _refuse(f"one of the operators {', '.join(contract.OPERATORS)}", f"{node.op_type!r:.80}")
        expected = [helper.make_attribute(*pair) for pair in sorted(operator.attributes.items())]
        if list(node.attribute) != expected:
            _refuse(
                f"{node.op_type} with the attributes {dict(operator.attributes)}",
                f"other attributes at node {number}",
            )
    counts = Counter(node.op_type for node in graph.node)
    expected_counts = contract.operator_counts(len(spec.scales))
    if counts != expected_counts:
        _refuse(f"the operators {dict(expected_counts)} for {len(spec.scales)} scales", f"{dict(counts)}")


def _initializer_kinds(graph: GraphProto, spec: GeneratorSpec) -> dict[str, set[str]]:
    """For each initializer the kinds of input it may stand for."""
    fixed: Mapping[str, NDArray[Any]] = {
        "pads": contract.PADS,
        "split": contract.split_sizes(spec),
        "lower": contract.LOWER,
        "upper": contract.UPPER,
    }
    kinds: dict[str, set[str]] = {}
    for tensor in graph.initializer:
        if tensor.name in kinds:
            _refuse("every initializer once", f"{tensor.name!r:.80} twice")
        array = _array(tensor)
        kinds[tensor.name] = {
            kind
            for kind, value in fixed.items()
            if array.dtype == value.dtype and np.array_equal(array, value)
        }
        if array.dtype == np.float32 and array.ndim in _RANK_KINDS:
            kinds[tensor.name].add(_RANK_KINDS[array.ndim])
        if not kinds[tensor.name]:
            _refuse("weights, biases, scalars, and the contract's own constants", f"{tensor.name!r:.80}")
    return kinds


def _array(tensor: TensorProto) -> NDArray[Any]:
    """The values of an initializer, after its sizes, its type and its finiteness are checked."""
    dtypes: dict[int, np.dtype] = {TensorProto.FLOAT: np.dtype("<f4"), TensorProto.INT64: np.dtype("<i8")}
    if tensor.data_type not in dtypes:
        _refuse("float32 or int64 initializers", f"type {tensor.data_type} in {tensor.name!r:.80}")
    dtype, dims = dtypes[tensor.data_type], tuple(tensor.dims)
    if len(dims) > 4 or any(not 1 <= size <= MAX_CHANNELS for size in dims):
        _refuse(f"at most 4 axes of 1 to {MAX_CHANNELS} each", f"{dims!r:.100} in {tensor.name!r:.80}")
    expected = int(np.prod(dims, dtype=np.int64)) * dtype.itemsize
    if len(tensor.raw_data) != expected:
        _refuse(f"{expected} bytes in {tensor.name!r:.80}", f"{len(tensor.raw_data)} bytes")
    array = np.frombuffer(tensor.raw_data, dtype).reshape(dims)
    if not np.isfinite(array).all():
        _refuse("finite values", f"NaN or an infinity in {tensor.name!r:.80}")
    return array


def _check_dataflow(graph: GraphProto, kinds: dict[str, set[str]]) -> None:
    """Every value is defined once, before its use, is used, and is of the kind that its use needs."""
    for value in graph.input:
        _define(kinds, value.name, {"noise", "tensor"})
    used: set[str] = set()
    for number, node in enumerate(graph.node):
        operator = contract.OPERATORS[node.op_type]
        if len(node.input) != len(operator.inputs) or len(node.output) != len(operator.outputs):
            _refuse(
                f"{node.op_type} with {len(operator.inputs)} inputs and {len(operator.outputs)} outputs",
                f"{len(node.input)} and {len(node.output)} at node {number}",
            )
        _check_inputs(node, number, operator.inputs, kinds)
        used.update(node.input)
        for name, kind in zip(node.output, operator.outputs, strict=True):
            _define(kinds, name, {kind})
    outputs = {value.name for value in graph.output}
    for name in kinds:
        if not VALUE_NAME.fullmatch(name):
            _refuse(f"names like {VALUE_NAME.pattern}", f"{name!r:.80}")
        if name not in used and name not in outputs:
            _refuse("every value used", f"{name!r} that nothing uses")


def _define(kinds: dict[str, set[str]], name: str, new: set[str]) -> None:
    if name in kinds:
        _refuse("every value defined once", f"{name!r:.80} twice")
    kinds[name] = new


def _check_inputs(
    node: NodeProto, number: int, expected: tuple[str, ...], kinds: dict[str, set[str]]
) -> None:
    for name, kind in zip(node.input, expected, strict=True):
        if not kind and not name:
            continue
        if kind not in kinds.get(name, ()):
            _refuse(
                f"an input of kind {kind or 'none'} for {node.op_type} at node {number}, defined before it",
                f"{name!r:.80}",
            )


def _check_channels(graph: GraphProto, spec: GeneratorSpec) -> None:
    """Follow the channels through the graph; ONNX's own shape inference does not compare them."""
    dims = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    channels = {
        value.name: scale.noise_channels for value, scale in zip(graph.input, spec.scales, strict=True)
    }
    for number, node in enumerate(graph.node):
        carried = {channels[name] for name in node.input if name in channels}
        if node.op_type == "Conv":
            outputs, inputs, *kernel = dims[node.input[1]]
            if carried != {inputs} or kernel != [3, 3] or dims[node.input[2]] != (outputs,):
                _refuse(
                    f"a 3x3 convolution of {carried} channels at node {number}",
                    f"weights of {outputs, inputs}",
                )
            carried = {outputs}
        elif node.op_type in ("Shape", "Split"):
            if node.op_type == "Split" and carried != {spec.layout.channels}:
                _refuse(f"{spec.layout.channels} channels at the end", f"{carried}")
            continue
        if len(carried) != 1:
            _refuse(f"inputs of the same channels at node {number}", f"{sorted(carried)}")
        channels[node.output[0]] = carried.pop()


def _check_by_onnx(model: ModelProto) -> None:
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # the checker's errors share no base class
        _refuse("a model that the ONNX checker accepts", f"{str(error)!r:.300}")
