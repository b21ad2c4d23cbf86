"""The report as one self-contained HTML page: no script, nothing fetched, every value escaped."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import PurePosixPath

from consumer.reader import DatasetFolder
from consumer.validation import figures
from consumer.validation.measure import Measurements
from consumer.validation.report import Finding, Severity, ValidationReport
from consumer.validation.samples import COLOURS, Picture, pictures
from consumer.validation.stylesheet import STYLESHEET

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
    parts = [_header(report, origin), _tiles(report), _findings(report.findings)]
    if report.images:
        parts += [
            _samples(report, pictures(folder, measured)),
            _coverage(report),
            _generators(report, measured),
            _diversity(report),
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
            f"{100 * entry.coverage_mean:.1f} %",
            f"± {100 * entry.coverage_std:.1f} covered by {entry.name}",
        )
        for entry in report.classes[:3]
    ]
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
    cells = "".join(
        f"<figure>{_picture(picture)}<figcaption>"
        f"<span>{escape(PurePosixPath(picture.name).stem)}</span>{100 * picture.coverage:.0f} %</figcaption>"
        "</figure>"
        for picture in shown
    )
    return (
        f"<section><h2>Samples</h2><p>{len(shown)} of {report.images:,} images, evenly spaced, with their "
        f"masks outlined and the share of the image they cover. {keys}</p>"
        f'<div class="sheet">{cells}</div></section>'
    )


def _coverage(report: ValidationReport) -> str:
    references = {entry.name: entry for entry in report.reference}
    parts = []
    for entry in report.classes:
        reference = references.get(entry.name)
        text = (
            f"{entry.masks:,} masks cover {100 * entry.coverage_min:.1f} to "
            f"{100 * entry.coverage_max:.1f} %, "
            f"{100 * entry.coverage_mean:.1f} ± {100 * entry.coverage_std:.1f} % on average."
        )
        if reference is not None:
            distance = (
                "cannot be given: the noise left no count"
                if reference.total_variation is None
                else f"is {reference.total_variation:.2f} (0: the same, 1: nothing in common)"
            )
            text += (
                f" The {reference.image_count:,} real masks are known through counts with noise of scale "
                f"{reference.noise_scale:g} (ε = {reference.epsilon:g}); the total variation distance to "
                f"them {distance}."
            )
        plot = _plot(figures.coverage(entry, reference), f"Histogram of the coverage of {entry.name}")
        parts.append(f"<h3>{escape(entry.name)}</h3><p>{escape(text)}</p>{plot}")
    return (
        "<section><h2>Mask coverage</h2><p>How much of an image its mask marks, in bins of 5 %.</p>"
        + "".join(parts)
        + "</section>"
    )


def _generators(report: ValidationReport, measured: Measurements) -> str:
    hidden = len(report.generators) - figures.MAX_GENERATORS
    more = (
        f" The first {figures.MAX_GENERATORS} of {len(report.generators):,} are shown." if hidden > 0 else ""
    )
    return (
        "<section><h2>Masks of each generator</h2><p>Mean and standard deviation of its masks: where they "
        f"always mark (white), and where they vary (bright). The number of masks is in brackets.{more}</p>"
        + _plot(figures.mean_masks(measured), "Mean and standard deviation of each generator's masks")
        + "<p>Separate regions and enclosed holes in a mask; many may be specks that no expert drew.</p>"
        + _plot(figures.regions(measured), "Histograms of regions and holes")
        + "</section>"
    )


def _diversity(report: ValidationReport) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(entry.id)}</code></td><td class='number'>{entry.images:,}</td>"
        f"<td class='number'>{100 * entry.coverage_mean:.1f} ± {100 * entry.coverage_std:.1f}</td>"
        f"<td class='number'>{entry.pixel_std:.1f}</td>"
        f"<td class='number'>{_number(entry.mean_distance)}</td></tr>"
        for entry in report.generators[: figures.MAX_ROWS]
    )
    hidden = len(report.generators) - figures.MAX_ROWS
    more = f"<p>{hidden:,} more are in the JSON report.</p>" if hidden > 0 else ""
    duplicates = report.duplicates
    closest = "".join(
        f"<code>{escape(first)} ~ {escape(second)} ({bits} bits)</code>"
        for first, second, bits in duplicates.closest
    )
    listed = f"<details><summary>the closest pairs</summary>{closest}</details>" if closest else ""
    return (
        "<section><h2>Diversity and duplicates</h2><p>Samples of one generator differ less than images of "
        "different origin. A dot far left of the line is a generator that repeats itself.</p>"
        + _plot(figures.diversity(report.generators, report.mean_distance), "Diversity of each generator")
        + "<table><tr><th>Generator</th><th class='number'>Images</th><th class='number'>Coverage, %</th>"
        "<th class='number'>Pixel deviation</th><th class='number'>Mean difference</th></tr>"
        f"{rows}</table>{more}<h3>Duplicates</h3>"
        f"<p>{duplicates.exact_images:,} images have exactly the pixels of another; "
        f"{duplicates.near_pairs:,} pairs look almost the same, "
        f"{duplicates.near_pairs_across_generators:,} of them from different generators.</p>"
        f"{listed}</section>"
    )


def _picture(picture: Picture) -> str:
    return _image(picture.jpeg, "image/jpeg", f"{picture.name} with its masks outlined")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _plot(svg: bytes, description: str) -> str:
    return _image(svg, "image/svg+xml", description, "plot")


def _image(data: bytes, kind: str, description: str, css: str = "") -> str:
    encoded = base64.b64encode(data).decode()
    attribute = f' class="{css}"' if css else ""
    return f'<img{attribute} src="data:{kind};base64,{encoded}" alt="{escape(description)}">'
