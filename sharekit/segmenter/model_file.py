"""Read a segmenter's ONNX file that keeps its weights inside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from google.protobuf.message import DecodeError, Message
from onnx import ModelProto, TensorProto

from sharekit.errors import InputError
from sharekit.segmenter.segmenter_policy import MAX_BYTES
from sharekit.storage import files


def load_model(path: Path) -> ModelProto:
    """Read an ONNX file with its weights inside.

    Raises:
        InputError: the file is not ONNX, is too large, or keeps its weights in another file.
    """
    return parse_model(files.read_bytes(path, max_bytes=MAX_BYTES), path)


def parse_model(data: bytes, item: object) -> ModelProto:
    """Parse the content of an ONNX file with its weights inside.

    Raises:
        InputError: it is not ONNX, or its weights are in another file; the error names `item`.
    """
    model = ModelProto()
    try:
        model.ParseFromString(data)
    except (DecodeError, RecursionError, ValueError):
        raise refusal(item, "an ONNX model", "something that does not parse as one") from None
    # Check every tensor at any depth: reading an external one would take in a local file.
    if any(tensor.data_location == TensorProto.EXTERNAL for tensor in _tensors(model)):
        raise refusal(item, "one self-contained file", "weights in another file")
    return model


def _tensors(message: Message) -> Iterator[TensorProto]:
    """Every tensor in a message, at any depth: in initializers, attributes, subgraphs and functions."""
    for field, value in message.ListFields():
        if field.message_type is not None:
            for child in [value] if isinstance(value, Message) else value:
                if isinstance(child, TensorProto):
                    yield child
                yield from _tensors(child)


def refusal(item: object, expected: str, found: str) -> InputError:
    """What is wrong with a model that its owner has to export again."""
    return InputError(
        item,
        expected=expected,
        found=found,
        next_step="export the model again, as one ONNX file with its weights inside",
    )
