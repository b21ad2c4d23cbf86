"""Draw samples from a candidate's bytes, with the noise that a consumer would use."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from hospital_node.candidate.session import open_session, sample
from sharekit.generator.spec import GeneratorSpec

Images = NDArray[np.float32]
BATCH = 8  # samples at once


def draw_images(candidate: bytes, spec: GeneratorSpec, seed: int, indices: Sequence[int]) -> Images:
    """Image channels of the samples `indices` of `seed`: `(len(indices), C, H, W)` float32 in [-1, 1]."""
    return draw(candidate, spec, seed, indices)[:, : spec.layout.image_channels]


def draw(candidate: bytes, spec: GeneratorSpec, seed: int, indices: Sequence[int]) -> Images:
    """All channels of the samples `indices` of `seed`, masks last: `(len(indices), C, H, W)` in [-1, 1]."""
    # torch's number of threads is what the user allows this process (OMP_NUM_THREADS).
    session = open_session(candidate, threads=torch.get_num_threads())
    batches = [indices[start : start + BATCH] for start in range(0, len(indices), BATCH)]
    return np.concatenate([sample(session, spec.noise(seed, batch)) for batch in batches])
