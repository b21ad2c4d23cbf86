"""The page's sections of figures: coverage, masks and diversity, each with plots and a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape

from consumer.validation import edges
from consumer.validation import validation_plots as plots
from consumer.validation.elements import figure, heads, plot
from consumer.validation.findings import follows_edges
from consumer.validation.measure_files import Measurements
from consumer.validation.validation_report import (
    Comparison,
    GeneratorSummary,
    ReferenceSummary,
    ValidationReport,
)
from consumer.validation.validation_words import given
from sharekit.intervals import Interval


def coverage(report: ValidationReport) -> str:
    """How much of an image its mask marks, against the real masks."""
    references = {entry.name: entry for entry in report.reference}
    parts = []
    for entry in report.classes:
        reference = references.get(entry.name)
        text = (
            f"{entry.masks:,} masks cover {100 * entry.coverage_min:.1f} to "
            f"{100 * entry.coverage_max:.1f} %, {given(entry.coverage, 1, 100)} % on average; their standard "
            f"deviation is {100 * entry.coverage_std:.1f}."
        )
        drawn = plot(plots.coverage(entry, reference), f"Histogram of the coverage of {entry.name}")
        parts.append(f"<h3>{escape(entry.name)}</h3><p>{escape(text)}</p>{drawn}")
        if reference is not None:
            parts.append(_distances(reference))
    return (
        "<section><h2>Mask coverage</h2><p>How much of an image its mask marks, in bins of 5 %.</p>"
        + "".join(parts)
        + "</section>"
    )


def _distances(reference: ReferenceSummary) -> str:
    rows = _distance("Total variation", reference.total_variation)
    rows += _distance("Kolmogorov–Smirnov, at the bins' edges (a lower bound)", reference.kolmogorov_smirnov)
    text = (
        f"The {reference.image_count:,} real masks are known through counts with noise of scale "
        f"{reference.noise_scale:g} (ε = {reference.epsilon:g}). True counts that could lie behind these are "
        "simulated; 0 is the same distribution, 1 nothing in common. What is not above chance cannot be told "
        "from a data set drawn from the real masks."
    )
    head = heads("Distance to the real masks", "Noise included", "By chance below", "Counts as published")
    return f"<p>{escape(text)}</p><table>{head}{rows}</table>"


def _distance(name: str, distance: Comparison | None) -> str:
    if distance is None:
        return f"<tr><td>{escape(name)}</td>{3 * figure(None)}</tr>"
    published = "–" if distance.as_published is None else f"{distance.as_published:.2f}"
    return (
        f"<tr><td>{escape(name)}</td>{figure(distance.interval, 2)}"
        f"<td class='number'>{distance.chance:.2f}</td><td class='number'>{published}</td></tr>"
    )


def masks(report: ValidationReport, measured: Measurements) -> str:
    """Whether the masks are plausible: where they lie, whether they follow edges, how many regions."""
    hidden = len(report.generators) - plots.MAX_GENERATORS
    more = f" The first {plots.MAX_GENERATORS} of {len(report.generators):,} are shown." if hidden > 0 else ""
    rows = "".join(
        f"<tr><td><code>{escape(entry.id)}</code>{_edge_badge(entry)}</td>{figure(entry.edges, 2)}"
        f"{figure(entry.components)}{figure(entry.largest, 0, 100)}{figure(entry.with_holes, 0, 100)}</tr>"
        for entry in report.generators[: plots.MAX_ROWS]
    )
    head = heads("Generator", "Edges", "Regions", "In the largest, %", "With holes, %")
    return (
        "<section><h2>Masks of each generator</h2><p>Mean and standard deviation of its masks: where they "
        f"always mark (white), and where they vary (bright). The number of masks is in brackets.{more}</p>"
        + plot(plots.mean_masks(measured), "Mean and standard deviation of each generator's masks")
        + _edges(report)
        + "<h3>Regions and holes</h3><p>Many may be specks that no expert drew.</p>"
        + plot(plots.regions(measured), "Histograms of regions and holes")
        + f"<table>{head}{rows}</table>{_rest(report)}</section>"
    )


def _edges(report: ValidationReport) -> str:
    known = _known(report, lambda entry: entry.edges)
    if not known:
        return ""
    drawn = plots.intervals(
        known, "gradient on the outlines, relative to shifted outlines", whole=report.edges, chance=1.0
    )
    return (
        "<h3>Do the masks follow edges?</h3><p>The image's gradient on a mask's outline, relative to the "
        "same outline shifted to every place of the image: 1 by chance. Experts' masks reach 2.3 on polyps, "
        "one in fourteen less than 1.2; masks of other images reach 1.0. A generator is flagged unless its "
        f"whole interval is above {edges.FOLLOWS}. The number of images is in brackets.</p>"
        + plot(drawn, "Agreement of outlines and edges of each generator")
    )


def _edge_badge(entry: GeneratorSummary) -> str:
    missed = follows_edges(entry) is False
    return ' <span class="badge warning">look at its masks</span>' if missed else ""


def diversity(report: ValidationReport) -> str:
    """How much the images differ, within each generator and over the data set."""
    rows = "".join(
        _diversity_row(f"<code>{escape(entry.id)}</code>", entry)
        for entry in report.generators[: plots.MAX_ROWS]
    )
    if len(report.generators) > 1:
        rows += _diversity_row("whole data set", report)
    head = heads("Generator", "Images", "LPIPS", "Mean difference", "Pixel deviation")
    parts = [
        "<section><h2>Diversity and duplicates</h2><p>Samples of one generator differ less than images of "
        "different origin. A dot far left of the line is a generator that repeats itself. All pairs of the "
        "images in brackets are compared; bars are 95 % intervals over images.</p>",
        _diversity_plot(
            _known(report, lambda entry: entry.lpips),
            report.lpips,
            "LPIPS of two images",
            "How different they look, to AlexNet fitted to people's judgements (LPIPS 0.1; 0: equal).",
        ),
        _diversity_plot(
            _known(report, lambda entry: entry.mean_distance),
            report.mean_distance,
            "difference of two images, root mean square of 255",
            "How different their pixels are.",
        ),
        f"<table>{head}{rows}</table>{_rest(report)}",
        _duplicates(report),
        "</section>",
    ]
    return "".join(parts)


def _diversity_plot(known: Mapping[str, Interval], whole: Interval | None, label: str, text: str) -> str:
    if not known:
        return ""
    return f"<p>{escape(text)}</p>{plot(plots.intervals(known, label, whole=whole), label)}"


def _diversity_row(name: str, entry: GeneratorSummary | ValidationReport) -> str:
    return (
        f"<tr><td>{name}</td><td class='number'>{entry.images:,}</td>{figure(entry.lpips, 2)}"
        f"{figure(entry.mean_distance)}{figure(entry.pixel_std)}</tr>"
    )


def _duplicates(report: ValidationReport) -> str:
    duplicates = report.duplicates
    closest = "".join(
        f"<code>{escape(first)} ~ {escape(second)} ({bits} bits)</code>"
        for first, second, bits in duplicates.closest
    )
    listed = f"<details><summary>the closest pairs</summary>{closest}</details>" if closest else ""
    return (
        f"<h3>Duplicates</h3><p>{duplicates.exact_images:,} images have exactly the pixels of another; "
        f"{duplicates.near_pairs:,} pairs look almost the same, "
        f"{duplicates.near_pairs_across_generators:,} of them from different generators.</p>{listed}"
    )


def _known(
    report: ValidationReport, of: Callable[[GeneratorSummary], Interval | None]
) -> dict[str, Interval]:
    return {entry.id: interval for entry in report.generators if (interval := of(entry)) is not None}


def _rest(report: ValidationReport) -> str:
    hidden = len(report.generators) - plots.MAX_ROWS
    return f"<p>{hidden:,} more are in the JSON report.</p>" if hidden > 0 else ""
