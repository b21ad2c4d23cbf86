"""The image pyramid: how many scales, of which sizes, and the real image resized to each."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from hospital_node.singan.config import TrainingConfig
from hospital_node.singan.sides import LEAST_SHORT_SIDE, least_max_side
from sharekit.errors import InputError


def pyramid_sizes(height: int, width: int, config: TrainingConfig) -> list[tuple[int, int]]:
    """Sizes `(height, width)` in pixels of every scale, coarsest first.

    SinGAN's rule (Shaham et al., ICCV 2019, as published in code): the number of scales follows from
    `scale_factor` and the original size, then the factor is solved again so that the coarsest short side
    is `min_side` exactly. The finest scale has a long side of at most `max_side`.

    Raises:
        InputError: the image is too small for the unpadded discriminator at the coarsest scale.
    """
    factor = config.scale_factor
    short, long = min(height, width), max(height, width)
    fit = min(config.max_side / long, 1.0)
    finest = (_ceil(height * fit), _ceil(width * fit))
    if min(finest) < LEAST_SHORT_SIDE:
        raise InputError(
            f"image of {width}x{height} pixels",
            expected=f"a short side of at least {LEAST_SHORT_SIDE} pixels, the long one being {max(finest)}",
            found=f"{finest[1]}x{finest[0]} pixels",
            next_step=f"train with --max-side {least_max_side(height, width)} or more, or crop the image "
            "closer to a square",
        )
    steps_to_coarsest = math.ceil(math.log(config.min_side / short, factor))
    steps_to_finest = math.ceil(math.log(min(config.max_side, long) / long, factor))
    steps = max(steps_to_coarsest + 1 - steps_to_finest, 0)
    if steps == 0 or min(finest) <= config.min_side:
        return [finest]
    solved = (config.min_side / min(finest)) ** (1 / steps)
    return [
        (_ceil(finest[0] * ratio), _ceil(finest[1] * ratio))
        for ratio in (solved ** (steps - scale) for scale in range(steps))
    ] + [finest]


def pictures_at(scale: int, sizes: Sequence[tuple[int, int]], config: TrainingConfig) -> int:
    """Pictures in every update: `config.pictures` at the coarsest scale, as many as cost the same above it.

    At least two, if there are several at all: batch norm averages over them.
    """
    areas = [height * width for height, width in sizes]
    return max(min(config.pictures, 2), config.pictures * areas[0] // areas[scale])


def _ceil(value: float) -> int:
    # 622 * (250 / 622) may come out a hair above 250.
    return math.ceil(value - 1e-6)


def resize(image: Tensor, height: int, width: int) -> Tensor:
    """`(N, C, H, W)` to `(N, C, height, width)`, each channel by itself: bicubic, antialiased (a = -0.5).

    Values are clipped to [-1, 1], the range of the contract, since bicubic overshoots at edges.
    """
    resized = F.interpolate(image, (height, width), mode="bicubic", align_corners=False, antialias=True)
    return resized.clamp(-1, 1)


def upsample(image: Tensor, height: int, width: int) -> Tensor:
    """One scale's output to the next scale's size: bicubic (a = -0.75) without antialiasing.

    The same as ONNX's Resize with `cubic`, `half_pixel` and `cubic_coeff_a=-0.75`.
    """
    return F.interpolate(image, (height, width), mode="bicubic", align_corners=False)


def build_pyramid(tensor: NDArray[np.float32], config: TrainingConfig) -> list[NDArray[np.float32]]:
    """The real `(C, H, W)` tensor in [-1, 1] at every scale, coarsest first, each `(C, h, w)`."""
    image = torch.from_numpy(tensor)[None]
    sizes = pyramid_sizes(tensor.shape[1], tensor.shape[2], config)
    return [resize(image, height, width)[0].numpy() for height, width in sizes]
