"""The report as one self-contained HTML page: no script, nothing fetched, every value escaped."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from html import escape
from pathlib import PurePosixPath

from consumer.datasets.reader import DatasetFolder
from consumer.validation import sections
from consumer.validation.elements import image
from consumer.validation.measure_files import Measurements
from consumer.validation.samples import COLOURS, Picture, pictures
from consumer.validation.stylesheet import STYLESHEET
from consumer.validation.validation_report import Finding, Severity, ValidationReport
from consumer.validation.validation_words import answers

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
)
_MARKS = {Severity.ERROR: "Error", Severity.WARNING: "Warning", Severity.NOTE: "Note"}


@dataclass(frozen=True)
class Origin:
    """The verified bundle that the data set was compared with."""

    hospital: str
    release: int
    verdict: str
    fingerprint: str


def render(
    report: ValidationReport, measured: Measurements, folder: DatasetFolder, origin: Origin | None = None
) -> str:
    """The page. It shows pictures and file names of the data set, so it is as confidential as that is."""
    parts = [_header(report, origin), _tiles(report), _words(report), _findings(report.findings)]
    if report.images:
        parts += [
            _samples(report, pictures(folder, measured)),
            sections.coverage(report),
            sections.masks(report, measured),
            sections.diversity(report),
        ]
    title = escape(f"{report.dataset}: validation")
    return (
        "<!DOCTYPE html>\n"
        '<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(CONTENT_SECURITY_POLICY)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{STYLESHEET}</style></head>\n<body><main>\n"
        + "\n".join(parts)
        + "\n<footer>Made by consumer validate. This page holds pictures of the data set and loads nothing."
        "</footer>\n</main></body></html>\n"
    )


def _header(report: ValidationReport, origin: Origin | None) -> str:
    mood = "good"
    if report.count(Severity.WARNING):
        mood = "warn"
    if report.count(Severity.ERROR):
        mood = "bad"
    compared = "Not compared with a bundle's statistics."
    if origin is not None:
        compared = (
            f"Compared with {origin.hospital}, release {origin.release}; the bundle is {origin.verdict}, "
            f"key {origin.fingerprint}."
        )
    return (
        f'<header><p class="kind">Data-set validation</p><h1>{escape(report.dataset)}</h1>'
        f'<div class="verdict {mood}">{escape(report.verdict)}<small>{escape(compared)}</small></div>'
        "</header>"
    )


def _tiles(report: ValidationReport) -> str:
    size = "none"
    if report.sizes:
        width, height, _ = report.sizes[0]
        size = f"{width} × {height}" if len(report.sizes) == 1 else f"{len(report.sizes)} sizes"
    duplicates = report.duplicates
    tiles = [
        (f"{report.images:,}", "images with masks"),
        (size, "pixels" if len(report.sizes) == 1 else f"most are {_most_frequent(report)}"),
        (str(len(report.generators)), "generators" if len(report.generators) != 1 else "generator or group"),
    ]
    tiles += [
        (
            f"{100 * entry.coverage.mean:.1f} %",
            f"± {100 * entry.coverage_std:.1f} covered by {entry.name}",
        )
        for entry in report.classes[:3]
    ]
    tiles.append((f"{len(report.broken):,}", "broken: the mask is empty, a speck or full"))
    tiles.append((f"{duplicates.near_images:,}", "images with an exact or near duplicate"))
    cells = "".join(
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(label)}</span></div>'
        for value, label in tiles
    )
    return f'<div class="tiles">{cells}</div>'


def _most_frequent(report: ValidationReport) -> str:
    if not report.sizes:
        return "no images"
    width, height, _ = report.sizes[0]
    return f"{width} × {height}"


def _words(report: ValidationReport) -> str:
    moods = {True: "good", False: "warn", None: "plain"}
    items = "".join(
        f'<dt class="{moods[answer.good]}">{escape(answer.question)}</dt><dd>{escape(answer.text)}</dd>'
        for answer in answers(report)
    )
    return f"<section><h2>What it says</h2><dl>{items}</dl></section>" if items else ""


def _findings(findings: Sequence[Finding]) -> str:
    if not findings:
        return "<section><h2>Findings</h2><p>Nothing to report: every file and mask passed.</p></section>"
    rows = "".join(_finding(finding) for finding in findings)
    return (
        "<section><h2>Findings</h2><p>Errors must be mended before training; warnings want a look; "
        "notes may well be right.</p><table><tr><th></th><th>What</th><th class='number'>How many</th></tr>"
        f"{rows}</table></section>"
    )


def _finding(finding: Finding) -> str:
    items = "".join(f"<code>{escape(item)}</code>" for item in finding.items)
    more = finding.count - len(finding.items)
    rest = f"and {more:,} more" if more > 0 else ""
    return (
        f'<tr><td><span class="badge {finding.severity}">{_MARKS[finding.severity]}</span></td>'
        f"<td>{escape(finding.message)}<details><summary>which</summary>{items}{rest}</details></td>"
        f'<td class="number">{finding.count:,}</td></tr>'
    )


def _samples(report: ValidationReport, shown: Sequence[Picture]) -> str:
    keys = "".join(
        f'<span class="key" style="background:rgb{COLOURS[number % len(COLOURS)]}"></span>'
        f"{escape(entry.name)} "
        for number, entry in enumerate(report.classes)
    )
    broken = set(report.broken)
    cells = "".join(
        f"<figure>{_picture(picture)}<figcaption>"
        f"<span>{escape(PurePosixPath(picture.name).stem)}</span>"
        f"{_covered(picture, broken)}</figcaption>"
        "</figure>"
        for picture in shown
    )
    return (
        f"<section><h2>Samples</h2><p>{len(shown)} of {report.images:,} images, evenly spaced, with their "
        f"masks outlined and the share of the image they cover. {keys}</p>"
        f'<div class="sheet">{cells}</div></section>'
    )


def _covered(picture: Picture, broken: Set[str]) -> str:
    share = f"{100 * picture.coverage:.{0 if picture.coverage >= 0.01 else 1}f} %"
    return f"<b>broken, {share}</b>" if picture.name in broken else share


def _picture(picture: Picture) -> str:
    return image(picture.jpeg, "image/jpeg", f"{picture.name} with its masks outlined")
