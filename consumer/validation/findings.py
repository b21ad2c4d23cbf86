"""Turn measurements of a data set into findings, each with its severity and its files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from consumer.datasets.reader import DatasetFolder, Problem
from consumer.validation.edges import FOLLOWS
from consumer.validation.mask_checks import MaskFacts
from consumer.validation.measure_files import ImageFacts, Measurements, short
from consumer.validation.validation_report import Finding, GeneratorSummary, Severity
from sharekit.pictures.masks import BETWEEN, MAX_STRAY
from sharekit.pictures.similarity import HASH_BITS, NEAR_BITS, NearDuplicates
from sharekit.storage.names import printable

FULL_COVERAGE = 0.95
"""A mask that covers more than this share of its image hardly marks anything."""
SPECK_COVERAGE = 0.001
"""A mask that covers less than this share of its image, but is not empty, is a speck."""
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
        (Severity.ERROR, "class-numbers", "Masks of class or instance numbers, where 0 and 255 are expected"),
        (
            Severity.ERROR,
            "grey-mask",
            f"Masks with more than {MAX_STRAY:.0%} of their pixels between {BETWEEN[0]} and {BETWEEN[1]}: "
            "neither background nor foreground",
        ),
        (Severity.ERROR, "size-mismatch", "Masks of another size than their image"),
        (Severity.ERROR, "orientation-mismatch", "Masks with another EXIF orientation than their image"),
        (Severity.WARNING, "unpaired-file", "Images without a mask, or masks without an image"),
        (Severity.WARNING, "unlisted-file", "Files that belong to no pair"),
    )
}


def findings(
    folder: DatasetFolder,
    measured: Measurements,
    generators: Sequence[GeneratorSummary],
    exact: Sequence[tuple[int, ...]],
    near: NearDuplicates,
) -> tuple[Finding, ...]:
    """All findings, errors first.

    Args:
        folder: the data set; its problems become findings.
        measured: measurements of its files.
        generators: figures of each generator.
        exact: groups of indices of images with equal pixels.
        near: pairs of images that look alike.
    """
    images = measured.images
    found = [*_of_files(folder, measured), *_of_masks(images)]
    if not folder.entries:
        root = printable(folder.root.resolve().name)
        found.append(Finding.of(Severity.ERROR, "no-pairs", "No image with a mask was found", [root]))
    flat = [image.entry.image for image in images if image.flat]
    if flat:
        found.append(Finding.of(Severity.WARNING, "flat-image", "Images of a single colour", flat))
    found += [*_of_generators(generators), *_of_duplicates(images, exact, near)]
    order = list(Severity)
    return tuple(sorted(found, key=lambda finding: order.index(finding.severity)))


def is_broken(image: ImageFacts) -> bool:
    """Whether the image's masks, all classes together, mark nothing, a speck, or everything."""
    return image.coverage < SPECK_COVERAGE or image.coverage > FULL_COVERAGE


def follows_edges(generator: GeneratorSummary) -> bool | None:
    """Whether the whole interval shows that the masks follow edges; None when it was not measured."""
    return None if generator.edges is None else generator.edges.low >= FOLLOWS


def _of_files(folder: DatasetFolder, measured: Measurements) -> list[Finding]:
    by_kind: dict[str, list[str]] = defaultdict(list)
    problems: list[Problem] = [*folder.problems, *measured.failures]
    for problem in problems:
        by_kind[problem.kind].append(f"{problem.path}: {problem.message}")
    return [Finding.of(*_FILE_FINDINGS[kind], items) for kind, items in by_kind.items()]


def _of_generators(generators: Sequence[GeneratorSummary]) -> list[Finding]:
    flagged = [entry for entry in generators if follows_edges(entry) is False]
    message = (
        "Generators whose masks are not shown to follow edges of their images: the gradient on the outlines "
        f"is not certainly {FOLLOWS} times that elsewhere"
    )
    items = [f"{short(entry.id)}: {entry.edges}" for entry in flagged]
    return [Finding.of(Severity.WARNING, "edges-missed", message, items)] if items else []


def _of_duplicates(
    images: Sequence[ImageFacts], exact: Sequence[tuple[int, ...]], near: NearDuplicates
) -> list[Finding]:
    found = []
    if exact:
        groups = [" = ".join(images[index].entry.image for index in group[:4]) for group in exact]
        message = "Groups of images with exactly the same pixels"
        found.append(Finding.of(Severity.WARNING, "exact-duplicates", message, groups))
    if near.pairs:
        pairs = [
            f"{images[a].entry.image} ~ {images[b].entry.image} ({bits} bits)" for a, b, bits in near.closest
        ]
        message = (
            f"Pairs of images whose perceptual hashes differ in at most {NEAR_BITS} of "
            f"{HASH_BITS} bits, exact duplicates among them; keep them in one fold"
        )
        found.append(Finding.of(Severity.NOTE, "near-duplicates", message, pairs, near.pairs))
    return found


def _of_masks(images: Sequence[ImageFacts]) -> list[Finding]:
    found = []
    masks = [(image.entry.masks[label], facts) for image in images for label, facts in image.masks.items()]

    def check(severity: Severity, kind: str, message: str, applies: Callable[[MaskFacts], bool]) -> None:
        items = [path for path, facts in masks if applies(facts)]
        if items:
            found.append(Finding.of(severity, kind, message, items))

    check(
        Severity.WARNING,
        "empty-mask",
        "Masks that mark nothing",
        lambda facts: not facts.coverage,
    )
    check(
        Severity.WARNING,
        "speck-mask",
        f"Masks that mark something, but less than {SPECK_COVERAGE:.1%} of the image",
        lambda facts: 0 < facts.coverage < SPECK_COVERAGE,
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
        "Masks with values other than 0 and 255 (lossy compression); they are read with a threshold at 127",
        lambda facts: not facts.exact and not facts.zero_one,
    )
    check(
        Severity.NOTE,
        "zero-one-mask",
        "Masks of 0 and 1; they are read as 0 and 255",
        lambda facts: facts.zero_one,
    )
    check(
        Severity.NOTE,
        "many-components",
        f"Masks of more than {MANY_COMPONENTS} separate regions: many objects, or specks",
        lambda facts: facts.components > MANY_COMPONENTS,
    )
    check(Severity.NOTE, "holes", "Masks with enclosed holes", lambda facts: facts.holes > 0)
    return found
