"""One generator with its sources: drawn, looked at, and reduced to what the figures need.

Where real images are compared as a set, one stands for each generator: the first of its group, which is the
order of training and, unless a file of groups decides, of chance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from hospital_node.audit.attacks.distance import resize, with_channels
from hospital_node.audit.audited import Asking, read_candidate_bytes
from hospital_node.candidate.draw import draw
from hospital_node.fidelity.fidelity_settings import FidelitySettings
from hospital_node.fidelity.frechet import Gaussian
from hospital_node.fidelity.inception import Inception
from hospital_node.fidelity.pixel_diversity import pixel_std
from hospital_node.fidelity.sifid import distances_to_nearest, patch_statistics
from hospital_node.node.node import Node
from hospital_node.singan.pyramid import build_pyramid
from sharekit.intervals import Interval
from sharekit.pictures.mask_statistics import coverage

SMALL_SIDE = 64  # pixels, height and width: the size at which images of different sizes are compared
BATCH = 8  # pictures through the network at once


@dataclass(frozen=True, eq=False)
class Looked:
    """What the feature network saw."""

    real: NDArray[np.float64]  # (d,) of the first source
    samples: NDArray[np.float64]  # (N, d)
    sources: tuple[Gaussian, ...]  # Gaussian of each source's patches
    sifid: NDArray[np.float64]  # (N,) to the nearest source


@dataclass(frozen=True, eq=False)
class Subject:
    """What is kept of one generator, without its pictures."""

    generator_id: str
    images: tuple[str, ...]  # identifiers of the sources
    candidate_sha256: str
    small: NDArray[np.float32]  # the first source, (3, SMALL_SIDE, SMALL_SIDE) in [-1, 1]
    pixel_std: Interval  # spread of the samples at that size
    coverage: Mapping[str, float]  # class to the first source's share of true pixels
    sample_coverage: Mapping[str, NDArray[np.float64]]  # class to (N,)
    looked: Looked | None


def examine(node: Node, asking: Asking, network: Inception | None, settings: FidelitySettings) -> Subject:
    """Draw from a candidate's bytes and reduce samples and sources, all at the generator's own size.

    Raises:
        SharekitError: a file of the node is missing or damaged.
    """
    record, spec = asking.record, asking.generator.spec
    candidate = read_candidate_bytes(node, record.id)
    # `--threads` set torch's number.
    samples = draw(candidate, spec, settings.seed, range(settings.samples), threads=torch.get_num_threads())
    drawn = np.clip(samples, -1, 1)
    config = asking.generator.config
    sources = np.stack([build_pyramid(pair.tensor(), config)[-1] for pair in node.load_sources(record.id)])
    real = sources[0]
    channels = spec.layout.image_channels
    classes = list(enumerate(spec.layout.mask_classes, start=channels))
    return Subject(
        record.id,
        record.images,
        asking.candidate.sha256 or "",
        resize(with_channels(real[:channels], 3)[None], SMALL_SIDE, SMALL_SIDE)[0],
        pixel_std(resize(drawn[:, :channels], SMALL_SIDE, SMALL_SIDE), seed=settings.seed),
        {name: coverage(real[channel] > 0) for channel, name in classes},
        {name: np.array([coverage(mask > 0) for mask in drawn[:, channel]]) for channel, name in classes},
        None if network is None else _look(network, sources[:, :channels], drawn[:, :channels]),
    )


def features(pictures: NDArray[np.float32], network: Inception) -> NDArray[np.float64]:
    """`(N, d)` of pictures `(N, C, H, W)` in [-1, 1]."""
    with torch.inference_mode():
        batches = [network(batch) for batch in torch.from_numpy(pictures).split(BATCH)]
    return torch.cat(batches).double().numpy()


def _look(network: Inception, real: NDArray[np.float32], drawn: NDArray[np.float32]) -> Looked:
    sources = tuple(patch_statistics(real, network))
    return Looked(
        features(real[:1], network)[0],
        features(drawn, network),
        sources,
        distances_to_nearest(sources, patch_statistics(drawn, network)),
    )
