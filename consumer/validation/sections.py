"""Build the page's sections on coverage, masks and diversity as values, each with plots and a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from consumer.validation import validation_plots as plots
from consumer.validation.edges import FOLLOWS
from consumer.validation.findings import follows_edges
from consumer.validation.measure_files import Measurements, short
from consumer.validation.validation_report import (
    ClassSummary,
    GeneratorSummary,
    ReferenceSummary,
    ValidationReport,
)
from sharekit.intervals import Interval
from sharekit.page.shell import Embedded, Order, orders

Figure = Callable[[GeneratorSummary], Interval | None]


@dataclass(frozen=True)
class ClassSection:
    """How much of an image the masks of one class mark, next to the real masks where these are known."""

    figures: ClassSummary
    plot: Embedded
    reference: ReferenceSummary | None


@dataclass(frozen=True)
class GeneratorRow:
    """One generator in the tables."""

    name: str  # short
    id: str
    figures: GeneratorSummary
    misses_edges: bool


@dataclass(frozen=True)
class Generators:
    """Number of generators in the data set, and how many the plots and tables show."""

    count: int
    in_maps: int  # whose mean masks are drawn
    in_tables: int
    ids: tuple[str, ...]  # identifiers of all


@dataclass(frozen=True)
class MaskSection:
    """Whether the masks are plausible: where they lie, whether they follow edges, how many regions."""

    maps: Embedded
    edges: Embedded | None
    follows: float  # agreement from which masks count as following edges
    regions: Embedded
    rows: tuple[Order[GeneratorRow], ...]


@dataclass(frozen=True)
class DiversitySection:
    """How much the images differ, within each generator and over the data set."""

    perceived: Embedded | None  # by LPIPS
    pixels: Embedded | None
    rows: tuple[Order[GeneratorRow], ...]
    whole: ValidationReport  # whose figures are those of the whole data set


def generators(report: ValidationReport) -> Generators:
    """Count the generators in the data set and on the page, and list the identifiers that are shortened."""
    count = len(report.generators)
    ids = tuple(entry.id for entry in report.generators if short(entry.id) != entry.id)
    return Generators(count, min(count, plots.MAX_GENERATORS), min(count, plots.MAX_ROWS), ids)


def coverage(report: ValidationReport) -> tuple[ClassSection, ...]:
    """One section for each mask class."""
    references = {entry.name: entry for entry in report.reference}
    return tuple(
        ClassSection(
            entry,
            Embedded.svg(
                plots.coverage(entry, references.get(entry.name)),
                f"Histogram: how much of an image the masks of {entry.name} mark",
            ),
            references.get(entry.name),
        )
        for entry in report.classes
    )


def masks(report: ValidationReport, measured: Measurements) -> MaskSection:
    """The section on masks, generators with the weakest edges first."""
    edges = _plot(
        report,
        lambda entry: entry.edges,
        "gradient on the outlines, relative to shifted outlines",
        whole=report.edges,
        chance=1.0,
    )
    rows = orders(
        _rows(report),
        {
            "edges, weakest first": _by(lambda entry: entry.edges),
            "regions, most first": _by(lambda entry: entry.components, -1),
            "holes, most first": _by(lambda entry: entry.with_holes, -1),
            "identifier": lambda row: row.id,
        },
        plots.MAX_ROWS,
    )
    return MaskSection(
        Embedded.svg(plots.mean_masks(measured), "Mean and standard deviation of each generator's masks"),
        edges,
        FOLLOWS,
        Embedded.svg(plots.regions(measured), "Histograms: how many regions, and how many holes, masks have"),
        rows,
    )


def diversity(report: ValidationReport) -> DiversitySection:
    """The section on diversity, the least diverse generators first."""
    rows = orders(
        _rows(report),
        {
            "LPIPS, least first": _by(lambda entry: entry.lpips),
            "difference, least first": _by(lambda entry: entry.mean_distance),
            "images, fewest first": lambda row: row.figures.images,
            "identifier": lambda row: row.id,
        },
        plots.MAX_ROWS,
    )
    return DiversitySection(
        _plot(report, lambda entry: entry.lpips, "LPIPS of two images", whole=report.lpips),
        _plot(
            report,
            lambda entry: entry.mean_distance,
            "difference of two images, root mean square of 255",
            whole=report.mean_distance,
        ),
        rows,
        report,
    )


def _rows(report: ValidationReport) -> list[GeneratorRow]:
    return [
        GeneratorRow(short(entry.id), entry.id, entry, follows_edges(entry) is False)
        for entry in report.generators
    ]


def _by(figure: Figure, sign: int = 1) -> Callable[[GeneratorRow], float | None]:
    """The key that orders rows by a figure; None where it was not measured."""

    def key(row: GeneratorRow) -> float | None:
        found = figure(row.figures)
        return None if found is None else sign * found.mean

    return key


def _plot(
    report: ValidationReport,
    figure: Figure,
    label: str,
    *,
    whole: Interval | None,
    chance: float | None = None,
) -> Embedded | None:
    """Plot a figure of each generator that has it, smallest first."""
    known: Mapping[str, Interval] = {
        entry.id: interval for entry in report.generators if (interval := figure(entry)) is not None
    }
    if not known:
        return None
    rows = dict(sorted(known.items(), key=lambda item: item[1].mean))
    drawn = plots.intervals(rows, label, whole=whole, chance=chance)
    return Embedded.svg(drawn, f"Each generator's {label}")
