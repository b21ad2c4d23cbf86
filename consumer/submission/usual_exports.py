"""Adapt segmenters from common exporters to the input and output that a contract describes.

A contract's model takes float32 `(N, C, h, w)` and gives float32 `(N, K, h, w)`, one channel per class. Other
models take half precision, NHWC or bytes. They give masks without a channel, a background channel with
softmax over all channels, or the number of the likeliest class (argmax). This module adds nodes around the
graph that translate between the two, and keeps the weights' values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from consumer.submission.trial import run_on_grey
from sharekit.errors import InputError, UsageError
from sharekit.segmenter.contract import OutputKind, SegmenterContract

OLDEST_OPSET = 11
"""Oldest operator set that a node accepts; older models are converted to `CONVERTED_OPSET`."""
CONVERTED_OPSET = 17
BACKGROUND_NAMES = frozenset({"background", "bg", "_background_", "__background__", "none"})
_FLOATS = frozenset({TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16})
_INPUT, _OUTPUT = "sharekit_image", "sharekit_mask"
_OPTIONAL_CHANNEL = 3  # axes of a mask without a channel
_AXES = 4  # axes of a contract's tensors
_ROUNDING = 1e-3  # tolerance for a probability


@dataclass(frozen=True)
class Channels:
    """The output channels that are classes, numbered from 0; for argmax, its class numbers."""

    chosen: tuple[int, ...] = ()
    """Channels in the order of the classes; empty chooses all."""
    background: int | None = None
    """The channel of the background; all other channels are classes, in order."""

    def of(self, found: int | None, classes: int, item: object) -> tuple[int, ...]:
        """The channel number of each class.

        Args:
            found: number of the model's output channels; None when it gives class numbers.
            classes: number of classes in the contract.
            item: name of the model in errors.

        Raises:
            UsageError: the choice does not fit the model's output.
        """
        numbers = self._numbers(found, classes, item)
        if len(numbers) != classes:
            raise _channels_differ(item, classes, len(numbers) if self != Channels() else found)
        if found is not None and any(not 0 <= number < found for number in numbers):
            raise UsageError(
                "--channel",
                expected=f"numbers from 0 to {found - 1}: {item} gives {found} channels",
                found=", ".join(map(str, numbers)),
                next_step="count the channels from 0",
            )
        return numbers

    def _numbers(self, found: int | None, classes: int, item: object) -> tuple[int, ...]:
        if self.chosen:
            return self.chosen
        if self.background is not None:
            count = classes + 1 if found is None else found
            if not 0 <= self.background < count:
                raise UsageError(
                    "--background",
                    expected=f"a number from 0 to {count - 1}",
                    found=str(self.background),
                    next_step="count the channels from 0",
                )
            return tuple(number for number in range(count) if number != self.background)
        if found is None:
            raise UsageError(
                item,
                expected="one probability for each class and pixel, or a choice among class numbers",
                found="class numbers (argmax), and neither --channel nor --background",
                next_step="add --background 0, or --channel with the number of each class in --classes; "
                "better, export the model without argmax",
            )
        return tuple(range(found))


def adapt(
    model: ModelProto, contract: SegmenterContract, channels: Channels, item: object
) -> tuple[ModelProto, SegmenterContract]:
    """Give a model the contract's input and output; return it with the contract of its new output.

    Args:
        model: model with one input and one output; this function may change it.
        contract: contract of the image, and of the output as the exporter left it.
        channels: the output channels that are the contract's classes.
        item: name of the model in errors.

    Raises:
        InputError: the model does not run on an image of the contract, or its input or output has an unknown
            form.
        UsageError: classes and channels do not fit each other.
    """
    _refuse_background_class(contract)
    model = _in_float32(_modern(model, item))
    _adapt_input(model, contract, item)
    output = run_on_grey(model.SerializeToString(), contract, _INPUT, item)
    _refuse_unlikely_probabilities(output, contract, item)
    kind = _adapt_output(model, output, contract, channels, item)
    return model, SegmenterContract.from_json({**contract.to_json(), "output": kind})


def image_input(model: ModelProto, item: object) -> ValueInfoProto:
    """The only input that is not a weight.

    Raises:
        InputError: the model has none, or several.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if len(inputs) != 1:
        raise _refusal(item, "a model of one input, the images", f"{len(inputs)} inputs: {_names(inputs)}")
    return inputs[0]


def keep_one_output(model: ModelProto, name: str | None, item: object) -> None:
    """Keep only the output `name`, or the model's only output, and the nodes that compute it.

    Raises:
        UsageError: the model has several outputs and `name` is None, or no output has this name.
    """
    outputs = list(model.graph.output)
    if name is None and len(outputs) == 1:
        return
    kept = [value for value in outputs if value.name == name]
    if not kept:
        raise UsageError(
            "--output-name" if name else item,
            expected=f"one of the model's outputs: {_names(outputs)}",
            found=name or f"{len(outputs)} outputs and no choice",
            next_step="choose the masks with --output-name",
        )
    needed = {kept[0].name}
    nodes = []
    for node in reversed(model.graph.node):
        if needed & set(node.output):
            needed |= set(node.input)
            nodes.append(node)
    weights = [tensor for tensor in model.graph.initializer if tensor.name in needed]
    del model.graph.output[:], model.graph.node[:], model.graph.initializer[:]
    model.graph.output.extend(kept)
    model.graph.node.extend(reversed(nodes))
    model.graph.initializer.extend(weights)


def stated_shape(value: ValueInfoProto) -> list[int]:
    """Lengths of a value's axes as the file states them; 0 for a free one."""
    return [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]


def image_form(value: ValueInfoProto) -> tuple[int, tuple[int, int]]:
    """Channels, height and width that the file states for its input; 0 for a free axis."""
    shape = stated_shape(value)
    if len(shape) != _AXES:
        return 0, (0, 0)
    if shape[1] not in (1, 3) and shape[3] in (1, 3):
        return shape[3], (shape[1], shape[2])
    return shape[1], (shape[2], shape[3])


# -- the file


def _modern(model: ModelProto, item: object) -> ModelProto:
    """The model in an operator set that a node accepts."""
    opsets = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    if len(opsets) == 1 and opsets[0] < OLDEST_OPSET:
        try:
            return onnx.version_converter.convert_version(model, CONVERTED_OPSET)
        except Exception as error:  # the converter's errors share no base class
            raise _refusal(
                item, f"operator set {OLDEST_OPSET} or newer", f"{opsets[0]}, which cannot be converted"
            ) from error
    return model


def _in_float32(model: ModelProto) -> ModelProto:
    """Change half, double and brain floats to float32 in weights, constants, casts, input and output."""
    graph = model.graph
    for tensor in graph.initializer:
        _widen(tensor)
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.elem_type in _FLOATS:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    for nodes in (graph.node, *(function.node for function in model.functions)):
        for attribute in (entry for node in nodes for entry in node.attribute):
            if attribute.HasField("t"):
                _widen(attribute.t)
            if attribute.name in ("to", "dtype") and attribute.i in _FLOATS:
                attribute.i = TensorProto.FLOAT
    return model


def _widen(tensor: TensorProto) -> None:
    if tensor.data_type in _FLOATS:
        array = numpy_helper.to_array(tensor).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


# -- the input


def _adapt_input(model: ModelProto, contract: SegmenterContract, item: object) -> None:
    """Replace the model's input with `_INPUT`, float32 `(1, C, h, w)`."""
    value = image_input(model, item)
    shape, kind = stated_shape(value), value.type.tensor_type.elem_type
    wanted = [1, contract.image_channels, *contract.size]
    nhwc = [wanted[0], *wanted[2:], wanted[1]]
    if _fits(shape, wanted):
        layout = None
    elif _fits(shape, nhwc):
        layout = (0, 2, 3, 1)
    else:
        raise _refusal(
            item,
            f"an input of {wanted} (NCHW) or {nhwc} (NHWC), where an axis may be free",
            f"{[length or 'free' for length in shape]}",
            "give the --size and the number of channels (--mean) that the model was exported for",
        )
    nodes: list[NodeProto] = []
    name = _INPUT
    if kind == TensorProto.UINT8:
        nodes, name = _as_bytes(model, contract, name)
    elif kind != TensorProto.FLOAT:
        raise _refusal(item, "an input of float32 or uint8", f"{TensorProto.DataType.Name(kind).lower()}")
    if layout is not None:
        nodes.append(helper.make_node("Transpose", [name], [f"{_INPUT}_turned"], perm=layout))
        name = nodes[-1].output[0]
    _rename_input(model, value.name, name)
    for number, node in enumerate(nodes):
        model.graph.node.insert(number, node)
    del model.graph.input[:]
    model.graph.input.append(helper.make_tensor_value_info(_INPUT, TensorProto.FLOAT, wanted))


def _fits(shape: Sequence[int], wanted: Sequence[int]) -> bool:
    """Whether every fixed axis of `shape` has the wanted length."""
    return len(shape) == len(wanted) and all(
        length in (0, other) for length, other in zip(shape, wanted, strict=True)
    )


def _as_bytes(model: ModelProto, contract: SegmenterContract, name: str) -> tuple[list[NodeProto], str]:
    """Nodes that undo the normalisation, for a model that takes pixels of 0 to 255."""
    per_channel = (1, contract.image_channels, 1, 1)
    scale = 255 * np.array(contract.std, np.float32).reshape(per_channel)
    # Adding half a step rounds, because a cast to bytes truncates.
    shift = 255 * np.array(contract.mean, np.float32).reshape(per_channel) + np.float32(0.5)
    scaled, shifted, whole = (f"{_INPUT}_{step}" for step in ("scaled", "shifted", "whole"))
    return [
        helper.make_node("Mul", [name, _constant(model, f"{_INPUT}_scale", scale)], [scaled]),
        helper.make_node("Add", [scaled, _constant(model, f"{_INPUT}_shift", shift)], [shifted]),
        helper.make_node("Cast", [shifted], [whole], to=TensorProto.UINT8),
    ], whole


def _rename_input(model: ModelProto, before: str, after: str) -> None:
    for node in model.graph.node:
        node.input[:] = [after if name == before else name for name in node.input]


# -- the output


def _adapt_output(
    model: ModelProto,
    output: NDArray[Any],
    contract: SegmenterContract,
    channels: Channels,
    item: object,
) -> OutputKind:
    """Replace the model's output with `_OUTPUT`, float32 `(1, K, h, w)`; return the kind of its values."""
    name, count = _masks_first(model, model.graph.output[0].name, output, contract, item)
    classes = len(contract.classes)
    kind: OutputKind = contract.output
    if output.dtype == np.bool_:
        name, kind = _node(model, "Cast", [name], to=TensorProto.FLOAT), "probabilities"
    elif np.issubdtype(output.dtype, np.integer):
        if count != 1:
            raise _refusal(
                item, "class numbers in one channel, or probabilities", f"integers in {count} channels"
            )
        name, kind = _one_channel_each(model, name, channels.of(None, classes, item)), "probabilities"
        return _finish(model, name, contract, kind)
    elif output.dtype != np.float32:
        raise _refusal(item, "an output of numbers", str(output.dtype))
    numbers = channels.of(count, classes, item)
    if channels.background is not None and kind == "logits":
        # The channels exclude each other, so softmax includes the background's logit.
        name, kind = _node(model, "Softmax", [name], axis=1), "probabilities"
    if numbers != tuple(range(count)):
        picked = _constant(model, f"{_OUTPUT}_channels", np.array(numbers, np.int64))
        name = _node(model, "Gather", [name, picked], axis=1)
    return _finish(model, name, contract, kind)


def _masks_first(
    model: ModelProto, name: str, output: NDArray[Any], contract: SegmenterContract, item: object
) -> tuple[str, int]:
    """The name of the output reshaped to `(1, K, h, w)`, and K."""
    shape, size = output.shape, contract.size
    if len(shape) == _AXES and shape[2:] == size:
        return name, shape[1]
    if len(shape) == _AXES and shape[1:3] == size:
        return _node(model, "Transpose", [name], perm=(0, 3, 1, 2)), shape[3]
    if len(shape) == _OPTIONAL_CHANNEL and shape[1:] == size:
        return _reshaped(model, name, shape[0], size), shape[0]
    if shape == size:
        return _reshaped(model, name, 1, size), 1
    raise _refusal(
        item,
        f"masks of the input's size, (1, K, {size[0]}, {size[1]}), or without a batch or channel, or NHWC",
        f"an output of shape {shape}",
        "add an upsampling to the input's size before the export, or choose another --output-name",
    )


def _reshaped(model: ModelProto, name: str, count: int, size: tuple[int, int]) -> str:
    shape = _constant(model, f"{_OUTPUT}_shape", np.array([1, count, *size], np.int64))
    return _node(model, "Reshape", [name, shape])


def _one_channel_each(model: ModelProto, name: str, numbers: Sequence[int]) -> str:
    """Turn class numbers `(1, 1, h, w)` into masks `(1, K, h, w)` of 0 and 1, one channel per number."""
    whole = _node(model, "Cast", [name], to=TensorProto.INT64)
    wanted = np.array(numbers, np.int64).reshape(1, -1, 1, 1)
    equal = _node(model, "Equal", [whole, _constant(model, f"{_OUTPUT}_numbers", wanted)])
    return _node(model, "Cast", [equal], to=TensorProto.FLOAT)


def _finish(model: ModelProto, name: str, contract: SegmenterContract, kind: OutputKind) -> OutputKind:
    del model.graph.output[:]
    shape = [1, len(contract.classes), *contract.size]
    model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    return kind


def _node(model: ModelProto, operator: str, inputs: list[str], **attributes: Any) -> str:
    """Append a node and return the name of its output."""
    name = f"{_OUTPUT}_{len(model.graph.node)}"
    model.graph.node.append(helper.make_node(operator, inputs, [name], **attributes))
    return name


def _constant(model: ModelProto, name: str, array: NDArray[Any]) -> str:
    model.graph.initializer.append(numpy_helper.from_array(array, name))
    return name


# -- errors


def _refuse_background_class(contract: SegmenterContract) -> None:
    named = [name for name in contract.classes if name.lower() in BACKGROUND_NAMES]
    if named and len(contract.classes) > 1:
        number = contract.classes.index(named[0])
        others = " ".join(name for name in contract.classes if name != named[0])
        raise UsageError(
            f"--classes {' '.join(contract.classes)}",
            expected="classes that a hospital has masks of; no hold-out has masks of the background",
            found=named[0],
            next_step=f"use --classes {others} --background {number}",
        )


def _refuse_unlikely_probabilities(output: NDArray[Any], contract: SegmenterContract, item: object) -> None:
    if contract.output != "probabilities" or output.dtype != np.float32:
        return
    low, high = float(np.min(output)), float(np.max(output))
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        raise UsageError(
            "--output probabilities",
            expected="values from 0 to 1",
            found=f"{low:.3g} to {high:.3g} for a grey image, from {item}",
            next_step="use --output logits, if no sigmoid or softmax was exported",
        )


def _channels_differ(item: object, classes: int, found: int | None) -> UsageError:
    extra = found is not None and found == classes + 1
    return UsageError(
        item,
        expected=f"one channel for each of the {classes} names in --classes"
        if classes > 1
        else "one channel, for the one name in --classes",
        found=f"{found} channels",
        next_step="name the channel of what is no class, such as --background 0"
        if extra
        else "choose channels with --channel, or name a class for each with --classes",
    )


def _refusal(item: object, expected: str, found: str, next_step: str = "") -> InputError:
    return InputError(
        item,
        expected=expected,
        found=found,
        next_step=next_step or "export the model again in a form that is expected",
    )


def _names(values: Sequence[ValueInfoProto]) -> str:
    return ", ".join(repr(value.name)[:80] for value in values) or "none"
