"""Mix the pairs of a batch with each other: CutMix, copy-paste of lesions, and mixup.

Every pair has a partner in the same batch, never itself unless it is alone. All randomness comes from torch's
global generator.
"""

from __future__ import annotations

import torch

Batch = tuple[torch.Tensor, torch.Tensor]
"""Images `(N, C, h, w)` and masks `(N, h, w)`."""

CUTMIX_SHARE = 0.5
"""Probability that a pair is mixed; the others stay as they are."""
PASTE_SHARE = 0.5
MIXUP_ALPHA = 0.4
"""Both parameters of the Beta distribution of a pair's weight (Zhang et al., mixup, 2018: 0.1 to 0.4)."""


def partners(count: int) -> torch.Tensor:
    """`(count,)`, the partner of every pair: a random ring, so that nobody is its own partner."""
    ring = torch.randperm(count)
    found = torch.empty_like(ring)
    found[ring] = ring.roll(1)
    return found


def cutmix(images: torch.Tensor, masks: torch.Tensor) -> Batch:
    """Replace a random rectangle of half of the pairs by the partner's pixels and mask (Yun et al., 2019).

    The share of the rectangle is uniform in [0, 1], and so is its centre, as in the paper; the rectangle is
    clipped at the border.
    """
    height, width = masks.shape[-2:]
    mixed, truth = images.clone(), masks.clone()
    for place, partner in enumerate(partners(len(images)).tolist()):
        chance, share, row, column = torch.rand(4).tolist()
        if chance >= CUTMIX_SHARE:
            continue
        rows = _span(row, share**0.5, height)
        columns = _span(column, share**0.5, width)
        mixed[place, :, rows, columns] = images[partner, :, rows, columns]
        truth[place, rows, columns] = masks[partner, rows, columns]
    return mixed, truth


def copy_paste(images: torch.Tensor, masks: torch.Tensor) -> Batch:
    """Paste the partner's lesions into half of the images, at a random place (Ghiasi et al., 2021).

    All lesions of the partner move together, so that the box around them stays inside the picture. The mask
    becomes the union of both.
    """
    mixed, truth = images.clone(), masks.clone()
    for place, partner in enumerate(partners(len(images)).tolist()):
        chance, down, across = torch.rand(3).tolist()
        rows, columns = masks[partner].nonzero(as_tuple=True)
        if chance >= PASTE_SHARE or not len(rows):
            continue
        to_rows = rows + _shift(rows, down, masks.shape[-2])
        to_columns = columns + _shift(columns, across, masks.shape[-1])
        mixed[place, :, to_rows, to_columns] = images[partner, :, rows, columns]
        truth[place, to_rows, to_columns] = True
    return mixed, truth


def mixup(images: torch.Tensor, masks: torch.Tensor) -> Batch:
    """Blend every pair with its partner: float32 images in [0, 255] and soft masks in [0, 1]."""
    other = partners(len(images))
    weight = torch.distributions.Beta(MIXUP_ALPHA, MIXUP_ALPHA).sample((len(images),))
    return _blend(images.float(), other, weight), _blend(masks.float(), other, weight)


def _blend(values: torch.Tensor, other: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    weights = weight.reshape(-1, *[1] * (values.ndim - 1))
    return weights * values + (1 - weights) * values[other]


def _span(centre: float, share: float, length: int) -> slice:
    """The part of a side around a centre, both as shares of the side."""
    half = share * length / 2
    start, end = centre * length - half, centre * length + half
    return slice(max(0, round(start)), min(length, round(end)))


def _shift(places: torch.Tensor, share: float, length: int) -> int:
    """How far to move places along a side of `length`, so that the first can come anywhere that all fit."""
    first, last = int(places.min()), int(places.max())
    return int(share * (length - (last - first))) - first
