"""Models in the forms that other people export are packed, and then give what the exported model gave."""

from __future__ import annotations

import hashlib
import io
import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from consumer.cli import main
from consumer.submission.pack import ContractOptions, PackedSubmission, pack_submission
from consumer.submission.usual_exports import Channels
from sharekit.errors import InputError, SharekitError, UsageError
from sharekit.segmenter.submission import read_submission
from sharekit.signing.keys import generate

KEY = generate()
HEIGHT, WIDTH = 24, 32
OPTIONS = {
    "mean": (0.5, 0.4, 0.3),
    "std": (0.25, 0.2, 0.3),
    "output": "probabilities",
    "classes": ("foreground",),
}
RNG = np.random.default_rng(3)
WEIGHTS = RNG.normal(size=(3, 3, 3, 3)).astype(np.float32)
IMAGE = RNG.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def model_of(
    nodes: Sequence[onnx.NodeProto],
    *,
    image: Sequence[int | str] = ("n", 3, HEIGHT, WIDTH),
    image_type: int = TensorProto.FLOAT,
    mask: Sequence[int | str] | None = ("n", 1, HEIGHT, WIDTH),
    mask_type: int = TensorProto.FLOAT,
    channels: int = 1,
    opset: int = 17,
    arrays: dict[str, np.ndarray] | None = None,
    weight_type: type = np.float32,
) -> ModelProto:
    """A model of `nodes` from `input` to `output`, with a 3x3 convolution `w` of so many channels at hand."""
    initializers = {"w": WEIGHTS[:channels].astype(weight_type), **(arrays or {})}
    graph = helper.make_graph(
        list(nodes),
        "main_graph",
        [helper.make_tensor_value_info("input", image_type, image)],
        [helper.make_tensor_value_info("output", mask_type, mask)],
        [numpy_helper.from_array(array, name) for name, array in initializers.items()],
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", opset)])


def convolution(source: str = "input", target: str = "y") -> onnx.NodeProto:
    return helper.make_node("Conv", [source, "w"], [target], pads=[1, 1, 1, 1])


def sigmoid(**changes: Any) -> ModelProto:
    return model_of([convolution(), helper.make_node("Sigmoid", ["y"], ["output"])], **changes)


def softmax(**changes: Any) -> ModelProto:
    nodes = [convolution(), helper.make_node("Softmax", ["y"], ["output"], axis=1)]
    return model_of(nodes, channels=2, mask=("n", 2, HEIGHT, WIDTH), **changes)


def argmax(channels: int = 2, keepdims: int = 1, **changes: Any) -> ModelProto:
    nodes = [convolution(), helper.make_node("ArgMax", ["y"], ["output"], axis=1, keepdims=keepdims)]
    shape = ("n", 1, HEIGHT, WIDTH) if keepdims else ("n", HEIGHT, WIDTH)
    return model_of(nodes, channels=channels, mask=shape, mask_type=TensorProto.INT64, **changes)


def packed(model: ModelProto, folder: Path, **options: Any) -> PackedSubmission:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    chosen = ContractOptions(**{**OPTIONS, **options})
    return pack_submission(path, KEY, folder / "submission", options=chosen, purpose="a test")


def probabilities(submission: PackedSubmission) -> np.ndarray:
    """What the packed model gives for `IMAGE`, `(K, h, w)`."""
    data, contract = read_submission(submission.path).model, submission.submission.contract
    assert hashlib.sha256(data).hexdigest() == submission.submission.model_sha256
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return contract.probabilities(session.run(["mask"], {"image": contract.prepare(IMAGE)[None]})[0])[0]


def original(model: ModelProto, prepared: np.ndarray | None = None) -> np.ndarray:
    """What the exported model gives for `IMAGE`, normalised, `(1, 3, h, w)`."""
    if prepared is None:
        prepared = normalised()
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["output"], {"input": prepared})[0]


def normalised() -> np.ndarray:
    values = (IMAGE.astype(np.float32) / 255 - np.array(OPTIONS["mean"], np.float32)) / np.array(
        OPTIONS["std"], np.float32
    )
    return np.ascontiguousarray(values.transpose(2, 0, 1)[None], np.float32)


# -- output


def test_softmax_over_background_and_foreground(tmp_path: Path) -> None:
    given = probabilities(packed(softmax(), tmp_path, channels=Channels(background=0)))
    assert np.allclose(given[0], original(softmax())[0, 1], atol=1e-6)


def test_a_channel_by_its_number(tmp_path: Path) -> None:
    given = probabilities(packed(softmax(), tmp_path, channels=Channels((1,))))
    assert np.allclose(given[0], original(softmax())[0, 1], atol=1e-6)


def test_channels_in_the_order_of_the_classes(tmp_path: Path) -> None:
    nodes = [convolution(), helper.make_node("Softmax", ["y"], ["output"], axis=1)]
    model = model_of(nodes, channels=3, mask=("n", 3, HEIGHT, WIDTH))
    done = packed(model, tmp_path, classes=("vessel", "polyp"), channels=Channels((2, 0)))
    assert np.allclose(probabilities(done), original(model)[0, [2, 0]], atol=1e-6)


def test_logits_over_background_and_classes_go_through_softmax(tmp_path: Path) -> None:
    nodes = [convolution(target="output")]
    model = model_of(nodes, channels=3, mask=("n", 3, HEIGHT, WIDTH))
    done = packed(model, tmp_path, output="logits", classes=("a", "b"), channels=Channels(background=1))
    exponents = np.exp(original(model)[0])
    assert done.submission.contract.output == "probabilities"
    assert np.allclose(probabilities(done), (exponents / exponents.sum(0))[[0, 2]], atol=1e-5)


@pytest.mark.parametrize("keepdims", [0, 1])
def test_argmax_of_background_and_foreground(tmp_path: Path, keepdims: int) -> None:
    model = argmax(keepdims=keepdims)
    given = probabilities(packed(model, tmp_path, output=None, channels=Channels(background=0)))
    assert np.array_equal(given[0], original(model).reshape(HEIGHT, WIDTH) == 1)


def test_class_numbers_by_channel(tmp_path: Path) -> None:
    model = argmax(channels=3)
    done = packed(model, tmp_path, output=None, classes=("a", "b"), channels=Channels((2, 0)))
    labels = original(model)[0, 0]
    assert np.array_equal(probabilities(done), np.stack([labels == 2, labels == 0]))


@pytest.mark.parametrize("kind", [TensorProto.UINT8, TensorProto.INT32])
def test_class_numbers_of_other_types(tmp_path: Path, kind: int) -> None:
    nodes = [
        convolution(),
        helper.make_node("ArgMax", ["y"], ["number"], axis=1),
        helper.make_node("Cast", ["number"], ["output"], to=kind),
    ]
    model = model_of(nodes, channels=2, mask_type=kind)
    given = probabilities(packed(model, tmp_path, output=None, channels=Channels(background=0)))
    assert np.array_equal(given[0], original(model)[0, 0] == 1)


def test_a_mask_of_0_and_255_by_its_number(tmp_path: Path) -> None:
    nodes = [
        convolution(),
        helper.make_node("ArgMax", ["y"], ["number"], axis=1),
        helper.make_node("Mul", ["number", "white"], ["large"]),
        helper.make_node("Cast", ["large"], ["output"], to=TensorProto.UINT8),
    ]
    model = model_of(
        nodes, channels=2, mask_type=TensorProto.UINT8, arrays={"white": np.array(255, np.int64)}
    )
    given = probabilities(packed(model, tmp_path, channels=Channels((255,))))
    assert np.array_equal(given[0], original(model)[0, 0] == 255)


def test_a_mask_of_truth_values(tmp_path: Path) -> None:
    nodes = [convolution(), helper.make_node("Greater", ["y", "zero"], ["output"])]
    model = model_of(nodes, mask_type=TensorProto.BOOL, arrays={"zero": np.zeros(1, np.float32)})
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    # Greater is not among the operators that a node accepts; the message names it.
    with pytest.raises(InputError, match="Greater"):
        packed(model, tmp_path)


@pytest.mark.parametrize("shape", [("n", HEIGHT, WIDTH), (HEIGHT, WIDTH)])
def test_a_mask_without_a_channel(tmp_path: Path, shape: tuple[int | str, ...]) -> None:
    axes = np.array([1] if len(shape) == 3 else [0, 1], np.int64)
    nodes = [
        convolution(),
        helper.make_node("Sigmoid", ["y"], ["p"]),
        helper.make_node("Squeeze", ["p", "axes"], ["output"]),
    ]
    image = ("n", 3, HEIGHT, WIDTH) if len(shape) == 3 else (1, 3, HEIGHT, WIDTH)
    model = model_of(nodes, image=image, mask=shape, arrays={"axes": axes})
    given = probabilities(packed(model, tmp_path))
    assert np.allclose(given, original(model).reshape(1, HEIGHT, WIDTH), atol=1e-6)


def test_masks_with_the_channels_last(tmp_path: Path) -> None:
    nodes = [
        convolution(),
        helper.make_node("Transpose", ["y"], ["last"], perm=[0, 2, 3, 1]),
        helper.make_node("Softmax", ["last"], ["output"], axis=-1),
    ]
    model = model_of(nodes, channels=2, mask=("n", HEIGHT, WIDTH, 2))
    given = probabilities(packed(model, tmp_path, channels=Channels(background=0)))
    assert np.allclose(given[0], original(model)[0, :, :, 1], atol=1e-6)


def test_one_of_several_outputs(tmp_path: Path) -> None:
    model = sigmoid()
    model.graph.node.append(helper.make_node("RandomNormalLike", ["y"], ["aux"]))
    model.graph.output.append(helper.make_tensor_value_info("aux", TensorProto.FLOAT, None))
    with pytest.raises(UsageError, match="'output', 'aux'"):
        packed(model, tmp_path)
    # What the other output needs, which no node accepts, goes with it.
    given = probabilities(packed(model, tmp_path, output_name="output"))
    assert np.allclose(given, original(sigmoid())[0], atol=1e-6)


# -- input and weights


def test_an_image_with_the_channels_last(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Transpose", ["input"], ["turned"], perm=[0, 3, 1, 2]),
        convolution("turned"),
        helper.make_node("Sigmoid", ["y"], ["output"]),
    ]
    model = model_of(nodes, image=("n", HEIGHT, WIDTH, 3))
    expected = original(model, normalised().transpose(0, 2, 3, 1).copy())
    assert np.allclose(probabilities(packed(model, tmp_path)), expected[0], atol=1e-6)


@pytest.mark.parametrize("last", [False, True])
def test_an_image_of_bytes(tmp_path: Path, last: bool) -> None:
    nodes = [helper.make_node("Cast", ["input"], ["float"], to=TensorProto.FLOAT)]
    nodes.append(helper.make_node("Div", ["float", "white"], ["unit"]))
    if last:
        nodes.append(helper.make_node("Transpose", ["unit"], ["turned"], perm=[0, 3, 1, 2]))
    nodes += [convolution("turned" if last else "unit"), helper.make_node("Sigmoid", ["y"], ["output"])]
    model = model_of(
        nodes,
        image=("n", HEIGHT, WIDTH, 3) if last else ("n", 3, HEIGHT, WIDTH),
        image_type=TensorProto.UINT8,
        arrays={"white": np.array(255, np.float32)},
    )
    expected = original(model, IMAGE[None] if last else IMAGE.transpose(2, 0, 1)[None].copy())
    plain = packed(model, tmp_path, mean=None, std=None)
    assert np.allclose(probabilities(plain), expected[0], atol=1e-6)
    (tmp_path / "other").mkdir()
    # Whatever normalisation is asked for is undone.
    assert np.allclose(probabilities(packed(model, tmp_path / "other")), expected[0], atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "name"), [(np.float16, TensorProto.FLOAT16), (np.float64, TensorProto.DOUBLE)]
)
def test_other_floats(tmp_path: Path, kind: type, name: int) -> None:
    model = sigmoid(image_type=name, mask_type=name, weight_type=kind)
    expected = original(sigmoid(weight_type=np.float32))
    assert np.allclose(probabilities(packed(model, tmp_path)), expected[0], atol=5e-3)


def test_half_precision_between_casts(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["input"], ["half"], to=TensorProto.FLOAT16),
        helper.make_node(
            "Constant", [], ["w16"], value=numpy_helper.from_array(WEIGHTS[:1].astype(np.float16))
        ),
        helper.make_node("Conv", ["half", "w16"], ["y"], pads=[1, 1, 1, 1]),
        helper.make_node("Cast", ["y"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Sigmoid", ["wide"], ["output"]),
    ]
    given = probabilities(packed(model_of(nodes), tmp_path))
    assert np.allclose(given, original(sigmoid())[0], atol=5e-3)


def test_weights_that_are_also_inputs(tmp_path: Path) -> None:
    """As exporters wrote them up to IR version 3."""
    model = sigmoid(opset=11)
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, WEIGHTS[:1].shape))
    assert np.allclose(probabilities(packed(model, tmp_path)), original(sigmoid())[0], atol=1e-6)


def test_free_height_and_width(tmp_path: Path) -> None:
    model = sigmoid(image=("n", 3, "h", "w"), mask=("n", 1, "h", "w"))
    with pytest.raises(UsageError, match="--size"):
        packed(model, tmp_path)
    given = probabilities(packed(model, tmp_path, size=(HEIGHT, WIDTH)))
    assert np.allclose(given, original(model)[0], atol=1e-6)


def test_sizes_that_the_graph_computes_are_folded(tmp_path: Path) -> None:
    """Shape, Range and Expand are on no list of a node; with fixed sizes they are constants."""
    nodes = [
        convolution(),
        helper.make_node("Shape", ["y"], ["shape"]),
        helper.make_node("ConstantOfShape", ["shape"], ["zeros"]),
        helper.make_node("Add", ["y", "zeros"], ["sum"]),
        helper.make_node("Sigmoid", ["sum"], ["output"]),
    ]
    model = model_of(nodes, image=("n", 3, "h", "w"), mask=("n", 1, "h", "w"))
    given = probabilities(packed(model, tmp_path, size=(HEIGHT, WIDTH)))
    assert np.allclose(given, original(sigmoid())[0], atol=1e-6)


@pytest.mark.parametrize("opset", [7, 9, 10])
def test_old_operator_sets_are_converted(tmp_path: Path, opset: int) -> None:
    nodes = [
        convolution(),
        helper.make_node("MaxPool", ["y"], ["half"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Upsample", ["half", "scales"], ["full"], mode="nearest")
        if opset == 9
        else helper.make_node("Identity", ["y"], ["full"]),
        helper.make_node("Sigmoid", ["full"], ["output"]),
    ]
    model = model_of(nodes, opset=opset, arrays={"scales": np.array([1, 1, 2, 2], np.float32)})
    assert np.allclose(probabilities(packed(model, tmp_path)), original(model)[0], atol=1e-5)


# -- torch's exporter


def traced(opset: int, make: Callable[[Any], Any], *, free: bool, channels: int = 2) -> ModelProto:
    """A small U-shaped network as torch exports it."""
    torch = pytest.importorskip("torch")

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down = torch.nn.Conv2d(3, 8, 3, stride=2, padding=1)
            self.norm = torch.nn.BatchNorm2d(8)
            self.head = torch.nn.Conv2d(11, channels, 3, padding=1)

        def forward(self, image: Any) -> Any:
            small = torch.nn.functional.hardswish(self.norm(self.down(image)))
            full = make(torch)(small, image)
            return torch.softmax(self.head(torch.cat([full, image], 1)), 1)

    torch.manual_seed(0)
    buffer: Any = io.BytesIO()
    axes = {"input": {0: "n", 2: "h", 3: "w"}, "output": {0: "n", 2: "h", 3: "w"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Network().eval(),
            (torch.zeros(1, 3, HEIGHT, WIDTH),),
            buffer,
            dynamo=False,
            opset_version=opset,
            input_names=["input"],
            output_names=["output"],
            dynamic_axes=axes if free else None,
        )
    return onnx.load_from_string(buffer.getvalue())


def by_size(mode: str, **options: Any) -> Callable[[Any], Any]:
    return lambda torch: (
        lambda small, image: torch.nn.functional.interpolate(
            small, size=image.shape[2:], mode=mode, **options
        )
    )


def by_factor(mode: str, **options: Any) -> Callable[[Any], Any]:
    return lambda torch: (
        lambda small, image: torch.nn.functional.interpolate(small, scale_factor=2, mode=mode, **options)
    )


RESIZES = {
    "nearest by size": by_size("nearest"),
    "bilinear by size": by_size("bilinear", align_corners=False),
    "bilinear with corners": by_size("bilinear", align_corners=True),
    "bicubic by factor": by_factor("bicubic", align_corners=False),
    "nearest by factor": by_factor("nearest"),
    "shuffled pixels": lambda torch: (
        lambda small, _: torch.cat([torch.nn.functional.pixel_shuffle(small, 2)] * 4, 1)
    ),
}


@pytest.mark.parametrize("free", [False, True], ids=["fixed", "free"])
@pytest.mark.parametrize("opset", [11, 13, 17, 18, 20])
@pytest.mark.parametrize("resize", RESIZES)
def test_what_torch_exports(tmp_path: Path, opset: int, resize: str, free: bool) -> None:
    model = traced(opset, RESIZES[resize], free=free)
    done = packed(model, tmp_path, size=(HEIGHT, WIDTH), channels=Channels(background=0))
    assert np.allclose(probabilities(done)[0], original(model)[0, 1], atol=1e-5)


# -- what cannot be packed says why


def refused(folder: Path, model: ModelProto, found: str, **options: Any) -> SharekitError:
    with pytest.raises((InputError, UsageError), match=found) as caught:
        packed(model, folder, **options)
    assert not (folder / "submission").exists()
    assert "pack the model again with `consumer submit`" not in caught.value.next_step
    return caught.value


def test_more_channels_than_classes_are_named(tmp_path: Path) -> None:
    error = refused(tmp_path, softmax(), "2 channels")
    assert "--background 0" in error.next_step


def test_fewer_channels_than_classes_are_named(tmp_path: Path) -> None:
    refused(tmp_path, sigmoid(), "1 channels", classes=("a", "b"))


def test_class_numbers_without_a_choice_are_named(tmp_path: Path) -> None:
    error = refused(tmp_path, argmax(), "argmax", output=None)
    assert "--background 0" in error.next_step


def test_a_class_of_background_is_no_class(tmp_path: Path) -> None:
    error = refused(tmp_path, softmax(), "background", classes=("Background", "polyp"))
    assert "--classes polyp --background 0" in error.next_step


@pytest.mark.parametrize("channels", [Channels((2,)), Channels((-1,)), Channels(background=2)])
def test_a_channel_that_is_not_there_is_named(tmp_path: Path, channels: Channels) -> None:
    refused(tmp_path, softmax(), "from 0 to 1", channels=channels)


def test_logits_that_are_called_probabilities_are_refused(tmp_path: Path) -> None:
    model = model_of([convolution(target="output")])
    error = refused(tmp_path, model, "for a grey image", mean=(0.0, 0.0, 0.0), std=(0.01, 0.01, 0.01))
    assert "--output logits" in error.next_step


def test_another_size_than_the_models_is_named(tmp_path: Path) -> None:
    refused(tmp_path, sigmoid(), "24, 32", size=(64, 64))


def test_a_fixed_batch_of_several_images_is_named(tmp_path: Path) -> None:
    refused(tmp_path, sigmoid(image=(4, 3, HEIGHT, WIDTH)), "4, 3, 24, 32")


def test_masks_smaller_than_the_image_are_named(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["input", "w"], ["y"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Sigmoid", ["y"], ["output"]),
    ]
    error = refused(tmp_path, model_of(nodes, mask=None), "12, 16")
    assert "upsampling" in error.next_step


def test_two_images_in_are_named(tmp_path: Path) -> None:
    model = sigmoid()
    model.graph.input.append(helper.make_tensor_value_info("second", TensorProto.FLOAT, [1]))
    refused(tmp_path, model, "2 inputs: 'input', 'second'")


def test_an_image_of_whole_numbers_is_named(tmp_path: Path) -> None:
    nodes = [helper.make_node("Cast", ["input"], ["f"], to=1), convolution("f", "output")]
    refused(tmp_path, model_of(nodes, image_type=TensorProto.INT64), "int64")


def test_an_operator_off_the_list_is_named(tmp_path: Path) -> None:
    nodes = [convolution(), helper.make_node("Sin", ["y"], ["output"])]
    refused(tmp_path, model_of(nodes), "Sin", output="logits")


def test_the_command_takes_channels_and_background(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model.onnx").write_bytes(softmax().SerializeToString())
    KEY.save(tmp_path / "laboratory.key")
    words = ["submit", tmp_path / "model.onnx", "--key", tmp_path / "laboratory.key", "--format", "json"]
    words += ["--mean", 0.5, 0.5, 0.5, "--std", 0.5, 0.5, 0.5, "--output", "probabilities"]
    words += ["--classes", "polyp"]
    for out, more in (("a", ["--background", 0]), ("b", ["--channel", 1])):
        assert main([*map(str, [*words, "--out", tmp_path / out, *more])]) == 0
        given = json.loads(capsys.readouterr().out)
        assert given["contract"]["classes"] == ["polyp"]
        assert given["contract"]["size"] == [HEIGHT, WIDTH]
    assert main([*map(str, [*words, "--out", tmp_path / "c"])]) == UsageError.exit_code
