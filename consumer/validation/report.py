"""What validation found, as values that JSON can hold."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sharekit.errors import InputError
from sharekit.mask_statistics import bin_edges

SCHEMA_VERSION = 1
BIN_EDGES = tuple(round(100 * edge) for edge in bin_edges())
"""Percent of an image's pixels, as in the paper's Figures 3, 6 and 10."""
MAX_ITEMS = 20
"""Files that a finding names; the rest are counted."""
MAX_ITEM_LENGTH = 2000  # characters


class Severity(StrEnum):
    """How bad a finding is: an error must be mended, a warning looked at, a note may be right."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True)
class Finding:
    """One kind of problem, with the files that have it."""

    severity: Severity
    kind: str
    message: str
    count: int
    items: tuple[str, ...]
    """At most `MAX_ITEMS` of them."""

    @staticmethod
    def of(
        severity: Severity, kind: str, message: str, items: Sequence[str], count: int | None = None
    ) -> Finding:
        """A finding of `count` items (default: these), naming the first ones."""
        named = tuple(item[:MAX_ITEM_LENGTH] for item in items[:MAX_ITEMS])
        return Finding(severity, kind, message, len(items) if count is None else count, named)

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Finding:
        return Finding(**{**value, "severity": Severity(value["severity"]), "items": tuple(value["items"])})


@dataclass(frozen=True)
class ClassSummary:
    """The masks of one class."""

    name: str
    masks: int
    coverage_mean: float  # share of foreground pixels, 0 to 1
    coverage_std: float
    coverage_min: float
    coverage_max: float
    histogram: tuple[int, ...]  # masks in each of BIN_EDGES' bins
    components_median: float
    components_max: int
    masks_with_holes: int

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> ClassSummary:
        return ClassSummary(**{**value, "histogram": tuple(value["histogram"])})


@dataclass(frozen=True)
class ReferenceSummary:
    """The real masks of one class, as the bundle's protected statistics describe them."""

    name: str  # class of the data set
    image_count: int
    counts: tuple[int, ...]  # noised, in each of BIN_EDGES' bins
    epsilon: float
    noise_scale: float  # of the discrete Laplace noise on every count
    total_variation: float | None  # distance of the two histograms as shares, 0 to 1; None without counts

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> ReferenceSummary:
        return ReferenceSummary(**{**value, "counts": tuple(value["counts"])})


@dataclass(frozen=True)
class GeneratorSummary:
    """The samples of one generator, or of the whole data set where it names none."""

    id: str
    images: int
    coverage_mean: float  # of all classes together, 0 to 1
    coverage_std: float
    pixel_std: float  # of 255
    mean_distance: float | None  # root mean square of 255, over pairs; None for one image


@dataclass(frozen=True)
class DuplicateSummary:
    """Images that are the same, or look so."""

    exact_groups: int
    exact_images: int
    near_pairs: int
    near_images: int
    near_pairs_across_generators: int
    closest: tuple[tuple[str, str, int], ...]
    """File, file, bits of the perceptual hash in which they differ."""

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> DuplicateSummary:
        return DuplicateSummary(**{**value, "closest": tuple((a, b, c) for a, b, c in value["closest"])})


@dataclass(frozen=True)
class ValidationReport:
    """The whole result. Law: `from_json(to_json(x)) == x`."""

    dataset: str  # name of the folder
    images: int  # pairs that were read
    sizes: tuple[tuple[int, int, int], ...]  # width, height, images; the most frequent first
    classes: tuple[ClassSummary, ...]
    reference: tuple[ReferenceSummary, ...]
    generators: tuple[GeneratorSummary, ...]
    pixel_std: float  # of the whole data set, of 255
    mean_distance: float | None  # of the whole data set, of 255
    duplicates: DuplicateSummary
    findings: tuple[Finding, ...]

    def count(self, severity: Severity) -> int:
        return sum(finding.severity is severity for finding in self.findings)

    @property
    def exit_code(self) -> int:
        return InputError.exit_code if self.count(Severity.ERROR) else 0

    @property
    def verdict(self) -> str:
        """The result in words."""
        errors, warnings = self.count(Severity.ERROR), self.count(Severity.WARNING)
        if errors:
            return f"Not sound: {_plural(errors, 'kind')} of error to mend before training on it"
        if warnings:
            return f"Usable with care: no errors, {_plural(warnings, 'kind')} of warning to look at"
        return "Sound: no errors and no warnings"

    def to_json(self) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "verdict": self.verdict,
            "coverage_bin_edges_percent": list(BIN_EDGES),
            **_plain(dataclasses.asdict(self)),
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> ValidationReport:
        return ValidationReport(
            dataset=value["dataset"],
            images=value["images"],
            sizes=tuple((width, height, count) for width, height, count in value["sizes"]),
            classes=tuple(ClassSummary.from_json(entry) for entry in value["classes"]),
            reference=tuple(ReferenceSummary.from_json(entry) for entry in value["reference"]),
            generators=tuple(GeneratorSummary(**entry) for entry in value["generators"]),
            pixel_std=value["pixel_std"],
            mean_distance=value["mean_distance"],
            duplicates=DuplicateSummary.from_json(value["duplicates"]),
            findings=tuple(Finding.from_json(entry) for entry in value["findings"]),
        )


def _plain(value: Any) -> Any:
    """Tuples as lists, enumerations as text: what JSON gives back."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(entry) for entry in value]
    return str(value) if isinstance(value, StrEnum) else value


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
