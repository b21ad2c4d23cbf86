"""Compute the validation report of a data set: every figure with its interval."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consumer.datasets.reader import DatasetFolder
from consumer.validation import diversity, protected
from consumer.validation.findings import findings, is_broken
from consumer.validation.measure_files import ImageFacts, Measurements, measure
from consumer.validation.perceptual import LpipsOptions, Perceived, perceive
from consumer.validation.validation_report import (
    ClassSummary,
    DuplicateSummary,
    GeneratorSummary,
    ReferenceSummary,
    ValidationReport,
)
from sharekit.intervals import Interval, bootstrap_mean
from sharekit.pictures.mask_statistics import coverage_histogram
from sharekit.pictures.similarity import HASH_BITS, NearDuplicates, exact_duplicates, near_duplicates
from sharekit.program.progress import ProgressCallback, ignore
from sharekit.storage.names import printable


def validate(
    folder: DatasetFolder,
    statistics: Mapping[str, Any] | None = None,
    *,
    lpips: LpipsOptions | None = None,
    on_progress: ProgressCallback = ignore,
) -> tuple[ValidationReport, Measurements]:
    """Validate a data set.

    Args:
        folder: the data set; its problems become findings.
        statistics: a verified bundle's `statistics.json`, to compare mask coverage with.
        lpips: options of the LPIPS comparison; None leaves it out.
        on_progress: called after every pair.

    Returns:
        The report, and the measurements that its figures are drawn from.
    """
    measured = measure(folder, on_progress)
    perceived = Perceived() if lpips is None else perceive(folder, measured, lpips)
    return summarise(folder, measured, statistics, perceived), measured


def summarise(
    folder: DatasetFolder,
    measured: Measurements,
    statistics: Mapping[str, Any] | None = None,
    perceived: Perceived | None = None,
) -> ValidationReport:
    """Compute the report from measurements; a pure function."""
    perceived = perceived or Perceived()
    images = measured.images
    exact = exact_duplicates([image.digest for image in images])
    near = near_duplicates(
        np.array([image.hash for image in images], bool).reshape(len(images), HASH_BITS),
        [image.group for image in images],
    )
    thumbnails = _thumbnails(images)
    classes = _class_summaries(images)
    generators = tuple(
        _generator_summary(name, measured.group(name), perceived.groups.get(name))
        for name in measured.mask_maps
    )
    sizes = Counter(image.size for image in images).most_common()
    missing = (measured.without_edges, perceived.missing)
    return ValidationReport(
        dataset=printable(folder.root.resolve().name),
        images=len(images),
        sizes=tuple((width, height, count) for (width, height), count in sizes),
        classes=classes,
        reference=compare(classes, statistics) if statistics else (),
        generators=generators,
        edges=_mean([image.edges for image in images]),
        pixel_std=diversity.pixel_std(thumbnails) if images else None,
        mean_distance=diversity.mean_distance(thumbnails),
        lpips=perceived.whole,
        duplicates=_duplicate_summary(images, exact, near),
        findings=findings(folder, measured, generators, exact, near),
        broken=tuple(image.entry.image for image in images if is_broken(image)),
        missing=tuple(entry for entry in missing if entry is not None),
    )


def compare(classes: Sequence[ClassSummary], statistics: Mapping[str, Any]) -> tuple[ReferenceSummary, ...]:
    """Compare the data set's histograms with the bundle's protected ones, class by class.

    Classes are matched by name. If each side has a single class, these two are compared.
    """
    histograms: Mapping[str, Sequence[int]] = statistics["coverage"]["histograms"]
    if len(classes) == len(histograms) == 1:
        histograms = {classes[0].name: next(iter(histograms.values()))}
    return tuple(
        _reference_summary(summary, histograms[summary.name], statistics)
        for summary in classes
        if summary.name in histograms
    )


def _reference_summary(
    summary: ClassSummary, counts: Sequence[int], statistics: Mapping[str, Any]
) -> ReferenceSummary:
    image_count, scale = int(statistics["image_count"]), float(statistics["protection"]["scale"])
    variation, smirnov = (
        protected.compare(distance, summary.histogram, counts, image_count, scale)
        for distance in (protected.total_variation, protected.kolmogorov_smirnov)
    )
    return ReferenceSummary(
        name=summary.name,
        image_count=image_count,
        counts=tuple(counts),
        epsilon=float(statistics["protection"]["epsilon"]),
        noise_scale=scale,
        total_variation=variation,
        kolmogorov_smirnov=smirnov,
    )


def _class_summaries(images: Sequence[ImageFacts]) -> tuple[ClassSummary, ...]:
    labels = dict.fromkeys(label for image in images for label in image.masks)
    summaries = []
    for label in labels:
        facts = [image.masks[label] for image in images if label in image.masks]
        coverages = np.array([fact.coverage for fact in facts])
        components = np.array([fact.components for fact in facts])
        summaries.append(
            ClassSummary(
                name=label,
                masks=len(facts),
                coverage=bootstrap_mean(coverages),
                coverage_std=float(coverages.std()),
                coverage_min=float(coverages.min()),
                coverage_max=float(coverages.max()),
                histogram=tuple(coverage_histogram(coverages).tolist()),
                components=bootstrap_mean(components),
                components_median=float(np.median(components)),
                components_max=int(components.max()),
                with_holes=bootstrap_mean([float(fact.holes > 0) for fact in facts]),
            )
        )
    return tuple(summaries)


def _generator_summary(name: str, images: Sequence[ImageFacts], lpips: Interval | None) -> GeneratorSummary:
    """Summarise at least one image; averages an image's masks first, so that intervals resample images."""
    thumbnails = _thumbnails(images)
    masks = [list(image.masks.values()) for image in images]
    coverages = [image.coverage for image in images]
    return GeneratorSummary(
        id=name,
        images=len(images),
        coverage=bootstrap_mean(coverages),
        coverage_std=float(np.std(coverages)),
        components=bootstrap_mean([float(np.mean([fact.components for fact in facts])) for facts in masks]),
        with_holes=bootstrap_mean([float(np.mean([fact.holes > 0 for fact in facts])) for facts in masks]),
        largest=_mean([_largest(image) for image in images]),
        edges=_mean([image.edges for image in images]),
        pixel_std=diversity.pixel_std(thumbnails),
        mean_distance=diversity.mean_distance(thumbnails),
        lpips=lpips,
    )


def _largest(image: ImageFacts) -> float | None:
    marking = [fact.largest for fact in image.masks.values() if fact.coverage]
    return float(np.mean(marking)) if marking else None


def _mean(values: Sequence[float | None]) -> Interval | None:
    """The mean of the values that are not None; None when all are."""
    known = [value for value in values if value is not None]
    return bootstrap_mean(known) if known else None


def _duplicate_summary(
    images: Sequence[ImageFacts], exact: Sequence[tuple[int, ...]], near: NearDuplicates
) -> DuplicateSummary:
    return DuplicateSummary(
        exact_groups=len(exact),
        exact_images=sum(len(group) for group in exact),
        near_pairs=near.pairs,
        near_images=near.images,
        near_pairs_across_generators=near.pairs_across_groups,
        closest=tuple((images[a].entry.image, images[b].entry.image, bits) for a, b, bits in near.closest),
    )


def _thumbnails(images: Sequence[ImageFacts]) -> NDArray[np.uint8]:
    side = diversity.THUMBNAIL_SIDE
    return np.array([image.thumbnail for image in images], np.uint8).reshape(len(images), side, side, 3)
