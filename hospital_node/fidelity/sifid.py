"""Single-image FID: are a sample's patches distributed as the source's? (Shaham et al., ICCV 2019)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from hospital_node.fidelity.frechet import Gaussian
from hospital_node.fidelity.inception import Inception

Pictures = NDArray[np.float32] | torch.Tensor


def patch_statistics(pictures: Pictures, network: Inception) -> list[Gaussian]:
    """One Gaussian per picture of `(N, C, H, W)` in [-1, 1], fitted to its 64-d features at all positions."""
    with torch.inference_mode():
        # One picture at a time: the first layers of many at full size take gigabytes.
        maps = [network.stem(picture[None])[0] for picture in torch.as_tensor(pictures)]
    return [Gaussian.fit(found.flatten(1).T.numpy()) for found in maps]


def sifid(real: Pictures, samples: Pictures, network: Inception) -> NDArray[np.float64]:
    """`(N,)` SIFID (64-d) of samples `(N, C, H, W)` to their source `(C, H, W)`, both in [-1, 1], at their
    own sizes."""
    (source,) = patch_statistics(real[None], network)
    return distances(source, patch_statistics(samples, network))


def distances(source: Gaussian, others: Sequence[Gaussian]) -> NDArray[np.float64]:
    """`(N,)` SIFID of every picture in `others` to `source`."""
    return np.array([source.distance(other) for other in others])


def distances_to_nearest(sources: Sequence[Gaussian], others: Sequence[Gaussian]) -> NDArray[np.float64]:
    """`(N,)` SIFID of every picture in `others` to the nearest of `sources`."""
    return np.min([distances(source, others) for source in sources], axis=0)
