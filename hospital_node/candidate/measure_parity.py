"""Is the exported file the trained network? Both draw from the same noise and are compared value by value."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hospital_node.candidate.parity import TOLERANCE, Parity, ParityCase
from hospital_node.candidate.session import open_session
from hospital_node.candidate.session import sample as sample_onnx
from hospital_node.singan.networks import sample as sample_torch
from hospital_node.singan.trained import TrainedGenerator
from sharekit.errors import PolicyError
from sharekit.generator.onnx_contract import OPSET
from sharekit.program.onnx_runtime import onnxruntime


def measure_parity(
    generator: TrainedGenerator,
    onnx_bytes: bytes,
    seed: int = 0,
    cases: Sequence[tuple[int, int, int]] | None = None,
    *,
    tolerance: float = TOLERANCE,
    threads: int = 1,
) -> Parity:
    """Run `onnx_bytes` in ONNX Runtime and `generator` in torch on the same noise.

    Args:
        generator: the trained network.
        onnx_bytes: the file that was built from it.
        seed: seed of the noise.
        cases: `(height, width, batch)` of each comparison; `default_cases` when None.
        tolerance: largest allowed absolute difference of any output value.
        threads: number of ONNX Runtime's threads.

    Raises:
        PolicyError: a difference above `tolerance`, or one that is not a number.
    """
    session = open_session(onnx_bytes, threads=threads)
    measured = []
    for height, width, batch in cases or default_cases(generator):
        noise = generator.spec.resized(height, width).noise(seed, range(batch))
        expected = np.clip(sample_torch(generator, noise), -1, 1)
        difference = float(np.abs(sample_onnx(session, noise) - expected).max())
        if not difference <= tolerance:
            raise PolicyError(
                f"generator {generator.spec.id}",
                expected=f"an ONNX file within {tolerance:g} of the trained network",
                found=f"a difference of {difference:.3g} at {width}x{height}, batch {batch}",
                next_step="export again; if it stays, keep this generator and report the numbers",
            )
        measured.append(ParityCase(height, width, batch, difference))
    return Parity(tuple(measured), tolerance, OPSET, onnxruntime.__version__)


def default_cases(generator: TrainedGenerator) -> tuple[tuple[int, int, int], ...]:
    """The trained size, alone and in a batch, and another, odd size of another aspect ratio."""
    height, width = generator.spec.height, generator.spec.width
    return (height, width, 1), (height, width, 3), (height * 3 // 4 | 1, width * 5 // 4 | 1, 2)
