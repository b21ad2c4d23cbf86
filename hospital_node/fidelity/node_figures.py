"""Compute the node's figures from what was measured on every generator."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from hospital_node.fidelity.coverage_distance import kolmogorov_smirnov, total_variation
from hospital_node.fidelity.fidelity_report import Better, Comparison, Figure, GeneratorFidelity
from hospital_node.fidelity.fidelity_settings import FidelitySettings
from hospital_node.fidelity.frechet import Features, frechet_distance
from hospital_node.fidelity.halves import MIN_IMAGES, compare
from hospital_node.fidelity.inception import HOW_TO_GET
from hospital_node.fidelity.kernel import kernel_distance
from hospital_node.fidelity.manifold import manifold
from hospital_node.fidelity.pixel_diversity import pixel_std
from hospital_node.fidelity.sifid import distances_to_nearest
from hospital_node.fidelity.subject import SMALL_SIDE, Looked, Subject
from sharekit.intervals import bootstrap_mean

MAX_OTHERS = 32
"""Other real images that a source is compared with by SIFID."""


def comparisons(subjects: Sequence[Subject], settings: FidelitySettings) -> list[Comparison]:
    """Samples against real images, and real against real; empty for fewer than `MIN_IMAGES` generators.

    Only generators that share no image count, so that no sample meets an image behind its own generator.
    """
    subjects = _without_shared_images(subjects)
    if len(subjects) < MIN_IMAGES:
        return []
    found = []
    seen = _looked(subjects)
    if seen:
        real = np.stack([one.real for one in seen])
        samples = np.stack([one.samples for one in seen])
        found += compare(real, samples, _feature_distances, Better.LOWER, settings)
        found += compare(real, samples, _manifold, Better.HIGHER, settings)
    for name in sorted({name for subject in subjects for name in subject.coverage}):
        found += _of_coverage(name, [one for one in subjects if name in one.coverage], settings)
    return found


def generators(subjects: Sequence[Subject], seed: int) -> list[GeneratorFidelity]:
    """Every generator against its own sources, and the other real images against these sources."""
    real = [(one.images[0], one.looked.sources[0]) for one in subjects if one.looked is not None]
    largest = max((len(one.images) for one in subjects), default=0)
    chosen = np.random.default_rng(seed).permutation(len(real))[: MAX_OTHERS + largest]
    found = []
    for subject in subjects:
        looked = subject.looked
        pool = [real[number] for number in chosen]
        others = [statistics for image, statistics in pool if image not in subject.images][:MAX_OTHERS]
        found.append(
            GeneratorFidelity(
                subject.generator_id,
                subject.candidate_sha256,
                None if looked is None else bootstrap_mean(looked.sifid, seed=seed),
                float(np.median(distances_to_nearest(looked.sources, others))) if looked and others else None,
                subject.pixel_std,
            )
        )
    return found


def figures(subjects: Sequence[Subject], each: Sequence[GeneratorFidelity], seed: int) -> list[Figure]:
    """Means over generators, and what they are compared with."""
    found = []
    sifid = [one.sifid.mean for one in each if one.sifid is not None]
    others = [one.sifid_others for one in each if one.sifid_others is not None]
    if sifid:
        found.append(
            Figure(
                "SIFID (64-d)",
                bootstrap_mean(sifid, seed=seed),
                bootstrap_mean(others, seed=seed) if others else None,
                "other real images against the same source",
            )
        )
    found.append(
        Figure(
            f"pixel standard deviation at {SMALL_SIDE}x{SMALL_SIDE}, of [-1, 1]",
            bootstrap_mean([one.pixel_std.mean for one in each], seed=seed),
            pixel_std(np.stack([one.small for one in subjects]), seed=seed) if len(subjects) > 1 else None,
            "between different real images",
        )
    )
    return found


def missing(subjects: Sequence[Subject]) -> list[str]:
    """Figures that cannot be given, and how to get them."""
    lines = []
    if not _looked(subjects):
        lines.append(f"SIFID, FID, KID, precision, recall, density, coverage: {HOW_TO_GET}")
    compared = len(_without_shared_images(subjects))
    if compared < MIN_IMAGES:
        lines.append(
            f"samples against real images, compared with real against real: needs {MIN_IMAGES} audited"
            f" generators that share no image, and this node has {compared}"
        )
    elif compared < len(subjects):
        lines.append(
            "samples against real images, compared with real against real: only"
            f" {compared} of {len(subjects)} generators count, which share no image"
        )
    return lines


def _without_shared_images(subjects: Sequence[Subject]) -> list[Subject]:
    """The subjects, without those that share an image with an earlier one."""
    taken: set[str] = set()
    kept = []
    for subject in subjects:
        if taken.isdisjoint(subject.images):
            kept.append(subject)
            taken.update(subject.images)
    return kept


def _looked(subjects: Sequence[Subject]) -> list[Looked]:
    return [subject.looked for subject in subjects if subject.looked is not None]


def _feature_distances(real: Features, other: Features) -> Mapping[str, float]:
    dimension = real.shape[1]
    return {
        f"FID ({dimension}-d)": frechet_distance(real, other),
        f"KID ({dimension}-d)": kernel_distance(real, other),
    }


def _manifold(real: Features, other: Features) -> Mapping[str, float]:
    found = manifold(real, other)
    return {
        f"{name} ({real.shape[1]}-d)": getattr(found, name)
        for name in ("precision", "recall", "density", "coverage")
    }


def _of_coverage(name: str, subjects: Sequence[Subject], settings: FidelitySettings) -> list[Comparison]:
    """True-pixel shares of one mask class."""
    if len(subjects) < MIN_IMAGES:
        return []
    real = np.array([[one.coverage[name]] for one in subjects])
    samples: NDArray[np.float64] = np.stack([one.sample_coverage[name] for one in subjects])[:, :, None]

    test, bins = f"Kolmogorov-Smirnov of {name} coverage", f"total variation of {name} coverage, 5 % bins"

    def distances_of(first: Features, second: Features) -> Mapping[str, float]:
        return {test: kolmogorov_smirnov(first, second).statistic, bins: total_variation(first, second)}

    tested, binned = compare(real, samples, distances_of, Better.LOWER, settings)
    # Samples of one generator are not independent, so the test uses one sample of each generator.
    return [dataclasses.replace(tested, p=kolmogorov_smirnov(real, samples[:, 0]).p), binned]
