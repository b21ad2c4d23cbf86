"""What training an image needs, before it starts: memory and disk. Pure.

Memory. One iteration holds, in maps of `channels x height x width` floats at the finest scale, padded:

    critic    10 for each of its 4 normalised layers: what goes into and comes out of the norm for three
              pictures (6), the gradient's pass (2) and the penalty's way back (2)
              8 while one layer's weight gradient is made: the gradient's three forms for three pictures
    generator 12 for its picture, whose graph waits while the critic learns: 3 for each of 4 layers
    all       60; the generator's own update holds fewer, and nothing of the critic's

An allocator and a convolution's workspace take more than what they are asked for: `MAPS` is what
`benchmarks/training_memory.py` measured on the CPU, rounded up. On a GPU it is an estimate.
"""

from __future__ import annotations

from dataclasses import dataclass

from hospital_node.singan.config import TrainingConfig
from hospital_node.singan.networks import DEPTH, channels_at
from hospital_node.singan.pyramid import pictures_at, pyramid_sizes
from sharekit.generator.spec import PADDING

MAPS = 110
"""Measured: 69 to 89, earlier 79 to 103; see docs/adr/0012-doctor-and-status.md."""
FLOAT = 4  # bytes
WORKER_BYTES = 600 * 2**20
"""A worker with torch before it trains; on a GPU, its CUDA context takes about as much there."""
ADAM_COPIES = 3
"""A checkpoint holds each weight in training with Adam's two moments."""


@dataclass(frozen=True)
class ImageNeeds:
    """Needs of one image; all in bytes."""

    memory: int
    """Memory at the peak of an iteration, without the worker itself."""
    checkpoint: int
    """Disk space while it trains."""
    generator: int
    """Disk space that it keeps; its ONNX candidate is as large."""


def image_needs(height: int, width: int, channels: int, config: TrainingConfig) -> ImageNeeds:
    """What an image of `(height, width)` pixels with `channels` image and mask channels needs.

    Raises:
        InputError: the image is too small to be trained on.
    """
    sizes = pyramid_sizes(height, width, config)
    widths = [channels_at(scale, config) for scale in range(len(sizes))]
    maps = [
        pictures_at(scale, sizes, config) * (h + 2 * PADDING) * (w + 2 * PADDING) * widths[scale]
        for scale, (h, w) in enumerate(sizes)
    ]
    generator = FLOAT * sum(stack_weights(channels, channels, c) for c in widths)
    in_training = FLOAT * (
        stack_weights(channels, channels, widths[-1]) + stack_weights(channels, 1, widths[-1])
    )
    pictures = FLOAT * channels * sum(h * w for h, w in sizes)
    return ImageNeeds(
        memory=FLOAT * MAPS * max(maps),
        checkpoint=generator + ADAM_COPIES * in_training + 2 * pictures,
        generator=generator,
    )


def stack_weights(inputs: int, outputs: int, channels: int) -> int:
    """Numbers in a network's five convolutions and four norms, running statistics included."""
    widths = [inputs, *[channels] * (DEPTH - 1), outputs]
    convolutions = sum(9 * widths[i] * widths[i + 1] for i in range(DEPTH)) + outputs
    return convolutions + 4 * channels * (DEPTH - 1)


def lanes_at_once(free: int, needs: ImageNeeds) -> int:
    """How many images one worker trains side by side on a device with `free` bytes of memory."""
    return max(free - WORKER_BYTES, 0) // needs.memory


def images_at_once(free: int, needs: ImageNeeds) -> int:
    """How many workers, with one image each, fit in `free` bytes of a machine's or a GPU's memory."""
    return free // (WORKER_BYTES + needs.memory)


def disk_needed(images: int, at_once: int, needs: ImageNeeds) -> int:
    """Bytes for `images` that wait, `at_once` of them in training.

    A generator and its candidate stay; a new checkpoint is written before the old one is removed.
    """
    return images * 2 * needs.generator + min(images, at_once) * 2 * needs.checkpoint
