"""Retrieval: does a search for images like the samples return a source first?

The search is by colours, by thumbnails in any pose, and by deep features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from hospital_node.audit.attack import (
    MIN_CONTROLS,
    Array,
    AttackContext,
    AttackResult,
    Compared,
    Measure,
    Quantity,
    Question,
    Space,
)
from hospital_node.audit.attacks.distance import (
    NEAREST_POSSIBLE,
    Poses,
    as_they_are,
    poses,
    reduced,
    thumbnail,
    with_channels,
)
from hospital_node.audit.exposure import Exposure, exposure, worst
from hospital_node.statistics.gram_matrices import load_torch_once
from sharekit.bundle import features
from sharekit.intervals import wilson

NAME = "retrieval"
BINS = 4
"""Bins of one colour channel; the histogram is joint over the channels."""
DEEP_SAMPLES = 16
DEEP_SIDE = 48
"""Pixels, long side, at which deep features are computed."""
DEEP_LAYER = "conv3_1"
WILSON = "Wilson, 95 %"
_BATCH = 16  # images that pass the network at once

HISTOGRAM = Quantity(NAME, "histogram", "share of samples whose colours are most like a source's")
TURNED = Quantity(
    NAME, "turned", "share of samples whose thumbnail is most like a source's, turned or mirrored in any way"
)
DEEP = Quantity(NAME, "deep", "share of samples whose deep features (VGG) are most like a source's")

Features = Callable[[Array], NDArray[np.float64]]
"""`(n, C, H, W)` to unit vectors `(n, d)`."""


@dataclass(frozen=True)
class Retrieval:
    """The attacker searches the real images for those that look like the samples."""

    name: str = NAME
    question: Question = Question.QUERY

    def run(self, context: AttackContext) -> AttackResult:
        if not context.has_controls:
            return AttackResult.not_made(self.name, "there are too few other real images to search among")
        measures: list[Measure] = []
        found: list[Exposure] = []
        for quantity, images, describe, way in _searches(context.compared):
            measure, exposed = _search(quantity, images, describe, way)
            measures.append(measure)
            found.append(exposed)
        deep = "" if len(measures) > 2 else "; no deep features: no file of a feature network"
        return AttackResult(
            self.name,
            "cosine distance of colour histograms, of thumbnails in any pose and of deep features, from"
            f" samples to real images{deep}",
            len(context.samples),
            len(context.controls),
            tuple(measures),
            worst(found),
        )


def _searches(images: Compared) -> Iterator[tuple[Quantity, Compared, Features, Poses]]:
    yield HISTOGRAM, images, histograms, as_they_are
    yield TURNED, images, _shapes, poses
    path = features.find()
    small = images.at(lambda one: reduced(one[: DEEP_SAMPLES * 4], DEEP_SIDE))
    if path is not None and min(small.sources.shape[-2:]) >= features.MIN_SIDE:
        some = Compared(
            small.samples[:DEEP_SAMPLES], small.sources, small.controls, small.strangers[:DEEP_SAMPLES]
        )
        yield DEEP, some, lambda one: _deep(one, path), as_they_are


def _search(quantity: Quantity, images: Compared, describe: Features, way: Poses) -> tuple[Measure, Exposure]:
    k, controls = len(images.sources), images.controls
    if not (len(images.samples) and k and len(controls)):
        raise ValueError("retrieval needs samples, sources and controls")
    known = [describe(pose) for pose in way(images.real)]

    def to_real(shown: Array) -> NDArray[np.float64]:
        """Cosine distances `(n, k + M)`: of every image to the nearest pose of each real one."""
        found = describe(shown)
        distances: NDArray[np.float64] = 1 - np.max([found @ pose.T for pose in known], axis=0)
        return distances

    distances, members = to_real(images.samples), to_real(controls)
    own = np.arange(len(controls))
    # A picture of common colours is like everything: its usual distance to the others is divided out.
    usual = members.T.copy()
    usual[k + own, own] = np.nan
    members[own, k + own] = np.inf
    # The root makes it a metric (Hellinger's for histograms), without the long lower tail of a logarithm.
    scores = np.sqrt(
        np.maximum(distances.mean(axis=0), 0) / np.maximum(np.nanmedian(usual, axis=1), NEAREST_POSSIBLE)
    )
    exposed = exposure(scores[:k], scores[k:])

    def linked(found: NDArray[np.float64]) -> int:
        return int((found.argmin(axis=1) < k).sum())

    return (
        Measure.of(
            Space.FULL,
            quantity,
            wilson(linked(distances), len(distances)),
            WILSON,
            baseline=k / (k + len(controls)),
            control=linked(members) / len(members) if len(members) >= MIN_CONTROLS else None,
            stranger=linked(to_real(images.strangers)) / len(images.strangers)
            if len(images.strangers)
            else None,
            effect=exposed.effect,
        ),
        exposed,
    )


def _shapes(images: Array) -> NDArray[np.float64]:
    """Thumbnails without their mean colour, as unit vectors `(n, d)`."""
    small = thumbnail(images).astype(np.float64)
    flat = (small - small.mean(axis=(2, 3), keepdims=True)).reshape(len(small), -1)
    unit: NDArray[np.float64] = flat / np.maximum(
        np.linalg.norm(flat, axis=1, keepdims=True), NEAREST_POSSIBLE
    )
    return unit


def histograms(images: Array) -> NDArray[np.float64]:
    """Square roots of joint colour histograms: unit vectors `(n, BINS ** C)`."""
    count, channels = images.shape[:2]
    bins = np.clip(((images + 1) / 2 * BINS).astype(np.int64), 0, BINS - 1)
    codes = np.zeros((count, *images.shape[2:]), np.int64)
    for channel in range(channels):
        codes = codes * BINS + bins[:, channel]
    counts = np.stack([np.bincount(one.ravel(), minlength=BINS**channels) for one in codes])
    found: NDArray[np.float64] = np.sqrt(counts / counts.sum(axis=1, keepdims=True))
    return found


def histogram_images(images: Array) -> Array:
    """The same in the form of images, `(n, BINS ** C, 1, 1)`, for what compares images."""
    if not len(images):
        return np.zeros((0, 1, 1, 1), np.float32)
    return histograms(images).astype(np.float32)[:, :, None, None]


@torch.no_grad()
def _deep(images: Array, path: Path) -> NDArray[np.float64]:
    """Mean activations of `DEEP_LAYER`, as unit vectors `(n, channels)`."""
    network, found = load_torch_once(path), []
    for start in range(0, len(images), _BATCH):
        batch = np.stack([with_channels(image, 3) for image in images[start : start + _BATCH]])
        values = features.activations(torch.from_numpy(batch), network, functional, (DEEP_LAYER,))[DEEP_LAYER]
        found.append(values.mean(dim=(2, 3)).double().numpy())
    stacked = np.concatenate(found)
    return stacked / np.maximum(np.linalg.norm(stacked, axis=1, keepdims=True), NEAREST_POSSIBLE)
