"""Run a candidate's bytes in ONNX Runtime on the CPU, as a consumer would."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sharekit.generator.onnx_contract import IMAGE, MASK, noise_name
from sharekit.program.onnx_runtime import onnxruntime


def open_session(data: bytes, *, threads: int = 1) -> onnxruntime.InferenceSession:
    """A session on the CPU for exactly these bytes."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors
    # An arena keeps the largest batch's memory for as long as the session lives, and is no faster here.
    options.enable_cpu_mem_arena = False
    options.add_session_config_entry("session.load_model_format", "ONNX")
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def sample(
    session: onnxruntime.InferenceSession, noise: Sequence[NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Noise as `GeneratorSpec.noise` gives it, to `(N, C, H, W)` in [-1, 1]: image channels, then masks."""
    feed = {noise_name(number): values for number, values in enumerate(noise)}
    return np.concatenate(session.run([IMAGE, MASK], feed), axis=1)
