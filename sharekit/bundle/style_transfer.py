"""Style transfer after Gatys, Ecker and Bethge (CVPR 2016), to Gram matrices instead of a style image.

The consumer styles with it. The hospital attacks samples that were styled with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharekit.bundle import features
from sharekit.bundle.features import CONTENT_LAYER, STYLE_LAYERS, FeatureNetwork
from sharekit.bundle.style_statistics import StyleStatistics
from sharekit.program.adam import adam

OnStep = Callable[[int, Mapping[str, float]], None]
"""Receives the number of the finished step, and the mean losses `content` and `style` before it."""


def style_transfer(
    torch: Any,
    images: NDArray[np.float32],
    statistics: StyleStatistics,
    network: FeatureNetwork,
    *,
    content_weight: float,
    style_weight: float,
    steps: int,
    learning_rate: float,
    on_step: OnStep | None = None,
) -> NDArray[np.float32]:
    """Give images the style that the statistics describe, starting from the images themselves.

    The other images of a batch do not affect an image: Adam works pixel by pixel, and the batch's loss is a
    sum over images.

    Args:
        torch: the module `torch`, which this package never imports.
        images: float32 `(N, C, H, W)`, C 1 or 3, range [-1, 1], sides at least `features.MIN_SIDE`.
        statistics: style targets, one Gram matrix per style layer.
        network: the network that the targets were computed with, as tensors on the device to use.
        content_weight: weight of the content loss.
        style_weight: weight of the style loss.
        steps: steps of Adam, at least 1.
        learning_rate: of Adam, on pixels in [-1, 1].
        on_step: called after every step.

    Returns:
        float32, the same shape, range [-1, 1].
    """
    device = network.mean.device
    targets = {
        layer: torch.from_numpy(np.array(statistics.grams[layer])).to(device)
        for layer in STYLE_LAYERS
        if layer in statistics.grams
    }
    content = torch.from_numpy(np.array(images, np.float32)).to(device)
    with torch.no_grad():
        target = features.activations(content, network, torch.nn.functional, [CONTENT_LAYER])[CONTENT_LAYER]
    image = content.clone().requires_grad_(True)
    optimizer = adam(torch, [image], lr=learning_rate)
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        found = features.activations(image, network, torch.nn.functional, {*targets, CONTENT_LAYER})
        content_loss = content_weight * content_loss_of(found[CONTENT_LAYER], target)
        style_loss = style_weight * style_loss_of(found, targets)
        (content_loss + style_loss).sum().backward()
        optimizer.step()
        with torch.no_grad():
            image.clamp_(-1, 1)
        if on_step is not None:
            on_step(step, {"content": content_loss.mean().item(), "style": style_loss.mean().item()})
    styled: NDArray[np.float32] = image.detach().cpu().numpy()
    return styled


def content_loss_of(activation: Any, target: Any) -> Any:
    """Mean squared difference of activations `(N, c, h, w)` for each image: `(N,)`."""
    return (activation - target).square().mean(dim=(1, 2, 3))


def style_loss_of(activations: Mapping[str, Any], targets: Mapping[str, Any]) -> Any:
    """The published style loss of each image: `(N,)`.

    A layer adds its weight times MSE(F Fᵀ, target) / (c h w), where F Fᵀ is not normalised. `features.gram`
    divides F Fᵀ by c h w, so that targets do not depend on sizes. Squaring that leaves one factor c h w here.
    """
    losses = []
    for layer, target in targets.items():
        difference = features.gram(activations[layer]) - target
        _, channels, height, width = activations[layer].shape
        loss = difference.square().mean(dim=(1, 2)) * (channels * height * width)
        losses.append(STYLE_LAYERS[layer] * loss)
    return sum(losses)
