"""Draw samples from a candidate's bytes, with the noise that a consumer would use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from hospital_node.candidate.session import open_session, sample
from sharekit.generator.onnx_contract import CONVOLUTIONS, IMAGE, MASK, noise_name
from sharekit.generator.spec import GeneratorSpec
from sharekit.program.processors import allowed_threads

Images = NDArray[np.float32]
BATCH = 8  # samples at once


def draw_images(candidate: bytes, spec: GeneratorSpec, seed: int, indices: Sequence[int]) -> Images:
    """Image channels of the samples `indices` of `seed`: `(len(indices), C, H, W)` float32 in [-1, 1]."""
    return draw(candidate, spec, seed, indices)[:, : spec.layout.image_channels]


def draw(
    candidate: bytes, spec: GeneratorSpec, seed: int, indices: Sequence[int], *, threads: int | None = None
) -> Images:
    """All channels of the samples `indices` of `seed`, masks last: `(len(indices), C, H, W)` in [-1, 1].

    Args:
        threads: number of ONNX Runtime's threads; `allowed_threads` when None.
    """
    session = open_session(candidate, threads=threads or allowed_threads())
    return np.concatenate([sample(session, spec.noise(seed, batch)) for batch in _batches(indices)])


def draw_scales(
    candidate: bytes, spec: GeneratorSpec, seed: int, indices: Sequence[int]
) -> Iterator[tuple[list[Images], Images]]:
    """Samples batch by batch, with what the scales below the finest give on the way.

    Yields:
        Image channels of each lower scale that the file has, coarsest first, clipped to [-1, 1], each
        `(n, C, h_i, w_i)`; and all channels of the finished samples, `(n, C + masks, H, W)`.
    """
    lower, opened = open_scales(candidate, len(spec.scales))
    session = open_session(opened, threads=allowed_threads())
    channels = spec.layout.image_channels
    for batch in _batches(indices):
        feed = {noise_name(number): values for number, values in enumerate(spec.noise(seed, batch))}
        *found, image, mask = session.run([*lower, IMAGE, MASK], feed)
        yield [np.clip(one[:, :channels], -1, 1) for one in found], np.concatenate([image, mask], axis=1)


def open_scales(candidate: bytes, scales: int) -> tuple[list[str], bytes]:
    """The same file with the outputs of its lower scales named as outputs, as anybody who has it can do."""
    model = onnx.load_model_from_string(candidate)
    computed = {name for node in model.graph.node for name in node.output}
    names = [f"scale_{number}.picture" for number in range(scales - 1)]
    if names:
        # At the coarsest scale there is no picture below that could be added.
        names[0] = f"scale_0.block_{CONVOLUTIONS - 1}.out"
    names = [name for name in names if name in computed]
    for name in names:
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    return names, model.SerializeToString()


def _batches(indices: Sequence[int]) -> list[Sequence[int]]:
    return [indices[start : start + BATCH] for start in range(0, len(indices), BATCH)]
