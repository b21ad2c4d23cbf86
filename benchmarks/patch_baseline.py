"""A training-free baseline: samples put together from the nearest patches of the real images themselves.

After GPNN (Granot et al., CVPR 2022), without its weighting: from a blurred mixture of the sources up, every
patch is replaced by its nearest real one and overlaps are averaged. It carries the images that it draws from,
so that it can never leave a hospital. It is here to show why one trains at all.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from hospital_node.singan.config import TrainingConfig
from hospital_node.singan.pyramid import pyramid_sizes, resize, upsample

PATCH = 7  # pixels, both sides
ROUNDS = 1
"""Replacements at each scale."""
NOISE = 0.75
"""Standard deviation of the noise on the coarsest picture, as in GPNN."""


def draw(sources: Sequence[NDArray[np.float32]], config: TrainingConfig, count: int, seed: int = 0) -> Tensor:
    """`(count, C, H, W)` in [-1, 1] from k sources `(C, H, W)` of one size."""
    random = torch.Generator().manual_seed(seed)
    real = torch.from_numpy(np.stack(sources))
    sizes = pyramid_sizes(*real.shape[2:], config)
    return torch.cat([_draw_one(real, sizes, random) for _ in range(count)])


def _draw_one(real: Tensor, sizes: Sequence[tuple[int, int]], random: torch.Generator) -> Tensor:
    start = resize(real, *sizes[0]).mean(dim=0, keepdim=True)
    picture = start + NOISE * torch.randn(start.shape, generator=random)
    for size in sizes:
        keys = values = resize(real, *size)
        picture = upsample(picture, *size)
        for _ in range(ROUNDS):
            picture = _replace(picture, keys, values)
    return picture.clamp(-1, 1)


def _replace(picture: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Every patch of `(1, C, H, W)` replaced by the value of the nearest key; overlaps are averaged."""
    size = picture.shape[2:]
    queries = F.unfold(picture, PATCH)[0].T
    known = F.unfold(keys, PATCH).permute(0, 2, 1).flatten(0, 1)
    nearest = torch.cdist(queries, known).argmin(dim=1)
    chosen = F.unfold(values, PATCH).permute(0, 2, 1).flatten(0, 1)[nearest].T[None]
    return F.fold(chosen, size, PATCH) / F.fold(torch.ones_like(chosen), size, PATCH)
