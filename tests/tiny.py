"""A generator of random weights: the smallest thing that every stage after training can work on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hospital_node.singan.config import PROFILES
from hospital_node.singan.trained import BatchNorm, Block, TrainedGenerator, TrainedScale
from sharekit.generator.onnx_contract import CONVOLUTIONS
from sharekit.generator.spec import GeneratorSpec, Scale
from sharekit.generator.tensors import ChannelLayout

HIDDEN_CHANNELS = 6


def tiny_generator(
    seed: int = 0,
    *,
    sizes: Sequence[tuple[int, int]] = ((9, 11), (14, 17), (20, 24)),
    image_channels: int = 3,
    mask_classes: Sequence[str] = ("lesion",),
    hidden_channels: int = HIDDEN_CHANNELS,
) -> TrainedGenerator:
    """Random weights, batch norms and amplitudes; `sizes` are `(height, width)` in pixels, coarsest first."""
    random = np.random.default_rng(seed)
    layout = ChannelLayout(image_channels, tuple(mask_classes))
    scales = tuple(
        Scale(height, width, layout.channels if number else 1) for number, (height, width) in enumerate(sizes)
    )
    widths = [layout.channels, *[hidden_channels] * (CONVOLUTIONS - 1), layout.channels]
    return TrainedGenerator(
        GeneratorSpec(random.bytes(16).hex(), layout, scales),
        "quick",
        PROFILES["quick"],
        tuple(
            TrainedScale(
                1.0 if number == 0 else 0.3,
                tuple(
                    _block(random, widths[i], widths[i + 1], last=i == CONVOLUTIONS - 1)
                    for i in range(CONVOLUTIONS)
                ),
            )
            for number in range(len(sizes))
        ),
    )


def _block(random: np.random.Generator, inputs: int, outputs: int, *, last: bool) -> Block:
    def normal(scale: float, *shape: int) -> np.ndarray:
        return (scale * random.standard_normal(shape)).astype(np.float32)

    norm = BatchNorm(
        weight=1 + normal(0.2, outputs),
        bias=normal(0.2, outputs),
        mean=normal(0.2, outputs),
        variance=random.uniform(0.5, 2, outputs).astype(np.float32),
    )
    return Block(
        normal(1.2 / (9 * inputs) ** 0.5, outputs, inputs, 3, 3), normal(0.1, outputs), None if last else norm
    )
