"""Run a segmenter's ONNX file once, before it is sent to anyone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharekit.errors import InputError
from sharekit.program.onnx_runtime import onnxruntime
from sharekit.segmenter.contract import INPUT_NAME, SegmenterContract

GREY = 127


def run_once(data: bytes, contract: SegmenterContract, item: object, *, threads: int = 1) -> None:
    """Run a packed model on one grey image.

    Raises:
        InputError: the model does not load or run, or its output is not finite or has another shape; the
            error names `item`.
    """
    contract.probabilities(run_on_grey(data, contract, INPUT_NAME, item, threads=threads))


def run_on_grey(
    data: bytes, contract: SegmenterContract, input_name: str, item: object, *, threads: int = 1
) -> NDArray[Any]:
    """Run a model with one output on one grey image; the output may have any shape and type.

    Args:
        data: content of the ONNX file.
        contract: prepares the image as `(1, C, h, w)` float32.
        input_name: name of the model's input.
        item: name of the model in errors.
        threads: threads of ONNX Runtime.

    Raises:
        InputError: the model does not load or run.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # fatal
    options.add_session_config_entry("session.load_model_format", "ONNX")
    pixels = np.full((*contract.size, contract.image_channels), GREY, np.uint8)
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        (output,) = session.run(None, {input_name: contract.prepare(pixels)[None]})
    except Exception as error:  # ONNX Runtime's errors share no base class
        raise InputError(
            item,
            expected="a model that ONNX Runtime runs on one image of the contract",
            found=f"{str(error)!r:.300}",
            next_step="fix the model, or --size and the number of channels",
        ) from error
    return output
