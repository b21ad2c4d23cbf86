"""Plots of audits as SVG text."""

from __future__ import annotations

import io
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from hospital_node.audit.record import GeneratorAudit
from hospital_node.release.words import measure_of

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
        ratio = measure_of(audit, "full.distance_ratio")
        if ratio is None or ratio.control is None:
            axes.text(0.02, row, "no controls", va="center", color=BASELINE)
            continue
        axes.plot([ratio.low, ratio.high], [row, row], color=SOURCE, lw=2)
        axes.plot(ratio.value, row, "o", color=SOURCE)
        axes.plot(ratio.control, row, "s", color=CONTROL, mfc="none")
    axes.axvline(1, color=BASELINE, lw=1, ls=":")
    axes.axvline(limit, color=SOURCE, lw=1, ls="--")
    _label_rows(axes, audits)
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
        rate = measure_of(audit, "full.linkage_rate")
        if rate is None or rate.baseline is None:
            axes.text(0.02, row, "no controls", va="center", color=BASELINE)
            continue
        axes.barh(row, rate.value, color=SOURCE, alpha=0.35, height=0.6)
        axes.plot([rate.low, rate.high], [row, row], color=SOURCE, lw=2)
        axes.plot([rate.baseline, rate.baseline], [row - 0.4, row + 0.4], color=BASELINE)
    _label_rows(axes, audits)
    axes.set_xlim(0, 1.02)
    axes.set_xlabel("share of samples whose nearest real image is the source")
    axes.set_title("bar: share with 95 % interval   grey: chance", fontsize=9, loc="left")
    return _svg(figure)


def _label_rows(axes: Axes, audits: Sequence[GeneratorAudit]) -> None:
    axes.set_yticks(range(len(audits)), [audit.generator_id[:8] for audit in audits], family="monospace")
    axes.set_ylim(len(audits) - 0.4, -0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
