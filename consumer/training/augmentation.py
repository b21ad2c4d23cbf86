"""Change the images and masks of a training batch at random, together.

The changes keep an endoscopic image plausible: flips, a rotation with a little zoom and shift, and mild
changes of colour. torchvision's transforms v2 move a mask with its image and keep the mask's values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from consumer.torch_support import define_missing_operators

if TYPE_CHECKING:
    import torch

Batch = tuple["torch.Tensor", "torch.Tensor"]
Augmentation = Callable[["torch.Tensor", "torch.Tensor"], Batch]
"""Maps images `(N, C, h, w)` uint8 and masks `(N, h, w)` bool to changed ones of the same shapes."""

FLIP = 0.5  # probability, of each direction
ROTATION = 30.0  # degrees, either way
SHIFT = 0.1  # share of a side, either way
ZOOM = (0.85, 1.2)
COLOUR = 0.2  # brightness, contrast and saturation, either way
HUE = 0.02  # share of the colour circle, either way


def augmentation() -> Augmentation:
    """A function that changes each pair separately, at random from torch's global generator.

    Raises:
        DependencyError: torchvision is not installed.
    """
    define_missing_operators()
    import torch
    from torchvision import tv_tensors
    from torchvision.transforms import v2

    transform: Any = v2.Compose(
        [
            v2.RandomHorizontalFlip(FLIP),
            v2.RandomVerticalFlip(FLIP),
            v2.RandomAffine(
                ROTATION, (SHIFT, SHIFT), ZOOM, interpolation=v2.InterpolationMode.BILINEAR, fill=0
            ),
            v2.ColorJitter(COLOUR, COLOUR, COLOUR, HUE),
        ]
    )

    def augment(images: torch.Tensor, masks: torch.Tensor) -> Batch:
        changed = [
            transform(tv_tensors.Image(image), tv_tensors.Mask(mask))
            for image, mask in zip(images, masks, strict=True)
        ]
        return torch.stack([image for image, _ in changed]), torch.stack([mask for _, mask in changed])

    return augment


def unchanged(images: torch.Tensor, masks: torch.Tensor) -> Batch:
    """Return the batch without augmentation."""
    return images, masks
