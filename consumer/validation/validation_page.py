"""Render the validation report as one HTML page, in the shell that all our pages share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from consumer.datasets.reader import DatasetFolder
from consumer.validation import sections
from consumer.validation.measure_files import Measurements
from consumer.validation.samples import COLOURS, pictures
from consumer.validation.validation_report import Finding, Severity, ValidationReport
from consumer.validation.validation_words import Answer, answers
from sharekit.page.mood import Mood
from sharekit.page.shell import Embedded
from sharekit.page.shell import render as render_page

_MOODS = {Severity.ERROR: Mood.BAD, Severity.WARNING: Mood.WARN, Severity.NOTE: Mood.PLAIN}
_ANSWERED = {True: Mood.GOOD, False: Mood.WARN, None: Mood.PLAIN}


@dataclass(frozen=True)
class Origin:
    """The verified bundle that the data set was compared with."""

    hospital: str
    release: int
    verdict: str
    fingerprint: str


@dataclass(frozen=True)
class Tile:
    """A number at the top of the page."""

    value: str
    label: str


@dataclass(frozen=True)
class Sample:
    """One pair of the contact sheet."""

    name: str
    picture: Embedded
    coverage: float  # all classes together, 0 to 1
    broken: bool


@dataclass(frozen=True)
class MaskClass:
    """A mask class, with the colour of its outlines."""

    name: str
    colour: Embedded


@dataclass(frozen=True)
class Figures:
    """The parts of the page that need at least one image."""

    classes: tuple[MaskClass, ...]
    samples: tuple[Sample, ...]
    generators: sections.Generators
    coverage: tuple[sections.ClassSection, ...]
    masks: sections.MaskSection
    diversity: sections.DiversitySection


@dataclass(frozen=True)
class ValidationPage:
    """Everything that the page shows."""

    dataset: str
    images: int
    verdict: str
    mood: Mood
    origin: Origin | None
    tiles: tuple[Tile, ...]
    answers: tuple[tuple[Mood, Answer], ...]
    findings: tuple[tuple[Mood, Finding], ...]
    figures: Figures | None


def render(
    report: ValidationReport, measured: Measurements, folder: DatasetFolder, origin: Origin | None = None
) -> str:
    """Render the page. It shows pictures and file names, so it is as confidential as the data set."""
    return render_page("consumer.validation", "validation.html", page_of(report, measured, folder, origin))


def page_of(
    report: ValidationReport, measured: Measurements, folder: DatasetFolder, origin: Origin | None = None
) -> ValidationPage:
    """The content of the page, including its pictures and plots."""
    worst = next((mood for severity, mood in _MOODS.items() if report.count(severity)), Mood.GOOD)
    return ValidationPage(
        report.dataset,
        report.images,
        report.verdict,
        Mood.GOOD if worst is Mood.PLAIN else worst,
        origin,
        tuple(_tiles(report)),
        tuple((_ANSWERED[answer.good], answer) for answer in answers(report)),
        tuple((_MOODS[finding.severity], finding) for finding in report.findings),
        _figures(report, measured, folder) if report.images else None,
    )


def _figures(report: ValidationReport, measured: Measurements, folder: DatasetFolder) -> Figures:
    broken = set(report.broken)
    samples = tuple(
        Sample(
            PurePosixPath(picture.name).stem,
            Embedded(picture.jpeg, "image/jpeg", f"{picture.name} with its masks outlined"),
            picture.coverage,
            picture.name in broken,
        )
        for picture in pictures(folder, measured)
    )
    return Figures(
        tuple(MaskClass(entry.name, _swatch(number)) for number, entry in enumerate(report.classes)),
        samples,
        sections.generators(report),
        sections.coverage(report),
        sections.masks(report, measured),
        sections.diversity(report),
    )


def _swatch(number: int) -> Embedded:
    """A line in the colour of the outlines of class `number`."""
    colour = "rgb({},{},{})".format(*COLOURS[number % len(COLOURS)])
    line = f'<rect width="22" height="4" rx="2" fill="{colour}"/>'
    return Embedded.svg(f'<svg xmlns="http://www.w3.org/2000/svg">{line}</svg>'.encode(), "")


def _tiles(report: ValidationReport) -> list[Tile]:
    count = len(report.generators)
    return [
        Tile(f"{report.images:,}", "images with masks"),
        _size(report),
        Tile(f"{count:,}", "generator or group" if count == 1 else "generators"),
        *(
            Tile(
                f"{100 * entry.coverage.mean:.1f} %",
                f"± {100 * entry.coverage_std:.1f} covered by {entry.name}",
            )
            for entry in report.classes[:3]
        ),
        Tile(f"{len(report.broken):,}", "broken: the mask is empty, a speck or full"),
        Tile(f"{report.duplicates.near_images:,}", "images with an exact or near duplicate"),
    ]


def _size(report: ValidationReport) -> Tile:
    if not report.sizes:
        return Tile("–", "pixels")
    width, height, _ = report.sizes[0]
    if len(report.sizes) == 1:
        return Tile(f"{width} × {height}", "pixels")
    return Tile(f"{len(report.sizes):,} sizes", f"most are {width} × {height} pixels")
