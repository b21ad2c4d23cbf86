"""How much does a protobuf message hold? Counts its fields before a parser makes an object of each.

Wire format: https://protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from sharekit.storage.budget import Budget, Count

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5  # wire types; groups are not among them
_MAX_VARINT_BYTES = 10
_CONTINUED = bytes(range(128, 256))  # bytes of a varint that are not its last
_TEXT, _BYTES = "text", "bytes"
_WIDTHS: Mapping[int, int] = {
    FieldDescriptor.TYPE_FLOAT: 4,
    FieldDescriptor.TYPE_FIXED32: 4,
    FieldDescriptor.TYPE_SFIXED32: 4,
    FieldDescriptor.TYPE_DOUBLE: 8,
    FieldDescriptor.TYPE_FIXED64: 8,
    FieldDescriptor.TYPE_SFIXED64: 8,
}
"""Bytes of a packed number; all other number types are varints."""


class WireError(ValueError):
    """The bytes are not a message of this type."""


def count_fields(data: bytes, message: Descriptor, budget: Budget) -> Count:
    """Count the fields and levels of a message, and each packed number; linear in its length.

    Counting stops as soon as `budget` is exceeded, to limit its cost.

    Args:
        data: untrusted bytes.
        message: the type to count `data` as.
        budget: budget of the whole message.

    Raises:
        WireError: `data` is not a message of this type, or a text in it is not UTF-8.
    """
    nodes, deepest = 0, 0
    pending = [(0, len(data), message, 1)]
    while pending:
        position, end, kind, level = pending.pop()
        deepest = max(deepest, level)
        fields = _fields(kind)
        while position < end:
            tag, position = _varint(data, position)
            wire_type = tag & 7
            nodes += 1
            if wire_type == _LENGTH:
                length, position = _varint(data, position)
                start, position = position, position + length
                if position > end:
                    raise WireError("a field that is longer than its message")
                inside = fields.get(tag >> 3, _BYTES)
                if isinstance(inside, Descriptor):
                    pending.append((start, position, inside, level + 1))
                elif inside is _TEXT:
                    _check_text(data[start:position])
                elif isinstance(inside, int):
                    nodes += length // inside if inside else _count_varints(data[start:position])
            elif wire_type == _VARINT:
                _, position = _varint(data, position)
            elif wire_type in (_FIXED64, _FIXED32):
                position += 8 if wire_type == _FIXED64 else 4
            else:
                raise WireError(f"wire type {wire_type}")
            if nodes > budget.max_nodes or level > budget.max_depth:
                return Count(nodes, depth=deepest)
        if position != end:
            raise WireError("a field that is longer than its message")
    return Count(nodes, depth=deepest)


@functools.cache
def _fields(message: Descriptor) -> Mapping[int, Descriptor | str | int]:
    """Field number to the content of a length-delimited field: message, text, bytes, or number width."""
    return {field.number: _inside(field) for field in message.fields}


def _inside(field: FieldDescriptor) -> Descriptor | str | int:
    if field.message_type is not None:
        return field.message_type
    if field.type == FieldDescriptor.TYPE_STRING:
        return _TEXT
    if field.type == FieldDescriptor.TYPE_BYTES:
        return _BYTES
    return _WIDTHS.get(field.type, 0)


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """The number at `position`, and the position after it."""
    value = shift = 0
    for byte in data[position : position + _MAX_VARINT_BYTES]:
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
        shift += 7
    raise WireError("a number without an end")


def _count_varints(packed: bytes) -> int:
    return len(packed.translate(None, _CONTINUED))


def _check_text(text: bytes) -> None:
    try:
        text.decode()
    except UnicodeDecodeError:
        raise WireError(f"text that is not UTF-8: {ascii(text[:40])[2:-1]}") from None
