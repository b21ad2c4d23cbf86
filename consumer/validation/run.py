"""From measurements to a report: which figures, and what is wrong how badly. No file is read here."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from consumer.reader import DatasetFolder, Problem
from consumer.validation import similarity
from consumer.validation.checks import BETWEEN, MAX_STRAY
from consumer.validation.measure import ImageFacts, Measurements, measure
from consumer.validation.report import (
    ClassSummary,
    DuplicateSummary,
    Finding,
    GeneratorSummary,
    ReferenceSummary,
    Severity,
    ValidationReport,
)
from sharekit.mask_statistics import coverage_histogram
from sharekit.names import printable
from sharekit.progress import ProgressCallback, ignore

FULL_COVERAGE = 0.95
"""A mask that covers more than this share of its image hardly marks anything."""
MANY_COMPONENTS = 50

_FILE_FINDINGS: Mapping[str, tuple[Severity, str, str]] = {
    kind: (severity, kind, message)
    for severity, kind, message in (
        (Severity.ERROR, "broken-metadata", "Metadata that cannot be read"),
        (Severity.ERROR, "unsafe-path", "Paths that lead out of the data set, or may not be used"),
        (Severity.ERROR, "missing-file", "Files that the metadata lists are missing"),
        (Severity.ERROR, "repeated-file", "Files that are used twice, or two files for one pair"),
        (Severity.ERROR, "unreadable-image", "Images that cannot be read"),
        (Severity.ERROR, "unreadable-mask", "Masks that cannot be read"),
        (Severity.ERROR, "size-mismatch", "Masks of another size than their image"),
        (Severity.WARNING, "unpaired-file", "Images without a mask, or masks without an image"),
        (Severity.WARNING, "unlisted-file", "Files that belong to no pair"),
    )
}


def validate(
    folder: DatasetFolder,
    statistics: Mapping[str, Any] | None = None,
    *,
    on_progress: ProgressCallback = ignore,
) -> tuple[ValidationReport, Measurements]:
    """Validate a data set.

    Args:
        folder: the data set; its problems become findings.
        statistics: a verified bundle's `statistics.json`, to compare mask coverage with.
        on_progress: called after every pair.

    Returns:
        The report, and the measurements that its figures are drawn from.
    """
    measured = measure(folder, on_progress)
    return summarise(folder, measured, statistics), measured


def summarise(
    folder: DatasetFolder, measured: Measurements, statistics: Mapping[str, Any] | None = None
) -> ValidationReport:
    """The report of measurements; pure."""
    images = measured.images
    exact = similarity.exact_duplicates([image.digest for image in images])
    near = similarity.near_duplicates(
        np.array([image.hash for image in images], bool).reshape(len(images), similarity.HASH_BITS),
        [image.group for image in images],
    )
    thumbnails = _thumbnails(images)
    classes = _class_summaries(images)
    sizes = Counter(image.size for image in images).most_common()
    return ValidationReport(
        dataset=printable(folder.root.resolve().name),
        images=len(images),
        sizes=tuple((width, height, count) for (width, height), count in sizes),
        classes=classes,
        reference=compare(classes, statistics) if statistics else (),
        generators=tuple(_generator_summary(name, measured.group(name)) for name in measured.mask_maps),
        pixel_std=similarity.pixel_std(thumbnails) if len(images) else 0.0,
        mean_distance=similarity.mean_distance(thumbnails),
        duplicates=DuplicateSummary(
            exact_groups=len(exact),
            exact_images=sum(len(group) for group in exact),
            near_pairs=near.pairs,
            near_images=near.images,
            near_pairs_across_generators=near.pairs_across_groups,
            closest=tuple(
                (images[a].entry.image, images[b].entry.image, bits) for a, b, bits in near.closest
            ),
        ),
        findings=_findings(folder, measured, exact, near),
    )


def compare(classes: Sequence[ClassSummary], statistics: Mapping[str, Any]) -> tuple[ReferenceSummary, ...]:
    """The bundle's protected histograms beside the data set's, class by class.

    Classes are matched by name; where each side has a single class, those two are meant.
    """
    histograms: Mapping[str, Sequence[int]] = statistics["coverage"]["histograms"]
    if len(classes) == len(histograms) == 1:
        histograms = {classes[0].name: next(iter(histograms.values()))}
    return tuple(
        ReferenceSummary(
            name=summary.name,
            image_count=int(statistics["image_count"]),
            counts=tuple(histograms[summary.name]),
            epsilon=float(statistics["protection"]["epsilon"]),
            noise_scale=float(statistics["protection"]["scale"]),
            total_variation=total_variation(summary.histogram, histograms[summary.name]),
        )
        for summary in classes
        if summary.name in histograms
    )


def total_variation(first: Sequence[int], second: Sequence[int]) -> float | None:
    """Half the summed difference of two histograms as shares, 0 to 1; None when one of them is empty."""
    a, b = np.asarray(first, float), np.asarray(second, float)
    if not a.sum() or not b.sum():
        return None
    return float(np.abs(a / a.sum() - b / b.sum()).sum() / 2)


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
                coverage_mean=float(coverages.mean()),
                coverage_std=float(coverages.std()),
                coverage_min=float(coverages.min()),
                coverage_max=float(coverages.max()),
                histogram=tuple(coverage_histogram(coverages).tolist()),
                components_median=float(np.median(components)),
                components_max=int(components.max()),
                masks_with_holes=sum(fact.holes > 0 for fact in facts),
            )
        )
    return tuple(summaries)


def _generator_summary(name: str, images: Sequence[ImageFacts]) -> GeneratorSummary:
    coverages = np.array([image.coverage for image in images])
    thumbnails = _thumbnails(images)
    return GeneratorSummary(
        id=name,
        images=len(images),
        coverage_mean=float(coverages.mean()),
        coverage_std=float(coverages.std()),
        pixel_std=similarity.pixel_std(thumbnails),
        mean_distance=similarity.mean_distance(thumbnails),
    )


def _thumbnails(images: Sequence[ImageFacts]) -> similarity.Pixels:
    side = similarity.THUMBNAIL_SIDE
    return np.array([image.thumbnail for image in images], np.uint8).reshape(len(images), side, side, 3)


def _findings(
    folder: DatasetFolder,
    measured: Measurements,
    exact: Sequence[tuple[int, ...]],
    near: similarity.NearDuplicates,
) -> tuple[Finding, ...]:
    images = measured.images
    found = [*_file_findings(folder, measured), *_mask_findings(images)]
    if not folder.entries:
        root = printable(folder.root.resolve().name)
        found.append(Finding.of(Severity.ERROR, "no-pairs", "No image with a mask was found", [root]))
    flat = [image.entry.image for image in images if image.flat]
    if flat:
        found.append(Finding.of(Severity.WARNING, "flat-image", "Images of a single colour", flat))
    if exact:
        groups = [" = ".join(images[index].entry.image for index in group[:4]) for group in exact]
        message = "Groups of images with exactly the same pixels"
        found.append(Finding.of(Severity.WARNING, "exact-duplicates", message, groups))
    if near.pairs:
        pairs = [
            f"{images[a].entry.image} ~ {images[b].entry.image} ({bits} bits)" for a, b, bits in near.closest
        ]
        message = (
            f"Pairs of images whose perceptual hashes differ in at most {similarity.NEAR_BITS} of "
            f"{similarity.HASH_BITS} bits, exact duplicates among them; keep them in one fold"
        )
        found.append(Finding.of(Severity.NOTE, "near-duplicates", message, pairs, near.pairs))
    order = list(Severity)
    return tuple(sorted(found, key=lambda finding: order.index(finding.severity)))


def _file_findings(folder: DatasetFolder, measured: Measurements) -> list[Finding]:
    by_kind: dict[str, list[str]] = defaultdict(list)
    problems: list[Problem] = [*folder.problems, *measured.failures]
    for problem in problems:
        by_kind[problem.kind].append(f"{problem.path}: {problem.message}")
    return [Finding.of(*_FILE_FINDINGS[kind], items) for kind, items in by_kind.items()]


def _mask_findings(images: Sequence[ImageFacts]) -> list[Finding]:
    found = []
    masks = [(image.entry.masks[label], facts) for image in images for label, facts in image.masks.items()]

    def check(severity: Severity, kind: str, message: str, applies: Callable[[Any], bool]) -> None:
        items = [path for path, facts in masks if applies(facts)]
        if items:
            found.append(Finding.of(severity, kind, message, items))

    check(
        Severity.ERROR,
        "class-numbers",
        "Masks of class numbers; foreground must be 255, not 1",
        lambda facts: facts.holds_class_numbers,
    )
    check(
        Severity.ERROR,
        "grey-mask",
        f"Masks with more than {MAX_STRAY:.0%} of their pixels between {BETWEEN[0]} and {BETWEEN[1]}: "
        "neither background nor foreground",
        lambda facts: facts.is_grey,
    )
    check(
        Severity.WARNING,
        "empty-mask",
        "Masks that mark nothing",
        lambda facts: (
            not facts.brightest
            or (not facts.coverage and not facts.holds_class_numbers and not facts.is_grey)
        ),
    )
    check(
        Severity.WARNING,
        "full-mask",
        f"Masks that cover more than {FULL_COVERAGE:.0%} of the image",
        lambda facts: facts.coverage > FULL_COVERAGE,
    )
    check(
        Severity.NOTE,
        "inexact-mask",
        "Masks with values beside 0 and 255 (lossy compression); they are read with a threshold at 127",
        lambda facts: not facts.exact and not facts.is_grey and not facts.holds_class_numbers,
    )
    check(
        Severity.NOTE,
        "many-components",
        f"Masks of more than {MANY_COMPONENTS} separate regions: many objects, or specks",
        lambda facts: facts.components > MANY_COMPONENTS,
    )
    check(Severity.NOTE, "holes", "Masks with enclosed holes", lambda facts: facts.holes > 0)
    return found
