"""Inception's first layers with random weights: a feature network for tests where the real one is absent."""

from __future__ import annotations

import torch

from hospital_node.fidelity.inception import STEM_DIMENSION, Inception


def random_stem(seed: int = 0) -> Inception:
    """64-d features."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, inputs, outputs in (("conv", 3, 32), ("conv_1", 32, 32), ("conv_2", 32, 64)):
        scale = (2 / (9 * inputs)) ** 0.5
        tensors[f"{name}.weight"] = scale * torch.randn(outputs, inputs, 3, 3, generator=generator)
        tensors[f"{name}.bias"] = 0.1 * torch.randn(outputs, generator=generator)
    return Inception(tensors, STEM_DIMENSION)
