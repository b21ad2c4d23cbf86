"""May this ONNX file be loaded? Checks it against an allow-list before any runtime sees it.

The policy refuses everything that `onnx_contract` does not name: a file can hold only a SinGAN pyramid.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper

from sharekit.errors import SharekitError
from sharekit.generator import onnx_contract as contract
from sharekit.generator.cost import FILE_LIMITS, Computation, CostLimits
from sharekit.generator.spec import GeneratorSpec
from sharekit.storage import onnx_bytes
from sharekit.storage.budget import Budget
from sharekit.storage.files import parse_json
from sharekit.storage.names import printable
from sharekit.storage.onnx_bytes import refuse

MAX_BYTES = 32 * 2**20
BUDGET = Budget(MAX_BYTES, max_nodes=2**14, max_depth=16)
"""A generator of 32 scales has 7,389 fields; a tensor's shape lies 7 levels deep."""
MAX_SCALES = 32
MAX_SIDE = 16384  # pixels, of a noise map at the trained size
MAX_MASK_CLASSES = 16
MAX_CHANNELS = 512  # channels of a convolution
MAX_METADATA_CHARACTERS = 2**16
MAX_PARTS = 1024
"""Most nodes, initializers, inputs or outputs in the graph, each; 32 scales have 510 nodes."""

IDENTIFIER = re.compile(r"[0-9a-f]{32}")
CLASS_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
VALUE_NAME = re.compile(r"[a-z][a-z0-9_.]{0,63}")

_FIELDS = onnx_bytes.fields(
    ModelProto="ir_version opset_import producer_name graph metadata_props",
    OperatorSetIdProto="domain version",
    StringStringEntryProto="key value",
    GraphProto="name node initializer input output",
    NodeProto="op_type input output attribute",
    AttributeProto="name type f i s ints",
    TensorProto="name dims data_type raw_data",
    ValueInfoProto="name type",
    TypeProto="tensor_type",
    Tensor="elem_type shape",
    TensorShapeProto="dim",
    Dimension="dim_value dim_param",
)
_DTYPES: Mapping[int, np.dtype] = {
    TensorProto.FLOAT: np.dtype("<f4"),
    TensorProto.INT64: np.dtype("<i8"),
}
_RANK_KINDS = {0: "scalar", 1: "bias", 4: "weight"}


def check_generator(
    data: bytes, item: object, spec: GeneratorSpec | None = None, limits: CostLimits = FILE_LIMITS
) -> Computation:
    """Refuse `data` unless it is a generator's ONNX file that keeps the contract and the limits above.

    Args:
        data: the very bytes that will be loaded.
        item: name of the file in error messages.
        spec: the generator's spec from the manifest; the file must state the same.
        limits: highest allowed cost of one sample at the trained size.

    Returns:
        The operators of the file, from which the cost of any size and batch follows.

    Raises:
        VerificationError: the file breaks a rule; the error names the first one.
    """
    with onnx_bytes.rules(item, "do not load this file; ask the hospital that signed it"):
        model = onnx_bytes.parse(data, BUDGET)
        onnx_bytes.check_counts(model, MAX_PARTS)
        onnx_bytes.check_fields(model, "model", _FIELDS)
        _check_header(model)
        declared = _declared_spec(model)
        if spec is not None and declared != spec:
            refuse("the spec in the manifest", "another spec in the file's metadata")
        _check_interface(model.graph, declared)
        _check_operators(model.graph, declared)
        _check_dataflow(model.graph, _initializer_kinds(model.graph, declared))
        _check_channels(model.graph, declared)
        computation = Computation.of(model.graph, declared)
        excess = limits.excess(computation.cost())
        if excess is not None:
            refuse(f"a sample that needs {excess[0]}", excess[1])
        onnx_bytes.check_by_onnx(model)
    return computation


def _check_header(model: ModelProto) -> None:
    if model.ir_version != contract.IR_VERSION:
        refuse(f"IR version {contract.IR_VERSION}", f"IR version {model.ir_version}")
    opsets = [(entry.domain, entry.version) for entry in model.opset_import]
    if opsets != [("", contract.OPSET)]:
        refuse(f"operator set {contract.OPSET} of the default domain alone", f"operator sets {opsets!r:.200}")
    if model.producer_name != contract.PRODUCER:
        refuse(f"the producer {contract.PRODUCER}", f"the producer {model.producer_name!r:.80}")
    if model.graph.name != contract.GRAPH_NAME:
        refuse(f"a graph named {contract.GRAPH_NAME}", f"a graph named {model.graph.name!r:.80}")


def _declared_spec(model: ModelProto) -> GeneratorSpec:
    """Read the spec from the file's metadata and check that its values are within limits."""
    keys = frozenset({contract.SCHEMA_VERSION_KEY, contract.SPEC_KEY})
    entries = onnx_bytes.metadata_of(model, keys, MAX_METADATA_CHARACTERS)
    try:
        spec = GeneratorSpec.from_json(parse_json(entries[contract.SPEC_KEY].encode(), "metadata"))
    except (SharekitError, KeyError, TypeError, ValueError, AttributeError) as error:
        refuse("a generator's spec in the metadata", f"{type(error).__name__} when reading it")
    if entries != contract.metadata(spec):
        refuse(
            f"contract {contract.SCHEMA_VERSION} and a spec as the exporter writes it",
            "other metadata values",
        )
    _check_spec(spec)
    return spec


def _check_spec(spec: GeneratorSpec) -> None:
    layout = spec.layout
    if not IDENTIFIER.fullmatch(spec.id):
        refuse("an identifier of 32 lower-case hexadecimal digits", f"{spec.id!r:.80}")
    if layout.image_channels not in (1, 3):
        refuse("1 or 3 image channels", str(layout.image_channels))
    classes = layout.mask_classes
    if not 1 <= len(classes) <= MAX_MASK_CLASSES or len(set(classes)) != len(classes):
        refuse(f"1 to {MAX_MASK_CLASSES} different mask classes", f"{len(classes)} names")
    for name in classes:
        if not (isinstance(name, str) and CLASS_NAME.fullmatch(name)):
            refuse(f"class names like {CLASS_NAME.pattern}", f"{name!r:.80}")
    if not 1 <= len(spec.scales) <= MAX_SCALES:
        refuse(f"1 to {MAX_SCALES} scales", f"{len(spec.scales)} scales")
    for number, scale in enumerate(spec.scales):
        if not (1 <= scale.height <= MAX_SIDE and 1 <= scale.width <= MAX_SIDE):
            refuse(f"sides of 1 to {MAX_SIDE} px", f"{scale.width}x{scale.height} at scale {number}")
        channels = layout.channels if number else 1
        if scale.noise_channels != channels:
            refuse(f"{channels} noise channels at scale {number}", str(scale.noise_channels))


def _check_interface(graph: GraphProto, spec: GeneratorSpec) -> None:
    for label, found, expected in (
        ("inputs", graph.input, contract.graph_inputs(spec)),
        ("outputs", graph.output, contract.graph_outputs(spec)),
    ):
        if list(found) != expected:
            names = ", ".join(printable(value.name) for value in found)
            refuse(f"the {label} of the spec, by name, type and axes", f"the {label} {names:.500}")


def _check_operators(graph: GraphProto, spec: GeneratorSpec) -> None:
    """Check every operator, its attributes and how often it occurs."""
    for number, node in enumerate(graph.node):
        operator = contract.OPERATORS.get(node.op_type)
        if operator is None:
            refuse(f"one of the operators {', '.join(contract.OPERATORS)}", f"{node.op_type!r:.80}")
        expected = [helper.make_attribute(*pair) for pair in sorted(operator.attributes.items())]
        if list(node.attribute) != expected:
            refuse(
                f"{node.op_type} with the attributes {dict(operator.attributes)}",
                f"other attributes at node {number}",
            )
    counts = Counter(node.op_type for node in graph.node)
    expected_counts = contract.operator_counts(len(spec.scales))
    if counts != expected_counts:
        refuse(f"the operators {dict(expected_counts)} for {len(spec.scales)} scales", f"{dict(counts)}")


def _initializer_kinds(graph: GraphProto, spec: GeneratorSpec) -> dict[str, set[str]]:
    """Initializer name to the kinds of input that it may serve as."""
    fixed: Mapping[str, NDArray[Any]] = {
        "pads": contract.PADS,
        "split": contract.split_sizes(spec),
        "lower": contract.LOWER,
        "upper": contract.UPPER,
    }
    kinds: dict[str, set[str]] = {}
    for tensor in graph.initializer:
        if tensor.name in kinds:
            refuse("every initializer once", f"{tensor.name!r:.80} twice")
        array = onnx_bytes.array_of(tensor, _DTYPES, max_axes=4, sides=(1, MAX_CHANNELS))
        kinds[tensor.name] = {
            kind
            for kind, value in fixed.items()
            if array.dtype == value.dtype and np.array_equal(array, value)
        }
        if array.dtype == np.float32 and array.ndim in _RANK_KINDS:
            kinds[tensor.name].add(_RANK_KINDS[array.ndim])
        if not kinds[tensor.name]:
            refuse("weights, biases, scalars, and the contract's own constants", f"{tensor.name!r:.80}")
    return kinds


def _check_dataflow(graph: GraphProto, kinds: dict[str, set[str]]) -> None:
    """Check that each value is defined once, before its use, and is used as an input of its own kind."""
    for value in graph.input:
        _define(kinds, value.name, {"noise", "tensor"})
    used: set[str] = set()
    for number, node in enumerate(graph.node):
        operator = contract.OPERATORS[node.op_type]
        if len(node.input) != len(operator.inputs) or len(node.output) != len(operator.outputs):
            refuse(
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
            refuse(f"names like {VALUE_NAME.pattern}", f"{name!r:.80}")
        if name not in used and name not in outputs:
            refuse("every value used", f"{name!r} that nothing uses")


def _define(kinds: dict[str, set[str]], name: str, new: set[str]) -> None:
    if name in kinds:
        refuse("every value defined once", f"{name!r:.80} twice")
    kinds[name] = new


def _check_inputs(
    node: NodeProto, number: int, expected: tuple[str, ...], kinds: dict[str, set[str]]
) -> None:
    for name, kind in zip(node.input, expected, strict=True):
        if not kind and not name:
            continue
        if kind not in kinds.get(name, ()):
            refuse(
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
            if carried != {inputs} or kernel != [contract.KERNEL] * 2 or dims[node.input[2]] != (outputs,):
                refuse(
                    f"a 3x3 convolution of {carried} channels at node {number}",
                    f"weights of {outputs, inputs}",
                )
            carried = {outputs}
        elif node.op_type in ("Shape", "Split"):
            if node.op_type == "Split" and carried != {spec.layout.channels}:
                refuse(f"{spec.layout.channels} channels at the end", f"{carried}")
            continue
        if len(carried) != 1:
            refuse(f"inputs of the same channels at node {number}", f"{sorted(carried)}")
        channels[node.output[0]] = carried.pop()
