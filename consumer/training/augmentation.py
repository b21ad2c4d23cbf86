"""Change the images and masks of a training batch at random, together.

`standard` keeps an endoscopic image plausible: flips, a rotation with a little zoom and shift, and mild
changes of colour. `strong` also bends the picture (the coarse random grid of Ronneberger et al., U-Net,
2015), changes colour more, and adds one of TrivialAugment's operations on the image (Müller and Hutter,
2021). `cutmix`, `copy-paste` and `mixup` first do what `standard` does, and then mix the pairs of the batch.
torchvision's transforms v2 move a mask with its image and keep the mask's values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from consumer.torch_support import define_missing_operators
from consumer.training.training_settings import COPY_PASTE, CUTMIX, MIXUP, NO_AUGMENTATION, STRONG

if TYPE_CHECKING:
    import torch

Batch = tuple["torch.Tensor", "torch.Tensor"]
Augmentation = Callable[["torch.Tensor", "torch.Tensor"], Batch]
"""Maps images `(N, C, h, w)` uint8 and masks `(N, h, w)` bool to changed ones of the same shapes.

Only `mixup` changes the types: its images are float32 in [0, 255], its masks float32 in [0, 1].
"""

FLIP = 0.5  # probability, of each direction
ROTATION = 30.0  # degrees, either way
SHIFT = 0.1  # share of a side, either way
ZOOM = (0.85, 1.2)
COLOUR = 0.2  # brightness, contrast and saturation, either way
HUE = 0.02  # share of the colour circle, either way

STRONG_COLOUR = 0.4
STRONG_HUE = 0.05
BEND = 0.04  # standard deviation of a grid point's shift, as a share of a side
BEND_GRID = 4  # grid points a side; bicubic interpolation between them
TRIVIAL_RANGE = (0.01, 1.99)  # factors of brightness, saturation, contrast and sharpness
TRIVIAL_LEVELS = 8  # levels of the operations that have no random strength of their own


def augmentation(mode: str) -> Augmentation:
    """A function that changes each pair separately, at random from torch's global generator.

    Args:
        mode: one of `training_settings.AUGMENTATIONS`.

    Raises:
        DependencyError: torchvision is not installed.
    """
    if mode == NO_AUGMENTATION:
        return unchanged
    define_missing_operators()
    from consumer.training import mixing

    each = pair_by_pair(_strong() if mode == STRONG else _standard(COLOUR, HUE))
    mixes = {CUTMIX: mixing.cutmix, COPY_PASTE: mixing.copy_paste, MIXUP: mixing.mixup}
    if mode not in mixes:
        return each
    mix = mixes[mode]
    return lambda images, masks: mix(*each(images, masks))


def unchanged(images: torch.Tensor, masks: torch.Tensor) -> Batch:
    """Return the batch without augmentation."""
    return images, masks


def pair_by_pair(transform: Callable[[Any, Any], Batch]) -> Augmentation:
    """Apply a transform of one image and one mask to every pair of a batch."""
    import torch
    from torchvision import tv_tensors

    def augment(images: torch.Tensor, masks: torch.Tensor) -> Batch:
        changed = [
            transform(tv_tensors.Image(image), tv_tensors.Mask(mask))
            for image, mask in zip(images, masks, strict=True)
        ]
        return torch.stack([image for image, _ in changed]), torch.stack([mask for _, mask in changed])

    return augment


def bend(image: Any, mask: Any) -> Batch:
    """Bend an image and its mask alike: the points of a coarse grid move at random, the rest follows."""
    import torch
    from torchvision.transforms.v2 import functional

    # grid_sample measures shifts in half sides.
    grid = 2 * BEND * torch.randn(1, 2, BEND_GRID, BEND_GRID)
    size = image.shape[-2:]
    shifts = torch.nn.functional.interpolate(grid, size, mode="bicubic", align_corners=True)
    shifts = shifts.permute(0, 2, 3, 1)
    return functional.elastic(image, shifts), functional.elastic(mask, shifts)


def _standard(colour: float, hue: float) -> Any:
    from torchvision.transforms import v2

    return v2.Compose(
        [
            v2.RandomHorizontalFlip(FLIP),
            v2.RandomVerticalFlip(FLIP),
            v2.RandomAffine(
                ROTATION, (SHIFT, SHIFT), ZOOM, interpolation=v2.InterpolationMode.BILINEAR, fill=0
            ),
            v2.ColorJitter(colour, colour, colour, hue),
        ]
    )


def _strong() -> Callable[[Any, Any], Batch]:
    standard, trivial = _standard(STRONG_COLOUR, STRONG_HUE), _trivial()

    def transform(image: Any, mask: Any) -> Batch:
        image, mask = bend(*standard(image, mask))
        return trivial(image), mask

    return transform


def _trivial() -> Any:
    """One random operation of random strength, which moves no pixel."""
    from torchvision.transforms import v2

    steps = range(TRIVIAL_LEVELS)
    low, high = TRIVIAL_RANGE
    return v2.RandomChoice(
        [
            v2.Identity(),
            v2.ColorJitter(brightness=TRIVIAL_RANGE),
            v2.ColorJitter(saturation=TRIVIAL_RANGE),
            v2.ColorJitter(contrast=TRIVIAL_RANGE),
            v2.RandomChoice(
                [
                    v2.RandomAdjustSharpness(low + (high - low) * step / (TRIVIAL_LEVELS - 1), 1)
                    for step in steps
                ]
            ),
            v2.RandomChoice([v2.RandomPosterize(bits, 1) for bits in range(2, 8)]),
            v2.RandomChoice([v2.RandomSolarize(255 * (step + 1) / TRIVIAL_LEVELS, 1) for step in steps]),
            v2.RandomAutocontrast(1),
            v2.RandomEqualize(1),
        ]
    )
