"""Plots of audits and of fidelity as SVG text."""

from __future__ import annotations

import io
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from hospital_node.audit.attack import Space
from hospital_node.audit.attacks.nearest import DISTANCE_RATIO, LINKAGE_RATE
from hospital_node.audit.generator_audit import GeneratorAudit
from hospital_node.fidelity.fidelity_report import Comparison, GeneratorFidelity

SOURCE, CONTROL, BASELINE = "#b3261e", "#1f6f8b", "#6b6b6b"


def distances_svg(audits: Sequence[GeneratorAudit], limit: float) -> str:
    """Nearest sample of every generator to its source, with interval, beside its nearest other real image.

    Args:
        audits: in the order of the page.
        limit: the policy's least ratio.
    """
    figure = Figure(figsize=(8, 1.4 + 0.25 * len(audits)), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    for row, audit in enumerate(audits):
        ratio = audit.measure(Space.FULL, DISTANCE_RATIO)
        if ratio is None or ratio.control is None:
            axes.text(0.02, row, "no controls", va="center", color=BASELINE)
            continue
        axes.plot([ratio.low, ratio.high], [row, row], color=SOURCE, lw=2)
        axes.plot(ratio.value, row, "o", color=SOURCE)
        axes.plot(ratio.control, row, "s", color=CONTROL, mfc="none")
    axes.axvline(1, color=BASELINE, lw=1, ls=":")
    axes.axvline(limit, color=SOURCE, lw=1, ls="--")
    _label_rows(axes, [audit.generator_id for audit in audits])
    axes.set_xlim(left=0)
    axes.set_xlabel("RMSE of the nearest sample / median RMSE between real images")
    axes.set_title(
        "● to the source, 95 %   □ to the nearest other real image   ⋯ real to real   - - policy",
        fontsize=9,
        loc="left",
    )
    return _svg(figure)


def linkage_svg(audits: Sequence[GeneratorAudit]) -> str:
    """Share of every generator's samples whose nearest real image is the source, with chance."""
    figure = Figure(figsize=(8, 1.4 + 0.25 * len(audits)), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    for row, audit in enumerate(audits):
        rate = audit.measure(Space.FULL, LINKAGE_RATE)
        if rate is None or rate.baseline is None:
            axes.text(0.02, row, "no controls", va="center", color=BASELINE)
            continue
        axes.barh(row, rate.value, color=SOURCE, alpha=0.35, height=0.6)
        axes.plot([rate.low, rate.high], [row, row], color=SOURCE, lw=2)
        axes.plot([rate.baseline, rate.baseline], [row - 0.4, row + 0.4], color=BASELINE)
    _label_rows(axes, [audit.generator_id for audit in audits])
    axes.set_xlim(0, 1.02)
    axes.set_xlabel("share of samples whose nearest real image is the source")
    axes.set_title("bar: share with 95 % interval   grey: chance", fontsize=9, loc="left")
    return _svg(figure)


def comparisons_svg(comparisons: Sequence[Comparison]) -> str:
    """Every figure on an axis of its own: real against real above, samples against real below."""
    figure = Figure(figsize=(8, 0.4 + 0.75 * len(comparisons)), layout="constrained")
    FigureCanvasSVG(figure)
    rows = figure.subplots(len(comparisons), squeeze=False)[:, 0]
    for axes, found in zip(rows, comparisons, strict=True):
        for height, interval, colour in ((1, found.floor, CONTROL), (0, found.samples, SOURCE)):
            axes.plot([interval.low, interval.high], [height, height], color=colour, lw=2)
            axes.plot(interval.mean, height, "o", color=colour)
        axes.set_yticks([1, 0], ["real", "samples"], fontsize=8)
        axes.set_ylim(-0.6, 1.6)
        axes.tick_params(axis="x", labelsize=8)
        axes.set_title(f"{found.name}: {found.better} is better", fontsize=9, loc="left", pad=2)
        axes.spines[["top", "right"]].set_visible(False)
    return _svg(figure)


def sifid_svg(generators: Sequence[GeneratorFidelity]) -> str:
    """SIFID of every generator's samples to their source, beside that of the other real images.

    Args:
        generators: with SIFID, in the order of the page.
    """
    figure = Figure(figsize=(8, 1.4 + 0.25 * len(generators)), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    for row, found in enumerate(generators):
        if found.sifid is not None:
            axes.plot([found.sifid.low, found.sifid.high], [row, row], color=SOURCE, lw=2)
            axes.plot(found.sifid.mean, row, "o", color=SOURCE)
        if found.sifid_others is not None:
            axes.plot(found.sifid_others, row, "s", color=CONTROL, mfc="none")
    _label_rows(axes, [found.image_id for found in generators])
    axes.set_xlim(left=0)
    axes.set_xlabel("SIFID (64-d) to the source: lower is nearer in texture")
    axes.set_title("● mean of the samples, 95 %   □ median of other real images", fontsize=9, loc="left")
    return _svg(figure)


def _label_rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [name[:8] for name in names], family="monospace")
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
