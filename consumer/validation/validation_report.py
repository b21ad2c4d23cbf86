"""The result of a validation, as values that convert to and from JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sharekit.errors import DependencyError, InputError
from sharekit.intervals import Interval
from sharekit.pictures.mask_statistics import bin_edges

SCHEMA_VERSION = 1
BIN_EDGES = tuple(round(100 * edge) for edge in bin_edges())
"""Edges of the coverage bins, in percent of an image's pixels, as in the paper's Figures 3, 6 and 10."""
MAX_ITEMS = 20
"""Largest number of files that a finding names; the rest are only counted."""
MAX_ITEM_LENGTH = 2000  # characters


class Severity(StrEnum):
    """Severity of a finding: fix an error, look at a warning; a note may be right."""

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
        """A finding that names the first `items`; `count` is by default their number."""
        named = tuple(item[:MAX_ITEM_LENGTH] for item in items[:MAX_ITEMS])
        return Finding(severity, kind, message, len(items) if count is None else count, named)

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Finding:
        return Finding(**{**value, "severity": Severity(value["severity"]), "items": tuple(value["items"])})


@dataclass(frozen=True)
class Missing:
    """A figure that was not computed."""

    figure: str
    reason: str
    next_step: str

    @staticmethod
    def of(figure: str, error: DependencyError) -> Missing:
        """A missing figure, with the reason and next step that an error gives."""
        return Missing(figure, f"{error.expected}: {error.found}", error.next_step)


@dataclass(frozen=True)
class ClassSummary:
    """The masks of one class."""

    name: str
    masks: int
    coverage: Interval  # mean share of foreground pixels, 0 to 1
    coverage_std: float
    coverage_min: float
    coverage_max: float
    histogram: tuple[int, ...]  # masks in each of BIN_EDGES' bins
    components: Interval  # mean number of separate regions in a mask
    components_median: float
    components_max: int
    with_holes: Interval  # share of masks with enclosed holes, 0 to 1

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> ClassSummary:
        intervals = {name: _interval(value[name]) for name in ("coverage", "components", "with_holes")}
        return ClassSummary(**{**value, **intervals, "histogram": tuple(value["histogram"])})


@dataclass(frozen=True)
class Comparison:
    """A distance between a data set's masks and the real ones, 0 to 1; see `protected.compare`."""

    interval: Interval  # with the noise of the real counts taken into account; `count` masks of the data set
    chance: float  # what masks drawn from the real distribution stay below, 95 % of the time
    as_published: float | None  # to the noised counts as they are; None if the noise left no count

    @property
    def is_beyond_chance(self) -> bool:
        return self.interval.mean > self.chance

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Comparison:
        return Comparison(**{**value, "interval": Interval.from_json(value["interval"])})


@dataclass(frozen=True)
class ReferenceSummary:
    """The real masks of one class, as the bundle's protected statistics describe them."""

    name: str  # class of the data set
    image_count: int
    counts: tuple[int, ...]  # noised, in each of BIN_EDGES' bins
    epsilon: float
    noise_scale: float  # scale of the discrete Laplace noise on every count
    total_variation: Comparison | None  # None if `image_count` images cannot have these counts
    kolmogorov_smirnov: Comparison | None  # at the bins' edges: a lower bound of the distance of the values

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> ReferenceSummary:
        distances = {
            name: None if value[name] is None else Comparison.from_json(value[name])
            for name in ("total_variation", "kolmogorov_smirnov")
        }
        return ReferenceSummary(**{**value, **distances, "counts": tuple(value["counts"])})


@dataclass(frozen=True)
class GeneratorSummary:
    """The samples of one generator, masks of all classes; the whole data set if no generator is named."""

    id: str
    images: int
    coverage: Interval  # mean over images, of all classes together, 0 to 1
    coverage_std: float
    components: Interval  # mean number of separate regions in a mask
    with_holes: Interval  # share of masks with enclosed holes, 0 to 1
    largest: Interval | None  # share of a mask's foreground in its largest region; None: every mask is empty
    edges: Interval | None  # mean agreement of outlines with edges, see `edges`; None: not measured
    pixel_std: Interval  # 0 to 255
    mean_distance: Interval | None  # root mean square of 255, over pairs; None for one image
    lpips: Interval | None  # over pairs; None for one image, and where it was not measured

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> GeneratorSummary:
        plain = {name: value[name] for name in ("id", "images", "coverage_std")}
        return GeneratorSummary(
            **plain, **{name: _interval(entry) for name, entry in value.items() if name not in plain}
        )


@dataclass(frozen=True)
class DuplicateSummary:
    """Images that have the same pixels or look alike."""

    exact_groups: int
    exact_images: int
    near_pairs: int
    near_images: int
    near_pairs_across_generators: int
    closest: tuple[tuple[str, str, int], ...]
    """Two files, and the number of bits in which their perceptual hashes differ."""

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
    edges: Interval | None  # these four of the whole data set, as in GeneratorSummary
    pixel_std: Interval | None
    mean_distance: Interval | None
    lpips: Interval | None
    duplicates: DuplicateSummary
    findings: tuple[Finding, ...]
    broken: tuple[str, ...]
    """Every image whose masks mark nothing, next to nothing or everything; leave these images out."""
    missing: tuple[Missing, ...]

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
            generators=tuple(GeneratorSummary.from_json(entry) for entry in value["generators"]),
            **{name: _interval(value[name]) for name in ("edges", "pixel_std", "mean_distance", "lpips")},
            duplicates=DuplicateSummary.from_json(value["duplicates"]),
            findings=tuple(Finding.from_json(entry) for entry in value["findings"]),
            broken=tuple(value["broken"]),
            missing=tuple(Missing(**entry) for entry in value["missing"]),
        )


def _interval(value: Any) -> Any:
    return None if value is None else Interval.from_json(value)


def _plain(value: Any) -> Any:
    """The value as JSON reads it back: tuples as lists, enumerations as text."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(entry) for entry in value]
    return str(value) if isinstance(value, StrEnum) else value


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
