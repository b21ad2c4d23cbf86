"""Change real pictures at random while a generator learns from them, so that it learns none by heart."""

from __future__ import annotations

import torch
from torch import Tensor

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


def _brighter(image: Tensor, gain: Tensor) -> Tensor:
    return ((image + 1) * gain - 1).clamp(-1, 1)
