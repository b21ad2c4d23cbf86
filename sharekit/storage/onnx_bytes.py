"""Checks that all ONNX policies share: canonical encoding, allowed fields, limited parts, a valid graph."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence, Sized
from typing import Any, NoReturn

import numpy as np
import onnx
from google.protobuf.message import DecodeError, Message
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto

from sharekit.errors import VerificationError
from sharekit.storage.budget import Budget
from sharekit.storage.names import printable
from sharekit.storage.protobuf_fields import WireError, count_fields

Fields = Mapping[str, frozenset[str]]
"""Protobuf message name to the names of its allowed fields."""


class BrokenRuleError(Exception):
    """A broken rule; `rules` adds the file's name."""

    def __init__(self, expected: str, found: str) -> None:
        self.expected, self.found = expected, found
        super().__init__(found)


def refuse(expected: str, found: str) -> NoReturn:
    """Raise the error for a broken rule."""
    raise BrokenRuleError(expected, found)


@contextlib.contextmanager
def rules(item: object, next_step: str) -> Iterator[None]:
    """Turn a broken rule in the block into the refusal of `item`.

    Raises:
        VerificationError: a rule is broken.
    """
    try:
        yield
    except BrokenRuleError as rule:
        raise VerificationError(item, expected=rule.expected, found=rule.found, next_step=next_step) from None


def fields(**names: str) -> Fields:
    """Make `Fields` from one string per message, with field names separated by spaces."""
    return {message: frozenset(text.split()) for message, text in names.items()}


def parse(data: bytes, budget: Budget) -> ModelProto:
    """Parse a model, if `data` is within the budget and is its canonical encoding.

    A canonical encoding has no unknown, repeated or trailing field. Fields are counted before parsing.
    """
    excess = budget.excess_bytes(len(data))
    model = ModelProto()
    try:
        excess = excess or budget.excess(count_fields(data, ModelProto.DESCRIPTOR, budget))
        if excess:
            refuse(*excess)
        model.ParseFromString(data)
        model.DiscardUnknownFields()
        canonical = model.SerializeToString(deterministic=True)
    except WireError as error:
        refuse("an ONNX model", str(error))
    except (DecodeError, RecursionError, ValueError) as error:
        refuse("an ONNX model", f"bytes that do not parse ({type(error).__name__})")
    if canonical != data:
        refuse(
            "the canonical encoding of the fields that ONNX defines", "unknown, repeated or reordered fields"
        )
    return model


def check_counts(model: ModelProto, max_parts: int) -> None:
    """Limit the number of parts before anything iterates over them: few bytes can hold many messages."""
    graph = model.graph
    parts: Sequence[Sized] = (
        graph.node,
        graph.initializer,
        graph.input,
        graph.output,
        model.opset_import,
        model.metadata_props,
    )
    if any(len(part) > max_parts for part in parts):
        refuse(
            f"at most {max_parts} nodes, initializers, inputs, outputs", f"{max(map(len, parts))} of one kind"
        )


def check_fields(message: Message, where: str, allowed: Fields) -> None:
    """Check that only `allowed` fields are set, at any depth."""
    names = allowed.get(message.DESCRIPTOR.name, frozenset())
    for descriptor, value in message.ListFields():
        place = f"{where}.{descriptor.name}"
        if descriptor.name not in names:
            refuse(f"only the fields {', '.join(sorted(names))} in {where}", place)
        if descriptor.message_type is None:
            continue
        children = [value] if isinstance(value, Message) else value
        for number, child in enumerate(children):
            check_fields(child, place if child is value else f"{place}[{number}]", allowed)


def metadata_of(model: ModelProto, keys: frozenset[str], max_characters: int) -> Mapping[str, str]:
    """Read the metadata, which must have exactly `keys`, each once, with values of limited length."""
    entries = {entry.key: entry.value for entry in model.metadata_props}
    if set(entries) != keys or len(entries) != len(model.metadata_props):
        found = ", ".join(printable(entry.key) for entry in model.metadata_props) or "none"
        refuse(f"the metadata {', '.join(sorted(keys))}, each once", f"{found:.500}")
    if any(len(value) > max_characters for value in entries.values()):
        refuse(f"metadata of at most {max_characters} characters", "a longer value")
    return entries


def array_of(
    tensor: TensorProto, dtypes: Mapping[int, np.dtype], *, max_axes: int, sides: tuple[int, int]
) -> NDArray[Any]:
    """Read the values of an initializer after checking its type and sizes; all must be finite.

    Args:
        tensor: the initializer, with its values only in `raw_data`.
        dtypes: allowed types, by ONNX's type number.
        max_axes: largest number of axes.
        sides: smallest and largest length of an axis.
    """
    if tensor.data_type not in dtypes:
        names = " or ".join(dtype.name for dtype in dtypes.values())
        refuse(f"{names} initializers", f"type {tensor.data_type} in {tensor.name!r:.80}")
    dtype, dims = dtypes[tensor.data_type], tuple(tensor.dims)
    least, most = sides
    if len(dims) > max_axes or any(not least <= size <= most for size in dims):
        refuse(f"at most {max_axes} axes of {least} to {most} each", f"{dims!r:.100} in {tensor.name!r:.80}")
    expected = math.prod(dims) * dtype.itemsize
    if len(tensor.raw_data) != expected:
        refuse(f"{expected} bytes in {tensor.name!r:.80}", f"{len(tensor.raw_data)} bytes")
    array = np.frombuffer(tensor.raw_data, dtype).reshape(dims)
    if not np.isfinite(array).all():
        refuse("finite values", f"NaN or an infinity in {tensor.name!r:.80}")
    return array


def check_by_onnx(model: ModelProto) -> None:
    """Run ONNX's own checker with full shape inference."""
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # the checker's errors share no base class
        refuse("a model that the ONNX checker accepts", f"{str(error)!r:.300}")
