"""Packing changes how a model is written and nothing of what it computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from consumer.submission.canonical import canonical_bytes
from consumer.submission.trial import run_once
from sharekit.errors import InputError
from sharekit.segmenter.model_file import load_model
from sharekit.segmenter.segmenter_policy import check_segmenter
from tests.tiny_segmenter import contract, model_of, not_a_number, segmenter, shape_by_content

CONTRACT = contract()


def verbose_model() -> ModelProto:
    """The segmenter as an exporter may write it: other names, doc strings, constants as nodes."""
    constant = numpy_helper.from_array(np.full((1, 3, 1, 1), 0.5, np.float32))
    nodes = [
        helper.make_node("Constant", [], ["/w"], name="/Constant", value=constant, doc_string="trace"),
        helper.make_node("Constant", [], ["/scale"], value_float=2.0),
        helper.make_node("Conv", ["image", "/w"], ["/y"], name="/Conv", kernel_shape=[1, 1]),
        helper.make_node("Mul", ["/y", "/scale"], ["mask"], doc_string="/home/somebody/net.py"),
    ]
    model = model_of(nodes, {}, CONTRACT)
    model.doc_string = "trained by somebody"
    model.graph.value_info.add(name="/y")
    model.metadata_props.add(key="author", value="somebody")
    model.graph.node[2].metadata_props.add(key="trace", value="x")
    return model


def run(data: bytes) -> np.ndarray:
    image = np.random.default_rng(0).normal(size=(1, 3, *CONTRACT.size)).astype(np.float32)
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: image})[0]


def test_a_verbose_model_is_accepted_and_computes_the_same() -> None:
    data = canonical_bytes(verbose_model(), CONTRACT)
    check_segmenter(data, "x", CONTRACT)
    assert np.array_equal(run(data), run(verbose_model().SerializeToString()))
    assert b"somebody" not in data


def test_names_of_input_and_output_do_not_matter() -> None:
    renamed = segmenter()
    renamed.graph.input[0].name = renamed.graph.node[0].input[0] = "x"
    renamed.graph.output[0].name = renamed.graph.node[0].output[0] = "image"
    assert canonical_bytes(renamed, CONTRACT) == canonical_bytes(segmenter(), CONTRACT)


def test_functions_are_inlined() -> None:
    model = segmenter()
    body = helper.make_node("Relu", ["a"], ["b"])
    opset = helper.make_opsetid("", 18)
    model.functions.append(helper.make_function("local", "F", ["a"], ["b"], [body], [opset]))
    model.opset_import.append(helper.make_opsetid("local", 1))
    model.graph.node[0].output[0] = "y"
    model.graph.node.append(helper.make_node("F", ["y"], ["mask"], domain="local"))
    data = canonical_bytes(model, CONTRACT)
    check_segmenter(data, "x", CONTRACT)
    assert run(data).min() == 0


def test_packing_twice_gives_the_same_bytes() -> None:
    data = canonical_bytes(verbose_model(), CONTRACT)
    assert canonical_bytes(onnx.load_model_from_string(data), CONTRACT) == data


def test_weights_in_another_file_are_refused(tmp_path: Path) -> None:
    model = segmenter()
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match="weights in another file"):
        load_model(tmp_path / "m.onnx")


def tensor_in_another_file() -> TensorProto:
    tensor = numpy_helper.from_array(np.zeros((1, 3, 1, 1), np.float32), "stolen")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="secret.bin")
    return tensor


def in_a_constant(model: ModelProto) -> None:
    constant = helper.make_node("Constant", [], ["weight"], value=tensor_in_another_file())
    model.graph.node.insert(0, constant)


def in_a_subgraph(model: ModelProto) -> None:
    branch = helper.make_graph([], "branch", [], [], [tensor_in_another_file()])
    model.graph.node.append(helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch))


def in_a_function(model: ModelProto) -> None:
    body = helper.make_node("Constant", [], ["b"], value=tensor_in_another_file())
    opset = helper.make_opsetid("", 18)
    model.functions.append(helper.make_function("local", "F", [], ["b"], [body], [opset]))


def in_a_sparse_initializer(model: ModelProto) -> None:
    model.graph.sparse_initializer.add(values=tensor_in_another_file())


@pytest.mark.parametrize("hide", [in_a_constant, in_a_subgraph, in_a_function, in_a_sparse_initializer])
def test_a_model_that_would_pack_a_file_beside_it_is_refused(
    hide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading such a tensor opens a file below the working directory: the submitter's, not the model's."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.bin").write_bytes(b"secret bytes")
    model = segmenter()
    hide(model)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match="weights in another file"):
        load_model(tmp_path / "m.onnx")


def with_few_bytes() -> ModelProto:
    model = segmenter()
    model.graph.initializer[0].raw_data = b"\0\0\0\0"
    return model


def with_an_unknown_type() -> ModelProto:
    model = segmenter()
    model.graph.initializer[0].data_type = 999
    return model


def with_a_constant(**attributes: object) -> ModelProto:
    model = segmenter()
    model.graph.node.insert(0, helper.make_node("Constant", [], ["c"], **attributes))
    return model


def with_a_constant_of_another_type() -> ModelProto:
    model = with_a_constant(value=numpy_helper.from_array(np.zeros(1, np.float32)))
    model.graph.node[0].attribute[0].CopyFrom(helper.make_attribute("value", 3))
    return model


def with_a_constant_of_no_name() -> ModelProto:
    model = with_a_constant(value_float=1.0)
    del model.graph.node[0].output[:]
    return model


def with_a_constant_from_elsewhere() -> ModelProto:
    model = with_a_constant(value_float=1.0)
    model.graph.node[0].attribute[0].ref_attr_name = "x"
    return model


def with_an_endless_function() -> ModelProto:
    model = segmenter()
    body = helper.make_node("F", ["a"], ["b"], domain="local")
    opset = helper.make_opsetid("local", 1)
    model.functions.append(helper.make_function("local", "F", ["a"], ["b"], [body], [opset]))
    model.opset_import.append(opset)
    return model


@pytest.mark.parametrize(
    "broken",
    [
        with_few_bytes,
        with_an_unknown_type,
        with_a_constant,
        lambda: with_a_constant(value_float=1.0, value_int=1),
        lambda: with_a_constant(value_string="x"),
        with_a_constant_of_another_type,
        with_a_constant_of_no_name,
        with_a_constant_from_elsewhere,
        with_an_endless_function,
    ],
)
def test_a_broken_model_is_bad_input_and_no_fault_of_the_program(broken) -> None:
    with pytest.raises(InputError, match="model: expected"):
        canonical_bytes(broken(), CONTRACT)


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"\x80\x04\x95pickle")
    with pytest.raises(InputError, match="an ONNX model"):
        load_model(tmp_path / "m.onnx")


@pytest.mark.parametrize("broken", [not_a_number, shape_by_content])
def test_a_model_that_does_not_run_as_its_contract_says_is_not_packed(broken) -> None:
    with pytest.raises(InputError):
        run_once(canonical_bytes(broken(), CONTRACT), CONTRACT, "m.onnx")
