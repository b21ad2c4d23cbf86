"""Everything that an audit draws from one candidate's bytes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from hospital_node.audit.attack import Array
from hospital_node.audit.attacks.distance import reduced
from hospital_node.candidate.draw import BATCH, draw_scales
from hospital_node.candidate.session import open_session, sample
from hospital_node.leaks.views import tensors_of
from sharekit.generator.spec import GeneratorSpec
from sharekit.generator.tensors import mask_probability
from sharekit.program.processors import allowed_threads

COMPARED_SIDE = 128
"""Pixels, long side: the size at which whole samples are kept and compared."""
DETAILED = 16
"""Samples that are kept at the size of the finest scale."""
CALM = 64
"""Samples without noise above scale 0."""
MAX_STORED = 16
"""Tensors of the file that are tried as the noise of scale 0."""


@dataclass(frozen=True)
class Drawn:
    """Samples of one candidate, image channels only, in [-1, 1]."""

    candidate: bytes  # the ONNX file
    samples: Array  # (N, C, h, w), long side at most `COMPARED_SIDE`
    scales: tuple[Array, ...]  # (N, C, h_i, w_i) of the lower scales that are no larger
    calm: Array
    """`(n, C, h, w)`: noise at scale 0 alone, no noise, and stored tensors in place of the noise."""
    detailed: Array  # (n, C, H, W), the first samples as they are
    inside: NDArray[np.bool_]  # (n, H, W): where their first mask is foreground


def draw_candidate(candidate: bytes, spec: GeneratorSpec, seed: int, count: int) -> Drawn:
    """Draw `count` samples of `seed`, with the output of every lower scale, and those of chosen noise."""
    channels = spec.layout.image_channels
    finished: list[Array] = []
    lower: dict[int, list[Array]] = {}
    detailed: list[Array] = []
    for scales, samples in draw_scales(candidate, spec, seed, range(count)):
        finished.append(reduced(samples[:, :channels], COMPARED_SIDE))
        if len(detailed) * len(samples) < DETAILED:
            detailed.append(samples)
        for number, images in enumerate(scales):
            if max(images.shape[-2:]) <= COMPARED_SIDE:
                lower.setdefault(number, []).append(images)
    whole = np.concatenate(detailed)[:DETAILED]
    return Drawn(
        candidate,
        np.concatenate(finished),
        tuple(np.concatenate(images) for images in lower.values()),
        _draw_calm(candidate, spec, seed),
        whole[:, :channels],
        mask_probability(whole[:, channels]) > 0.5,
    )


def _draw_calm(candidate: bytes, spec: GeneratorSpec, seed: int) -> Array:
    """Every z* is zero above scale 0, and the authors' reconstruct the image from any noise at scale 0."""
    session = open_session(candidate, threads=allowed_threads())
    above = [np.zeros((1, *scale.noise_shape), np.float32) for scale in spec.scales[1:]]
    drawn = [spec.noise(seed, [index])[0] for index in range(CALM)]
    chosen = np.concatenate([*drawn, np.zeros_like(drawn[0]), *_stored(candidate, drawn[0].shape)])
    found = []
    for start in range(0, len(chosen), BATCH):
        noise = chosen[start : start + BATCH]
        images = sample(session, [noise, *(one.repeat(len(noise), axis=0) for one in above)])
        found.append(reduced(images[:, : spec.layout.image_channels], COMPARED_SIDE))
    return np.concatenate(found)


def _stored(candidate: bytes, shape: tuple[int, ...]) -> list[Array]:
    """Tensors of the file that have as many values as the noise of scale 0."""
    size = int(np.prod(shape))
    tensors = (tensor for _, tensor in tensors_of("candidate.onnx", candidate) if tensor.size == size)
    return [tensor.astype(np.float32).reshape(shape) for tensor in islice(tensors, MAX_STORED)]
