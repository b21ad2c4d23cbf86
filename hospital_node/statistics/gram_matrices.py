"""Style statistics of the real images: Gram matrices averaged over at least k of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from hospital_node.singan.pyramid import resize
from sharekit.bundle import features
from sharekit.bundle.features import FeatureNetwork
from sharekit.bundle.style_statistics import DEFAULT_MAX_SIDE, StyleStatistics, average


def load_torch(path: Path) -> FeatureNetwork:
    """A feature network as tensors.

    Raises:
        DependencyError, VerificationError: as `features.load`.
    """

    def tensors(file: Any) -> Any:
        return torch.load(file, map_location="cpu", weights_only=True)

    return features.load(path, tensors).map(lambda array: torch.from_numpy(np.array(array, np.float32)))


@cache
def load_torch_once(path: Path) -> FeatureNetwork:
    """`load_torch`, which reads and checks each file once in this process."""
    return load_torch(path)


def style_statistics(
    images: Iterable[NDArray[np.float32]],
    network: FeatureNetwork,
    *,
    k: int,
    max_side: int = DEFAULT_MAX_SIDE,
) -> StyleStatistics:
    """Average the Gram matrices of real images.

    Args:
        images: `(C, H, W)` float32 in [-1, 1], image channels only; grey counts as equal RGB.
        network: as `load_torch` gives it.
        k: fewest images that may be averaged.
        max_side: pixels; larger images are reduced to it.

    Raises:
        PolicyError: fewer than `k` images.
    """
    return average(network, grams_of(images, network, max_side), max_side=max_side, min_images=k)


@torch.no_grad()
def grams_of(
    images: Iterable[NDArray[np.float32]], network: FeatureNetwork, max_side: int
) -> Iterator[dict[str, NDArray[np.float32]]]:
    """Each image's own Gram matrices, by layer; they describe that image alone and never leave."""
    for image in images:
        tensor = torch.from_numpy(image)[None]
        height, width = tensor.shape[-2:]
        if max(height, width) > max_side:
            scale = max_side / max(height, width)
            tensor = resize(tensor, max(1, round(height * scale)), max(1, round(width * scale)))
        found = features.activations(tensor, network, functional)
        yield {layer: features.gram(values)[0].numpy() for layer, values in found.items()}
