"""The ONNX policy accepts what the exporter writes and refuses each attack by its own rule."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from hospital_node.candidate.build import build_onnx
from sharekit.errors import VerificationError
from sharekit.generator import onnx_contract, onnx_policy
from sharekit.generator.onnx_policy import check_generator
from sharekit.generator.spec import GeneratorSpec, Scale
from sharekit.generator.tensors import ChannelLayout
from tests.tiny import tiny_generator

GENERATOR = tiny_generator(0, sizes=((5, 6), (7, 8)))
DATA = build_onnx(GENERATOR)
SPEC = GENERATOR.spec


def model() -> ModelProto:
    return onnx.load_model_from_string(DATA)


def refused(attacked: ModelProto | bytes, expected: str, spec: GeneratorSpec | None = None) -> None:
    """`attacked` is refused, naming the item, because `expected` (a pattern) does not hold."""
    data = attacked if isinstance(attacked, bytes) else attacked.SerializeToString(deterministic=True)
    with pytest.raises(VerificationError) as caught:
        check_generator(data, "generators/x.onnx", spec)
    assert caught.value.item == "generators/x.onnx"
    assert re.search(expected, caught.value.expected), caught.value.expected


def nodes(attacked: ModelProto, operator: str) -> list[NodeProto]:
    return [node for node in attacked.graph.node if node.op_type == operator]


def initializer(attacked: ModelProto, name: str) -> TensorProto:
    return next(tensor for tensor in attacked.graph.initializer if tensor.name == name)


def set_metadata(attacked: ModelProto, spec: GeneratorSpec) -> None:
    helper.set_model_props(attacked, dict(onnx_contract.metadata(spec)))


# What is allowed


@pytest.mark.parametrize("scales", [1, 2, 4])
@pytest.mark.parametrize("image_channels", [1, 3])
@pytest.mark.parametrize("classes", [("lesion",), ("polyp", "tool")])
def test_what_the_exporter_writes_is_accepted(
    scales: int, image_channels: int, classes: tuple[str, ...]
) -> None:
    sizes = [(5 + number, 6 + number) for number in range(scales)]
    generator = tiny_generator(1, sizes=sizes, image_channels=image_channels, mask_classes=classes)
    check_generator(build_onnx(generator), "x", generator.spec)


def test_the_file_speaks_for_itself_without_a_spec() -> None:
    check_generator(DATA, "x")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(DATA) - 1), st.integers(1, 255))
def test_a_flipped_byte_is_refused_or_still_within_the_contract(position: int, change: int) -> None:
    """The policy bounds what is loaded; finding every flip is the digest's work. Nothing else is raised."""
    data = bytearray(DATA)
    data[position] ^= change
    try:
        check_generator(bytes(data), "x", SPEC)
    except VerificationError:
        return
    flipped = onnx.load_model_from_string(bytes(data))
    for tensor in flipped.graph.initializer:
        tensor.raw_data = initializer(model(), tensor.name).raw_data
    assert flipped.SerializeToString(deterministic=True) == DATA


@settings(max_examples=40, deadline=None)
@given(st.integers(0, len(DATA) - 1))
def test_a_truncated_file_is_refused(length: int) -> None:
    with pytest.raises(VerificationError):
        check_generator(DATA[:length], "x", SPEC)


# Bytes and fields


def test_bytes_that_are_no_protobuf_are_refused() -> None:
    refused(b"\x80\x04\x95pickle", "an ONNX model")


def test_an_empty_file_is_refused() -> None:
    refused(b"", "IR version")


def test_a_file_beyond_the_size_cap_is_refused_unparsed() -> None:
    refused(DATA + bytes(onnx_policy.MAX_BYTES), "at most")


def test_an_unknown_field_at_the_top_is_refused() -> None:
    refused(DATA + bytes([0xFA, 0x3F, 0x02, 0x68, 0x69]), "canonical encoding")


def test_an_unknown_field_in_a_nested_message_is_refused() -> None:
    hidden = NodeProto.FromString(model().graph.node[0].SerializeToString() + bytes([0xFA, 0x3F, 0x01, 0x78]))
    attacked = model()
    attacked.graph.node[0].CopyFrom(hidden)
    refused(attacked, "canonical encoding")


def test_a_repeated_singular_field_that_hides_the_first_is_refused() -> None:
    refused(bytes([0x08, 0x03]) + DATA, "canonical encoding")


def test_a_doc_string_on_the_model_is_refused() -> None:
    attacked = model()
    attacked.doc_string = "patient 12"
    refused(attacked, "only the fields .* in model$")


def test_a_doc_string_on_a_node_is_refused() -> None:
    attacked = model()
    attacked.graph.node[3].doc_string = "/home/hospital"
    refused(attacked, r"only the fields .* in model\.graph\.node\[3\]")


def test_a_doc_string_on_an_initializer_is_refused() -> None:
    attacked = model()
    attacked.graph.initializer[0].doc_string = "x"
    refused(attacked, r"only the fields .* in model\.graph\.initializer\[0\]")


def test_a_function_is_refused() -> None:
    attacked = model()
    attacked.functions.add(name="f", domain="local")
    refused(attacked, "only the fields")


def test_training_info_is_refused() -> None:
    attacked = model()
    attacked.training_info.add()
    refused(attacked, "only the fields")


def test_external_data_is_refused() -> None:
    attacked = model()
    tensor = attacked.graph.initializer[1]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    refused(attacked, "only the fields")


def test_a_sparse_initializer_is_refused() -> None:
    attacked = model()
    attacked.graph.sparse_initializer.add()
    refused(attacked, "only the fields")


def test_a_subgraph_attribute_is_refused() -> None:
    attacked = model()
    attribute = attacked.graph.node[0].attribute.add(name="body", type=AttributeProto.GRAPH)
    attribute.g.name = "hidden"
    refused(attacked, "only the fields")


def test_a_tensor_attribute_is_refused() -> None:
    attacked = model()
    attribute = attacked.graph.node[0].attribute.add(name="value", type=AttributeProto.TENSOR)
    attribute.t.CopyFrom(numpy_helper.from_array(np.zeros(3, dtype=np.float32)))
    refused(attacked, "only the fields")


def test_metadata_on_a_node_is_refused() -> None:
    attacked = model()
    attacked.graph.node[0].metadata_props.add(key="pkg.torch", value="trace")
    refused(attacked, "only the fields")


def test_value_info_is_refused() -> None:
    attacked = model()
    attacked.graph.value_info.add(name="scale_0.noise")
    refused(attacked, "only the fields")


def test_values_outside_raw_data_are_refused() -> None:
    attacked = model()
    initializer(attacked, "lower").float_data.append(-1)
    refused(attacked, "only the fields")


def test_very_many_empty_nodes_are_refused() -> None:
    attacked = model()
    attacked.graph.node.extend([NodeProto()] * (onnx_policy.MAX_PARTS + 1))
    refused(attacked, "at most 1024 nodes")


# Header and metadata


def test_another_ir_version_is_refused() -> None:
    attacked = model()
    attacked.ir_version = 3
    refused(attacked, "IR version")


@pytest.mark.parametrize("version", [17, 19])
def test_another_opset_is_refused(version: int) -> None:
    attacked = model()
    attacked.opset_import[0].version = version
    refused(attacked, "operator set 18")


def test_a_second_domain_is_refused() -> None:
    attacked = model()
    attacked.opset_import.add(domain="com.microsoft", version=1)
    refused(attacked, "operator set 18")


def test_an_operator_of_another_domain_is_refused() -> None:
    attacked = model()
    attacked.graph.node[0].domain = "com.microsoft"
    refused(attacked, "only the fields")


def test_a_producer_with_a_path_is_refused() -> None:
    attacked = model()
    attacked.producer_name = "/opt/hospital/sharekit"
    refused(attacked, "the producer sharekit")


def test_a_graph_of_another_name_is_refused() -> None:
    attacked = model()
    attacked.graph.name = "patient_12"
    refused(attacked, "a graph named generator")


def test_an_unlisted_metadata_key_is_refused() -> None:
    attacked = model()
    attacked.metadata_props.add(key="author", value="x")
    refused(attacked, "the metadata")


def test_a_metadata_key_twice_is_refused() -> None:
    attacked = model()
    attacked.metadata_props.add().CopyFrom(attacked.metadata_props[0])
    refused(attacked, "each once")


def test_long_metadata_is_refused() -> None:
    attacked = model()
    attacked.metadata_props[1].value = " " * (onnx_policy.MAX_METADATA_CHARACTERS + 1)
    refused(attacked, "metadata of at most")


def test_a_spec_with_something_added_is_refused() -> None:
    attacked = model()
    entry = next(entry for entry in attacked.metadata_props if entry.key == onnx_contract.SPEC_KEY)
    entry.value = entry.value.removesuffix("}") + ',"source":"patient_12.png"}'
    refused(attacked, "as the exporter writes it")


def test_a_spec_that_is_no_json_is_refused() -> None:
    attacked = model()
    entry = next(entry for entry in attacked.metadata_props if entry.key == onnx_contract.SPEC_KEY)
    entry.value = "{"
    refused(attacked, "a generator's spec")


def test_another_contract_version_is_refused() -> None:
    attacked = model()
    entry = next(entry for entry in attacked.metadata_props if entry.key == onnx_contract.SCHEMA_VERSION_KEY)
    entry.value = "2"
    refused(attacked, "contract 1")


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (dataclasses.replace(SPEC, id="polyp_17"), "an identifier"),
        (dataclasses.replace(SPEC, layout=ChannelLayout(2, ("lesion",))), "1 or 3 image channels"),
        (dataclasses.replace(SPEC, layout=ChannelLayout(3, ())), "mask classes"),
        (dataclasses.replace(SPEC, layout=ChannelLayout(3, ("../x",))), "class names"),
        (dataclasses.replace(SPEC, scales=()), "1 to 32 scales"),
        (dataclasses.replace(SPEC, scales=(Scale(5, 6, 1),) * 33), "1 to 32 scales"),
        (dataclasses.replace(SPEC, scales=(Scale(5, 10**9, 1),)), "sides of 1 to"),
        (dataclasses.replace(SPEC, scales=(Scale(5, 6, 4),)), "1 noise channels at scale 0"),
    ],
    ids=["identifier", "channels", "no-class", "class-path", "no-scale", "many-scales", "wide", "noise"],
)
def test_a_spec_beyond_the_limits_is_refused(spec: GeneratorSpec, expected: str) -> None:
    attacked = model()
    set_metadata(attacked, spec)
    refused(attacked, expected)


@pytest.mark.parametrize(
    "spec",
    [
        dataclasses.replace(SPEC, id="0" * 32),
        dataclasses.replace(SPEC, layout=ChannelLayout(3, ("other",))),
        dataclasses.replace(SPEC, scales=(Scale(5, 6, 1), Scale(70, 80, 4))),
        dataclasses.replace(SPEC, scales=SPEC.scales[:1]),
    ],
    ids=["identifier", "class", "size", "scales"],
)
def test_a_file_of_another_generator_than_the_manifest_says_is_refused(spec: GeneratorSpec) -> None:
    refused(DATA, "the spec in the manifest", spec)


# Inputs and outputs


def test_an_additional_input_is_refused() -> None:
    attacked = model()
    attacked.graph.input.add().CopyFrom(helper.make_tensor_value_info("trigger", TensorProto.FLOAT, [1]))
    refused(attacked, "the inputs of the spec")


def test_an_input_of_a_fixed_size_is_refused() -> None:
    attacked = model()
    attacked.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 5
    refused(attacked, "the inputs of the spec")


def test_an_input_of_another_type_is_refused() -> None:
    attacked = model()
    attacked.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    refused(attacked, "the inputs of the spec")


def test_an_output_that_shows_an_inner_value_is_refused() -> None:
    attacked = model()
    attacked.graph.output.add().CopyFrom(
        helper.make_tensor_value_info("scale_0.noise", TensorProto.FLOAT, None)
    )
    refused(attacked, "the outputs of the spec")


def test_swapped_outputs_are_refused() -> None:
    attacked = model()
    attacked.graph.output.reverse()
    refused(attacked, "the outputs of the spec")


# Operators and attributes


@pytest.mark.parametrize("operator", ["Loop", "If", "Scan", "Constant", "Expand", "Concat", "RandomNormal"])
def test_an_operator_off_the_list_is_refused(operator: str) -> None:
    attacked = model()
    attacked.graph.node[0].op_type = operator
    refused(attacked, "one of the operators")


def test_a_convolution_that_amplifies_by_its_padding_is_refused() -> None:
    attacked = model()
    nodes(attacked, "Conv")[0].attribute.append(helper.make_attribute("pads", [10**6] * 4))
    refused(attacked, "Conv with the attributes")


def test_a_resize_that_stretches_another_axis_is_refused() -> None:
    attacked = model()
    axes = next(one for one in nodes(attacked, "Resize")[0].attribute if one.name == "axes")
    axes.ints[0] = 0
    refused(attacked, "Resize with the attributes")


def test_an_attribute_given_as_another_type_is_refused() -> None:
    attacked = model()
    nodes(attacked, "LeakyRelu")[0].attribute[0].type = AttributeProto.INT
    refused(attacked, "LeakyRelu with the attributes")


def test_a_long_attribute_is_refused() -> None:
    attacked = model()
    nodes(attacked, "Resize")[0].attribute[-1].s = b"cubic" * 1000
    refused(attacked, "Resize with the attributes")


def test_more_operators_than_the_scales_need_are_refused() -> None:
    attacked = model()
    for number in range(100):
        attacked.graph.node.append(helper.make_node("Tanh", ["scale_0.noise"], [f"extra_{number}"]))
    refused(attacked, "the operators .* for 2 scales")


# Initializers


def replace(attacked: ModelProto, name: str, array: np.ndarray) -> None:
    initializer(attacked, name).CopyFrom(numpy_helper.from_array(array, name))


def test_an_amplifying_pad_is_refused() -> None:
    attacked = model()
    replace(attacked, "pads", onnx_contract.PADS * 512)
    refused(attacked, "contract's own constants")


def test_a_pad_that_takes_another_constant_is_refused() -> None:
    attacked = model()
    nodes(attacked, "Pad")[0].input[1] = "split"
    refused(attacked, "an input of kind pads")


def test_a_resize_to_a_stored_size_is_refused() -> None:
    attacked = model()
    nodes(attacked, "Resize")[0].input[3] = "split"
    refused(attacked, "an input of kind size")


def test_a_resize_by_stored_scales_is_refused() -> None:
    attacked = model()
    nodes(attacked, "Resize")[0].input[2] = "scale_0.amplitude"
    refused(attacked, "an input of kind none")


def test_wider_clip_bounds_are_refused() -> None:
    attacked = model()
    replace(attacked, "upper", np.array(2, dtype=np.float32))
    refused(attacked, "an input of kind upper")


def test_another_split_is_refused() -> None:
    attacked = model()
    replace(attacked, "split", np.array([2, 2], dtype=np.int64))
    refused(attacked, "contract's own constants")


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int32, np.uint8, np.bool_])
def test_an_initializer_of_another_type_is_refused(dtype: type) -> None:
    attacked = model()
    name = "scale_0.block_0.bias"
    replace(attacked, name, np.zeros(6, dtype=dtype))
    refused(attacked, "float32 or int64")


def test_raw_data_longer_than_the_dims_is_refused() -> None:
    attacked = model()
    initializer(attacked, "scale_0.block_0.bias").raw_data += b"hidden!!"
    refused(attacked, "24 bytes in")


def test_dims_that_claim_more_than_the_raw_data_are_refused() -> None:
    attacked = model()
    initializer(attacked, "scale_0.block_0.weight").dims[0] = 512
    refused(attacked, "bytes in")


def test_dims_beyond_the_limit_are_refused() -> None:
    attacked = model()
    initializer(attacked, "scale_0.block_0.weight").dims[0] = 2**62
    refused(attacked, "at most 4 axes")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_weight_that_is_not_finite_is_refused(value: float) -> None:
    attacked = model()
    weight = numpy_helper.to_array(initializer(attacked, "scale_1.block_0.weight")).copy()
    weight[0, 0, 1, 1] = value
    replace(attacked, "scale_1.block_0.weight", weight)
    refused(attacked, "finite values")


def test_an_initializer_that_nothing_uses_is_refused() -> None:
    attacked = model()
    attacked.graph.initializer.append(
        numpy_helper.from_array(np.zeros((8, 4, 3, 3), dtype=np.float32), "z_star")
    )
    refused(attacked, "every value used")


def test_an_initializer_twice_is_refused() -> None:
    attacked = model()
    attacked.graph.initializer.add().CopyFrom(attacked.graph.initializer[0])
    refused(attacked, "every initializer once")


def test_a_stored_image_in_place_of_noise_is_refused() -> None:
    attacked = model()
    image = np.zeros((1, 4, 7, 8), dtype=np.float32)
    attacked.graph.initializer.append(numpy_helper.from_array(image, "image_0"))
    nodes(attacked, "Mul")[1].input[1] = "image_0"
    refused(attacked, "an input of kind noise")


# Data flow


def test_nodes_out_of_order_are_refused() -> None:
    attacked = model()
    first, second = NodeProto(), NodeProto()
    first.CopyFrom(attacked.graph.node[0])
    second.CopyFrom(attacked.graph.node[1])
    attacked.graph.node[0].CopyFrom(second)
    attacked.graph.node[1].CopyFrom(first)
    refused(attacked, "defined before it")


def test_a_cycle_is_refused() -> None:
    attacked = model()
    nodes(attacked, "Tanh")[0].input[0] = nodes(attacked, "Tanh")[0].output[0]
    refused(attacked, "defined before it")


def test_a_value_defined_twice_is_refused() -> None:
    attacked = model()
    attacked.graph.node[1].output[0] = attacked.graph.node[0].output[0]
    refused(attacked, "every value defined once")


def test_a_node_whose_result_nothing_uses_is_refused() -> None:
    attacked = model()
    nodes(attacked, "Conv")[1].input[0] = nodes(attacked, "Conv")[0].output[0]
    refused(attacked, "every value used")


def test_a_node_with_an_additional_input_is_refused() -> None:
    attacked = model()
    nodes(attacked, "Tanh")[0].input.append("pads")
    refused(attacked, "Tanh with 1 inputs")


def test_a_name_off_the_pattern_is_refused() -> None:
    attacked = model()
    name = "C:/patients/12.png"
    attacked.graph.node[0].output[0] = name
    attacked.graph.node[1].input[0] = name
    refused(attacked, "names like")


def test_channels_that_do_not_fit_are_refused() -> None:
    attacked = model()
    replace(attacked, "scale_1.block_1.weight", np.zeros((6, 5, 3, 3), dtype=np.float32))
    refused(attacked, r"a 3x3 convolution of \{6\} channels")


def test_a_larger_kernel_is_refused() -> None:
    attacked = model()
    replace(attacked, "scale_1.block_1.weight", np.zeros((6, 6, 300, 300), dtype=np.float32))
    refused(attacked, "a 3x3 convolution")


def test_a_bias_of_another_length_is_refused() -> None:
    attacked = model()
    replace(attacked, "scale_1.block_1.bias", np.zeros(5, dtype=np.float32))
    refused(attacked, "a 3x3 convolution")


def test_an_addition_that_broadcasts_is_refused() -> None:
    attacked = model()
    nodes(attacked, "Add")[0].input[1] = nodes(attacked, "Mul")[0].output[0]
    refused(attacked, "inputs of the same channels|every value used")


def test_more_channels_than_the_outputs_hold_are_refused() -> None:
    generator = tiny_generator(0, sizes=((5, 6),), mask_classes=("a", "b"))
    attacked = onnx.load_model_from_string(build_onnx(generator))
    one_class = dataclasses.replace(generator.spec, layout=ChannelLayout(3, ("a",)))
    set_metadata(attacked, one_class)
    attacked.graph.output[1].type.tensor_type.shape.dim[1].dim_value = 1
    replace(attacked, "split", onnx_contract.split_sizes(one_class))
    refused(attacked, "4 channels at the end")
