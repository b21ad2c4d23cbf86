"""A packed segmenter is run once before anybody else gets it."""

from __future__ import annotations

import numpy as np

from sharekit.errors import InputError
from sharekit.program.onnx_runtime import onnxruntime
from sharekit.segmenter.contract import INPUT_NAME, OUTPUT_NAME, SegmenterContract


def run_once(data: bytes, contract: SegmenterContract, item: object, *, threads: int = 1) -> None:
    """Run a model on one grey image.

    Raises:
        InputError: naming `item`; it does not load or run, or its output is not finite or of another shape.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # fatal
    options.add_session_config_entry("session.load_model_format", "ONNX")
    pixels = np.full((*contract.size, contract.image_channels), 127, np.uint8)
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        (output,) = session.run([OUTPUT_NAME], {INPUT_NAME: contract.prepare(pixels)[None]})
    except Exception as error:  # ONNX Runtime's errors share no base class
        raise InputError(
            item,
            expected="a model that ONNX Runtime runs on one image of the contract",
            found=f"{str(error)!r:.300}",
            next_step="mend the model, or --size and the number of channels",
        ) from error
    contract.probabilities(output)
