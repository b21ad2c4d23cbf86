"""Run untrusted generators in a process with limits of memory and processor time.

The parent starts `python -m consumer.sampling.isolated_process MEMORY_MIB CPU_SECONDS THREADS`. MEMORY_MIB is
the memory that the process may take beyond its own program. The process first reports in one byte which
layers confine it. It then reads orders and answers each with a `Status`:

    LOAD  name and ONNX file                      status
    DROP  name                                    status
    DRAW  name, a newline and a `Draw` as JSON    status; after DONE image and mask, float32, little endian

An order is an `ORDER` header (kind, length of the text, length of the file), followed by the text and the
file. The process can answer only with a `Status` and as many floats as the order asks for. The parent reads
no text and no exit code.
"""

from __future__ import annotations

import os
import struct
import sys
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from consumer.sampling import runtime
from consumer.sampling.drawing import Draw
from sharekit.generator.spec import GeneratorSpec, Scale
from sharekit.generator.tensors import ChannelLayout
from sharekit.program.confinement import confine
from sharekit.storage.files import parse_json

if TYPE_CHECKING:
    from sharekit.program.onnx_runtime import onnxruntime

ORDER = struct.Struct("<BIQ")
FLOAT = "<f4"


class Kind(IntEnum):
    """Kind of an order to the process."""

    LOAD = 1
    DROP = 2
    DRAW = 3


class Status(IntEnum):
    """Outcome of an order."""

    DONE = 1
    FAILED = 2
    """ONNX Runtime cannot load or run the generator, or the output has another shape."""
    OUT_OF_MEMORY = 3


def main(memory_mib: int, cpu_seconds: int, threads: int) -> None:
    """Confine the process, then carry out orders until the input ends."""
    _import_everything()
    layers = confine(_address_space_mib() + memory_mib, cpu_seconds)
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    _answer(sink, layers)
    sessions: dict[str, onnxruntime.InferenceSession] = {}
    while order := source.read(ORDER.size):
        kind, text_length, file_length = ORDER.unpack(order)
        name, _, text = source.read(text_length).decode().partition("\n")
        data = source.read(file_length)
        status, arrays = Status.DONE, []
        try:
            if kind == Kind.LOAD:
                sessions[name] = runtime.load_session(data, runtime.CPU, threads)
            elif kind == Kind.DROP:
                del sessions[name]
            else:
                arrays = _draw(sessions[name], text)
        except Exception as error:  # ONNX Runtime's errors share no base class
            status, arrays = _failure(error), []
        _answer(sink, status, *arrays)


def _answer(sink: BinaryIO, status: int, *arrays: np.ndarray) -> None:
    sink.write(bytes([status]))
    for array in arrays:
        sink.write(array.data)
    sink.flush()


def _draw(session: onnxruntime.InferenceSession, text: str) -> list[np.ndarray]:
    draw = Draw.from_json(parse_json(text.encode(), "draw"))
    arrays = [np.ascontiguousarray(array, FLOAT) for array in runtime.run_session(session, draw.noise())]
    if tuple(array.shape for array in arrays) != draw.shapes:
        raise ValueError("another shape than the spec's")
    return arrays


def _failure(error: Exception) -> Status:
    text = str(error).lower()
    memory = isinstance(error, MemoryError) or "alloc" in text or "memory" in text
    return Status.OUT_OF_MEMORY if memory else Status.FAILED


def _import_everything() -> None:
    """Use the libraries once, so that they import nothing after `confine`, when no file can be opened."""
    runtime.onnxruntime_module()
    Draw(GeneratorSpec("0" * 32, ChannelLayout(1, ("mask",)), (Scale(1, 1, 1),)), 0, (0,)).noise()


def _address_space_mib() -> int:
    """Address space that this process takes now, mostly for libraries."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * os.sysconf("SC_PAGE_SIZE") // 2**20 + 1


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
