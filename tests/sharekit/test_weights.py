"""Weights of two formats: read whole, as float32, and refused in every other form."""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save as save_safetensors

from sharekit.errors import VerificationError
from sharekit.storage.weights import read_numpy_pickle, read_safetensors


@pytest.mark.parametrize("name", ["numpy load", "numpy core.multiarray._reconstruct", "builtins eval"])
def test_no_other_global_is_looked_up(name: str) -> None:
    module, _, attribute = name.partition(" ")
    with pytest.raises(VerificationError, match="the global"):
        read_numpy_pickle(f"c{module}\n{attribute}\n.".encode(), "file")


def test_halves_and_singles_are_read_as_singles() -> None:
    values = {"a": np.arange(6, dtype=np.float16).reshape(2, 3), "b": np.float32([1.5])}
    read = read_safetensors(save_safetensors(values), "file")
    assert {name: array.dtype for name, array in read.items()} == {"a": np.float32, "b": np.float32}
    assert np.array_equal(read["a"], values["a"])


def safetensors_file(values: bytes, **entries: Any) -> bytes:
    """A file by hand: what `entries` claim of the values, true or not."""
    header = json.dumps(entries).encode()
    return struct.pack("<Q", len(header)) + header + values


def entry(begin: int, end: int, *, dtype: str = "F32", shape: Sequence[int] = (2,)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


BROKEN = {
    "whole numbers": safetensors_file(bytes(8), x=entry(0, 8, dtype="I32")),
    "doubles": safetensors_file(bytes(16), x=entry(0, 16, dtype="F64")),
    "brain floats": safetensors_file(bytes(4), x=entry(0, 4, dtype="BF16")),
    "unknown type": safetensors_file(bytes(8), x=entry(0, 8, dtype="PICKLE")),
    "wrong shape": safetensors_file(bytes(8), x=entry(0, 8, shape=(3,))),
    "gap": safetensors_file(bytes(12), x=entry(4, 12)),
    "overlap": safetensors_file(bytes(12), x=entry(0, 8), y=entry(4, 12)),
    "bytes after the end": safetensors_file(bytes(12), x=entry(0, 8)),
    "cut off": safetensors_file(bytes(4), x=entry(0, 8)),
    "overflowing shape": safetensors_file(bytes(8), x=entry(0, 8, shape=(2**62, 8))),
    "long header": struct.pack("<Q", 2**63) + bytes(8),
    "many tensors": safetensors_file(b"", **{f"t{number}": entry(0, 0) for number in range(60_000)}),
    "a tensor twice": struct.pack("<Q", 13) + b'{"a":0,"a":0}',
    "a deep header": struct.pack("<Q", 40) + b"[" * 20 + b"]" * 20,
    "no header": b"\x02",
    "no JSON": struct.pack("<Q", 4) + b"none",
    "nothing": b"",
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_a_broken_safetensors_file_is_refused(data: bytes) -> None:
    with pytest.raises(VerificationError, match="the file"):
        read_safetensors(data, "the file")


def test_a_safetensors_file_by_hand_is_read() -> None:
    data = safetensors_file(bytes(8), __metadata__={"format": "pt"}, x=entry(0, 8))
    assert read_safetensors(data, "the file")["x"].tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    "data", [b"", b"cposix\nsystem\n(S'true'\ntR.", b"\x80\x04X", pickle.dumps({1})[:-1]]
)
def test_a_pickle_of_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(VerificationError, match="the file"):
        read_numpy_pickle(data, "the file")
