"""Change real pictures at random while a generator learns from them, so that it learns none by heart."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

FLIP = 0.5  # probability, of each direction


def augment(
    pictures: tuple[Tensor, ...], image_channels: int, colour: float, flips: bool, random: torch.Generator
) -> tuple[Tensor, ...]:
    """Change N pictures in [-1, 1], given at several sizes `(N, C, h_i, w_i)`, which change together.

    Args:
        image_channels: the first of the C channels; the masks behind them keep their values.
        colour: largest change of brightness, and of each channel, as a share, either way; black stays black.
        flips: mirror left and right, and up and down.
        random: on the CPU.
    """
    count, device = len(pictures[0]), pictures[0].device
    if flips:
        mirrored = (torch.rand((2, count, 1, 1, 1), generator=random) < FLIP).to(device)
        for axis, chosen in zip((2, 3), mirrored, strict=True):
            pictures = tuple(torch.where(chosen, one.flip(axis), one) for one in pictures)
    if colour:
        changes = 1 + colour * (2 * torch.rand((count, image_channels + 1, 1, 1), generator=random) - 1)
        gain = (changes[:, :1] * changes[:, 1:]).to(device)
        pictures = tuple(
            torch.cat([_brighter(one[:, :image_channels], gain), one[:, image_channels:]], dim=1)
            for one in pictures
        )
    return pictures


def warp(
    pictures: tuple[Tensor, ...], turn: float, shift: float, random: torch.Generator
) -> tuple[Tensor, ...]:
    """Turn, zoom and move N pictures about their middle, all sizes `(N, C, H, W)` of a picture alike.

    What comes in from outside a picture is its mirror image. Masks turn with their pictures.

    Args:
        turn: largest turn in degrees, either way.
        shift: largest move as a share of half a side, and largest zoom as a share, either way.
        random: on the CPU.
    """
    turns, zooms, right, down = 2 * torch.rand((4, len(pictures[0])), generator=random) - 1
    return tuple(
        moved(one, math.radians(turn) * turns, 1 + shift * zooms, shift * right, shift * down)
        for one in pictures
    )


def moved(pictures: Tensor, angle: Tensor, size: Tensor, right: Tensor, down: Tensor) -> Tensor:
    """Show N pictures `(N, C, H, W)` turned about their middle; mirror images fill the edges.

    Args:
        angle: in radians, `(N,)`.
        size: of the part that is shown, as a share of the picture, `(N,)`.
        right: place of that part's middle, as a share of half the width, `(N,)`.
        down: the same, of half the height.
    """
    height, width = pictures.shape[2:]
    cosine, sine, aspect = angle.cos() * size, angle.sin() * size, width / height
    rows = [cosine, -sine / aspect, right, sine * aspect, cosine, down]
    matrices = torch.stack(rows, dim=1).view(-1, 2, 3).to(pictures)
    grid = F.affine_grid(matrices, list(pictures.shape), align_corners=False)
    return F.grid_sample(pictures, grid, padding_mode="reflection", align_corners=False)


def _brighter(image: Tensor, gain: Tensor) -> Tensor:
    return ((image + 1) * gain - 1).clamp(-1, 1)
