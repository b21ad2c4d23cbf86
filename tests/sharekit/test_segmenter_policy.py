"""The segmenter policy accepts what `canonical_bytes` writes and refuses each attack by its own rule."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from consumer.submission.canonical import canonical_bytes
from sharekit.errors import VerificationError
from sharekit.segmenter import segmenter_policy
from sharekit.segmenter.contract import SegmenterContract
from sharekit.segmenter.segmenter_cost import least_cost
from sharekit.segmenter.segmenter_policy import check_segmenter
from tests.tiny_segmenter import chain, contract, model_of, segmenter, shape_by_content

CONTRACT = contract()
DATA = canonical_bytes(segmenter(), CONTRACT)


def model() -> ModelProto:
    return onnx.load_model_from_string(DATA)


def refused(attacked: ModelProto | bytes, expected: str, asked: SegmenterContract = CONTRACT) -> None:
    """`attacked` is refused, naming the item, because `expected` (a pattern) does not hold."""
    data = attacked if isinstance(attacked, bytes) else attacked.SerializeToString(deterministic=True)
    with pytest.raises(VerificationError) as caught:
        check_segmenter(data, "model.onnx", asked)
    assert caught.value.item == "model.onnx"
    assert re.search(expected, caught.value.expected), caught.value.expected


@pytest.mark.parametrize("classes", [("lesion",), ("polyp", "tool")])
def test_a_packed_segmenter_is_accepted(classes: tuple[str, ...]) -> None:
    made_for = contract(classes)
    check_segmenter(canonical_bytes(segmenter(made_for), made_for), "x", made_for)


def test_a_packed_model_of_computed_shapes_is_accepted() -> None:
    check_segmenter(canonical_bytes(shape_by_content(), CONTRACT), "x", CONTRACT)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(DATA) - 1), st.integers(1, 255))
def test_a_flipped_byte_is_refused_or_still_within_the_rules(position: int, change: int) -> None:
    """Nothing but a refusal is ever raised; finding every flip is the digest's work."""
    data = bytearray(DATA)
    data[position] ^= change
    try:
        check_segmenter(bytes(data), "x", CONTRACT)
    except VerificationError:
        return
    assert onnx.load_model_from_string(bytes(data)).SerializeToString(deterministic=True) == bytes(data)


# Bytes and fields


def test_bytes_that_are_no_protobuf_are_refused() -> None:
    refused(b"\x80\x04\x95pickle", "an ONNX model")


def test_an_unknown_field_is_refused() -> None:
    refused(DATA + bytes([0xFA, 0x3F, 0x02, 0x68, 0x69]), "canonical encoding")


def test_a_file_beyond_the_size_cap_is_refused_unparsed(monkeypatch: pytest.MonkeyPatch) -> None:
    smaller = dataclasses.replace(segmenter_policy.BUDGET, max_bytes=len(DATA) - 1)
    monkeypatch.setattr(segmenter_policy, "BUDGET", smaller)
    refused(DATA, "at most")


def test_external_data_is_refused() -> None:
    attacked = model()
    tensor = attacked.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    refused(attacked, "only the fields")


def test_a_subgraph_is_refused() -> None:
    attacked = model()
    attribute = attacked.graph.node[0].attribute.add(name="body", type=AttributeProto.GRAPH)
    attribute.g.name = "hidden"
    refused(attacked, "only the fields")


def test_a_function_is_refused() -> None:
    attacked = model()
    attacked.functions.add(name="f", domain="local")
    refused(attacked, "only the fields")


def test_a_constant_inside_a_node_is_refused() -> None:
    attacked = model()
    attribute = attacked.graph.node[0].attribute.add(name="value", type=AttributeProto.TENSOR)
    attribute.t.CopyFrom(numpy_helper.from_array(np.zeros(3, np.float32)))
    refused(attacked, "only the fields")


def test_a_sparse_initializer_is_refused() -> None:
    attacked = model()
    attacked.graph.sparse_initializer.add()
    refused(attacked, "only the fields")


@pytest.mark.parametrize("place", ["model", "node", "initializer"])
def test_a_doc_string_is_refused(place: str) -> None:
    attacked = model()
    where = {"model": attacked, "node": attacked.graph.node[0], "initializer": attacked.graph.initializer[0]}
    where[place].doc_string = "/home/somebody"
    refused(attacked, "only the fields")


def test_very_many_empty_nodes_are_refused() -> None:
    attacked = model()
    attacked.graph.node.extend([NodeProto()] * (segmenter_policy.MAX_PARTS + 1))
    refused(attacked, "at most 8192 nodes")


# Header, metadata, interface


def test_a_custom_domain_is_refused() -> None:
    attacked = model()
    attacked.opset_import.add(domain="com.microsoft", version=1)
    refused(attacked, "default domain alone")


def test_an_operator_of_a_custom_domain_is_refused() -> None:
    attacked = model()
    attacked.graph.node[0].domain = "com.microsoft"
    refused(attacked, "only the fields")


@pytest.mark.parametrize("version", [7, 99])
def test_another_opset_is_refused(version: int) -> None:
    attacked = model()
    attacked.opset_import[0].version = version
    refused(attacked, "an operator set from")


def test_another_ir_version_is_refused() -> None:
    attacked = model()
    attacked.ir_version = 3
    refused(attacked, "an IR version")


def test_unlisted_metadata_is_refused() -> None:
    attacked = model()
    attacked.metadata_props.add(key="author", value="x")
    refused(attacked, "the metadata")


def test_a_contract_other_than_the_submission_says_is_refused() -> None:
    refused(DATA, "the contract of the submission", contract(output="probabilities"))


def test_a_side_beyond_the_limit_is_refused() -> None:
    refused(DATA, "sides of at most", contract(size=[2048, 32]))


def test_a_free_spatial_size_is_refused() -> None:
    attacked = model()
    attacked.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    refused(attacked, "only the fields")


def test_another_size_is_refused() -> None:
    attacked = model()
    attacked.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 48
    refused(attacked, "one input 'image'")


def test_an_additional_output_is_refused() -> None:
    attacked = model()
    attacked.graph.output.add().CopyFrom(helper.make_tensor_value_info("image", TensorProto.FLOAT, [1]))
    refused(attacked, "one output 'mask'")


# Operators and initializers


@pytest.mark.parametrize(
    "operator",
    ["Loop", "If", "Scan", "RandomNormal", "Expand", "Tile", "ConstantOfShape", "Constant", "Evil"],
)
def test_an_operator_off_the_list_is_refused(operator: str) -> None:
    attacked = model()
    attacked.graph.node[0].op_type = operator
    refused(attacked, "one of the operators")


def test_an_attribute_that_the_operator_does_not_have_is_refused() -> None:
    attacked = model()
    attacked.graph.node[0].attribute.append(helper.make_attribute("activation", 1))
    refused(attacked, "the ONNX checker accepts")


def test_a_long_attribute_is_refused() -> None:
    attacked = model()
    attacked.graph.node[0].attribute[0].ints.extend([1] * 1000)
    refused(attacked, "attributes of at most")


def test_initializer_dims_that_claim_more_than_the_bytes_are_refused() -> None:
    attacked = model()
    attacked.graph.initializer[0].dims[0] = 2**20
    refused(attacked, "bytes in")


def test_absurd_initializer_dims_are_refused() -> None:
    attacked = model()
    attacked.graph.initializer[0].dims[0] = 2**62
    refused(attacked, "at most 6 axes")


def test_initializer_dims_whose_product_overflows_are_refused() -> None:
    attacked = model()
    del attacked.graph.initializer[0].dims[:]
    attacked.graph.initializer[0].dims.extend([2**22, 2**22, 2**20])
    refused(attacked, "bytes in")


def test_an_initializer_twice_is_refused() -> None:
    attacked = model()
    attacked.graph.initializer.add().CopyFrom(attacked.graph.initializer[0])
    refused(attacked, "every initializer once")


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.uint8])
def test_an_initializer_of_another_type_is_refused(dtype: type) -> None:
    attacked = model()
    name = attacked.graph.initializer[0].name
    attacked.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.zeros((1, 3, 1, 1), dtype), name))
    refused(attacked, "initializers$")


def test_a_weight_that_is_not_finite_is_refused() -> None:
    attacked = model()
    tensor = attacked.graph.initializer[0]
    tensor.CopyFrom(numpy_helper.from_array(np.full((1, 3, 1, 1), np.nan, np.float32), tensor.name))
    refused(attacked, "finite values")


def test_a_graph_that_computes_another_shape_is_refused() -> None:
    pool = helper.make_node("MaxPool", ["logits"], ["mask"], kernel_shape=[2, 2], strides=[2, 2])
    convolution = helper.make_node("Conv", ["image", "weight"], ["logits"])
    weights = {"weight": np.ones((1, 3, 1, 1), np.float32)}
    attacked = canonical_bytes(model_of([convolution, pool], weights, CONTRACT), CONTRACT)
    refused(attacked, "the ONNX checker accepts")


def test_a_model_whose_shapes_need_too_much_memory_is_refused() -> None:
    attacked = model()
    resized = [
        helper.make_node("Resize", ["image", "", "", "large"], ["big"]),
        helper.make_node("GlobalAveragePool", ["big"], ["point"]),
        helper.make_node("Mul", ["image", "point"], ["scaled"]),
    ]
    for number, node in enumerate(resized):
        attacked.graph.node.insert(number, node)
    attacked.graph.node[3].input[0] = "scaled"
    large = np.array([1, 3, 32768, 32768], np.int64)
    attacked.graph.initializer.append(numpy_helper.from_array(large, "large"))
    refused(attacked, "at most 8 GiB of memory")


def test_a_model_of_too_much_arithmetic_is_refused() -> None:
    made_for = contract(size=[1024, 1024])
    refused(canonical_bytes(chain(400), made_for), "at most 1e[+]13 multiply-adds", made_for)


@pytest.mark.parametrize(
    ("node", "weights", "expected"),
    [
        (helper.make_node("Conv", ["image", "w"], ["v"]), (8, 3, 1, 1), 8 * 3 * 24 * 32),
        (helper.make_node("Conv", ["image", "w"], ["v"], pads=[1, 1, 1, 1]), (8, 3, 3, 3), 8 * 27 * 24 * 32),
        (helper.make_node("Conv", ["image", "w"], ["v"], group=3), (9, 1, 1, 1), 9 * 24 * 32),
        (helper.make_node("ConvTranspose", ["image", "w"], ["v"]), (3, 8, 2, 2), 3 * 8 * 4 * 24 * 32),
        (helper.make_node("MatMul", ["image", "w"], ["v"]), (32, 5), 3 * 24 * 32 * 5),
        (helper.make_node("Relu", ["image"], ["v"]), (1,), 0),
    ],
    ids=["Conv 1x1", "Conv 3x3", "grouped Conv", "ConvTranspose", "MatMul", "Relu"],
)
def test_multiply_adds_follow_from_the_shapes(
    node: NodeProto, weights: tuple[int, ...], expected: int
) -> None:
    nodes = [node, helper.make_node("Identity", ["image"], ["mask"])]
    packed = canonical_bytes(model_of(nodes, {"w": np.ones(weights, np.float32)}, CONTRACT), CONTRACT)
    assert least_cost(onnx.load_model_from_string(packed)).multiply_adds == expected


def test_nodes_out_of_order_are_refused() -> None:
    attacked = model()
    attacked.graph.node.insert(0, helper.make_node("Relu", ["later"], ["early"]))
    attacked.graph.node.append(helper.make_node("Relu", ["image"], ["later"]))
    refused(attacked, "the ONNX checker accepts")
