"""A VGG-16 of a few channels and random weights, and its file in the form of the real checkpoint."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from sharekit.bundle import features
from sharekit.bundle.features import FeatureNetwork
from sharekit.bundle.style_statistics import StyleStatistics

WIDTHS = (4, 4, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6)


def convolutions(seed: int = 0, widths: tuple[int, ...] = WIDTHS) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weights `(out, in, 3, 3)` and biases, scaled so that activations neither die nor explode."""
    random = np.random.default_rng(seed)
    inputs = (3, *widths[:-1])
    return [
        (
            ((2 / (9 * before)) ** 0.5 * random.standard_normal((after, before, 3, 3))).astype(np.float32),
            (0.1 * random.standard_normal(after)).astype(np.float32),
        )
        for before, after in zip(inputs, widths, strict=True)
    ]


def tree(seed: int = 0) -> dict[str, Any]:
    """The convolutions as Flax names and orders them."""
    return {
        "VGG16_0": {
            f"Conv_{number}": {"kernel": weight.transpose(2, 3, 1, 0), "bias": bias}
            for number, (weight, bias) in enumerate(convolutions(seed))
        }
    }


def write_checkpoint(path: Path, seed: int = 0) -> str:
    """Write the pickle and return its SHA-256."""
    data = pickle.dumps(tree(seed), protocol=4)
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def tiny_network(seed: int = 0, sha256: str = "ab" * 32) -> FeatureNetwork:
    names = [
        f"conv{block}_{number}"
        for block, count in enumerate(features.CONVOLUTIONS[features.VGG16], start=1)
        for number in range(1, count + 1)
    ]
    mean, std = (
        np.array(values, np.float32).reshape(1, 3, 1, 1)
        for values in (features.IMAGENET_MEAN, features.IMAGENET_STD)
    )
    weights = dict(zip(names, convolutions(seed), strict=True))
    return FeatureNetwork(features.VGG16, sha256, weights, mean, std)


def tiny_statistics(
    network: FeatureNetwork, *, image_count: int = 5, seed: int = 0, scale: float = 0.1
) -> StyleStatistics:
    """Statistics of random activations: true Gram matrices, of no picture."""
    random = np.random.default_rng(seed)
    grams = {}
    for layer in features.STYLE_LAYERS:
        activation = random.random((1, network.channels(layer), 7, 9)).astype(np.float32)
        gram = scale * features.gram(activation)[0]
        grams[layer] = ((gram + gram.T) / 2).astype(np.float32)
    return StyleStatistics(network.name, network.sha256, image_count, 256, grams)
