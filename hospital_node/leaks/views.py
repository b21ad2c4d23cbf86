"""Unfold a file as an attacker would: bytes, encoded and packed content, text, tensors."""

from __future__ import annotations

import base64
import binascii
import io
import json
import re
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

MAX_DEPTH = 3  # levels of packing inside packing
MAX_UNPACKED = 64 * 2**20  # bytes of one stream
MIN_UNPACKED = 16  # bytes: shorter ones hold nothing that could be recognised
MIN_TENSOR = 64  # elements
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{24,}={0,2}")
_HEX = re.compile(rb"(?:[0-9a-fA-F]{2}){16,}")
_ZLIB = re.compile(rb"\x78[\x01\x5e\x9c\xda]|\x1f\x8b\x08")
_TEXT_RUN = re.compile(rb"[\t\n\r\x20-\x7e]{6,}")


def unfold(data: bytes, depth: int = MAX_DEPTH) -> Iterator[bytes]:
    """`data` itself, then every base64, hexadecimal, zlib or gzip stream in it, and what is inside those."""
    yield data
    if depth == 0:
        return
    for inner in _packed(data):
        if len(inner) >= MIN_UNPACKED:
            yield from unfold(inner, depth - 1)


def _packed(data: bytes) -> Iterator[bytes]:
    for match in _BASE64.finditer(data):
        text = match[0].rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
        try:
            yield base64.b64decode(text[: len(text) - (len(text) % 4 == 1)] + b"=" * (-len(text) % 4))
        except binascii.Error:
            continue
    for match in _HEX.finditer(data):
        yield bytes.fromhex(match[0].decode())
    for match in _ZLIB.finditer(data):
        stream = zlib.decompressobj(wbits=47)  # zlib or gzip, by the header
        try:
            yield stream.decompress(memoryview(data)[match.start() :], MAX_UNPACKED)
        except zlib.error:
            continue


def text_of(data: bytes) -> str:
    """All of a UTF-8 file, otherwise its printable ASCII runs, one per line, as `strings` prints them."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return "\n".join(run.decode("ascii") for run in _TEXT_RUN.findall(data))


def tensors_of(name: str, data: bytes) -> Iterator[tuple[str, NDArray]]:
    """Every numeric array of at least `MIN_TENSOR` elements in an ONNX, npy or JSON file, with its place.

    Raises:
        ValueError: the file is not of the kind that its name says.
    """
    try:
        yield from _tensors(name, data)
    except Exception as error:
        raise ValueError(f"{name} is damaged: {type(error).__name__}") from error


def _tensors(name: str, data: bytes) -> Iterator[tuple[str, NDArray]]:
    if name.endswith(".onnx"):
        found = _onnx_tensors(data)
    elif name.endswith(".npy"):
        found = iter([("array", np.load(io.BytesIO(data), allow_pickle=False))])
    elif name.endswith((".json", ".sig")):
        found = _json_arrays(json.loads(data), "$")
    else:
        found = iter(())
    for place, array in found:
        if array.size >= MIN_TENSOR and array.dtype.kind in "fiu":
            yield place, array


def _onnx_tensors(data: bytes) -> Iterator[tuple[str, NDArray]]:
    graph = onnx.load_model_from_string(data).graph
    for tensor in graph.initializer:
        yield tensor.name, numpy_helper.to_array(tensor)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield f"{node.name or node.op_type}.{attribute.name}", numpy_helper.to_array(attribute.t)
            if attribute.floats:
                yield f"{node.name or node.op_type}.{attribute.name}", np.array(attribute.floats, np.float32)


def _json_arrays(value: Any, place: str) -> Iterator[tuple[str, NDArray]]:
    if isinstance(value, dict):
        for key, child in value.items():
            yield from _json_arrays(child, f"{place}.{key}")
    elif isinstance(value, list):
        flat = _numbers(value)
        if flat is not None:
            yield place, flat
        else:
            for number, child in enumerate(value):
                yield from _json_arrays(child, f"{place}[{number}]")


def _numbers(value: list[Any]) -> NDArray[np.float64] | None:
    """A list of numbers, nested or not, as an array; None when it holds anything else."""
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    return array.reshape(-1) if array.size else None
