"""Loads the networks that the package rapidocr carries (PP-OCRv6, Apache-2.0), by their digest.

rapidocr's own code, which can download models, is never imported. The networks read memory and write memory.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sharekit.errors import DependencyError, SharekitError, missing_package
from sharekit.program.processors import free_processors


@dataclass(frozen=True)
class Weights:
    """One network of the package."""

    file: str
    sha256: str
    """Digest of the file that our figures were measured with."""
    job: str
    """Words for it in errors."""


DETECTOR = Weights(
    "PP-OCRv6_det_small.onnx",
    "090f04abcd9d9a7498bc4ebf677e4cb9bdce1fe4197ddb7e529f1ef44e1ff94f",
    "its text detector",
)
READER = Weights(
    "PP-OCRv6_rec_small.onnx",
    "6f327246b50388f3c176ae304bd95767ea6dc0c9ae92153ef8cbe210b3c14884",
    "its text reader",
)


def load_session(weights: Weights) -> Any:
    """An ONNX Runtime session of one network, with a thread for each processor that is free now.

    Raises:
        DependencyError: the extra `scrub` is missing, or rapidocr has other weights than the measured ones.
    """
    from sharekit.program.onnx_runtime import onnxruntime

    data = _read(weights)
    options = onnxruntime.SessionOptions()
    # What it finds does not depend on the number of threads.
    options.intra_op_num_threads = free_processors()
    options.inter_op_num_threads = 1
    # A thread that waits for work leaves its processor to training and other users.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def _read(weights: Weights) -> bytes:
    # find_spec does not run the package.
    spec = find_spec("rapidocr")
    if spec is None or spec.origin is None:
        raise _missing("rapidocr")
    for package in ("cv2", "scipy"):
        if find_spec(package) is None:
            raise _missing(package)
    path = Path(spec.origin).parent / "models" / weights.file
    data = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(data).hexdigest() != weights.sha256:
        raise DependencyError(
            "rapidocr",
            expected=f"{weights.job} {weights.file}, with the digest that our figures were measured with",
            found="other weights" if data else "no such file",
            next_step="pip install 'sharekit[scrub]' in the version that .ci/constraints.txt names",
        )
    return data


def _missing(package: str) -> SharekitError:
    error = missing_package(package, "scrub")
    return DependencyError(
        error.item,
        expected=f"{error.expected}, which finds text that is burned into pictures",
        found=error.found,
        next_step=f"{error.next_step}; or leave text and graphics in the pictures on purpose with "
        "--keep-overlays",
    )
