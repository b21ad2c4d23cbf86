"""The process that runs a stranger's model. It sees prepared images, one at a time, and never a mask.

Run as `python -m hospital_node.evaluation.child MEMORY_MIB CPU_SECONDS THREADS STEP_SECONDS`; see `wire` for
what goes in and out.
"""

from __future__ import annotations

import math
import sys
from typing import BinaryIO

import numpy as np

from hospital_node.evaluation.wire import LENGTHS, SEPARATOR, Status, encode_text
from sharekit.errors import VerificationError
from sharekit.program.confinement import confine, forbid_threads, grant_processor_time
from sharekit.program.onnx_runtime import onnxruntime
from sharekit.segmenter.contract import INPUT_NAME, OUTPUT_NAME, SegmenterContract
from sharekit.segmenter.segmenter_policy import check_segmenter
from sharekit.storage.files import parse_json


def main(memory_mib: int, cpu_seconds: int, threads: int, step_seconds: int) -> None:
    """Check and load a model, then answer images until there are no more.

    Args:
        memory_mib: limit of address space, MiB.
        cpu_seconds: limit of processor time in total.
        threads: number of ONNX Runtime's threads.
        step_seconds: limit of processor time to load the model, and for each image.
    """
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    # Every import is done: from here on no file can be opened.
    layers = confine(memory_mib, cpu_seconds)
    grant_processor_time(step_seconds)
    sink.write(bytes([layers]))
    sink.flush()
    contract_length, model_length = LENGTHS.unpack(source.read(LENGTHS.size))
    contract = SegmenterContract.from_json(parse_json(source.read(contract_length), "contract"))
    session = _load(source.read(model_length), contract, threads, sink)
    if session is not None:
        # ONNX Runtime has started its threads.
        forbid_threads()
        _answer(session, contract, step_seconds, source, sink)


def _load(
    model: bytes, contract: SegmenterContract, threads: int, sink: BinaryIO
) -> onnxruntime.InferenceSession | None:
    """The session and DONE, or None and the reason."""
    session, text = None, b""
    try:
        check_segmenter(model, "model", contract)
        session = _session(model, threads)
        status = Status.DONE
    except VerificationError as error:
        status = Status.REFUSED
        text = encode_text(f"{error.expected[:600]}{SEPARATOR}{error.found}")
    except Exception as error:  # ONNX Runtime's errors share no base class
        status = _failure(error)
    sink.write(bytes([status]) + text)
    sink.flush()
    return session


def _answer(
    session: onnxruntime.InferenceSession,
    contract: SegmenterContract,
    step_seconds: int,
    source: BinaryIO,
    sink: BinaryIO,
) -> None:
    shape = (1, contract.image_channels, *contract.size)
    expected = (1, len(contract.classes), *contract.size)
    length = 4 * math.prod(shape)
    while len(data := source.read(length)) == length:
        grant_processor_time(step_seconds)
        prediction = b""
        try:
            image = np.frombuffer(data, "<f4").reshape(shape)
            (output,) = session.run([OUTPUT_NAME], {INPUT_NAME: image})
            if output.shape == expected and output.dtype == np.float32:
                status, prediction = Status.DONE, output.astype("<f4").tobytes()
            else:
                status = Status.OTHER_SHAPE
        except Exception as error:  # as above
            status = _failure(error)
        sink.write(bytes([status]) + prediction)
        sink.flush()


def _session(model: bytes, threads: int) -> onnxruntime.InferenceSession:
    """A session on the CPU for exactly these bytes."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = 4  # fatal
    options.enable_cpu_mem_arena = False
    options.add_session_config_entry("session.load_model_format", "ONNX")
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _failure(error: Exception) -> Status:
    text = str(error).lower()
    memory = isinstance(error, MemoryError) or "alloc" in text or "memory" in text
    return Status.OUT_OF_MEMORY if memory else Status.FAILED


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
