"""Plots of audits and of fidelity, each a self-contained SVG; equal figures give equal bytes."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from typing import Any

from hospital_node.fidelity.fidelity_report import Comparison, GeneratorFidelity
from hospital_node.report.risk import Risk
from sharekit.generator.spec import short_id
from sharekit.page.plots import BLUE, MUTED, RED, drawing, label_rows, svg

SOURCE, CONTROL, BASELINE = RED, BLUE, MUTED
MAX_ROWS = 60
"""Generators that a plot shows."""
NO_CONTROLS = "no controls"


def distances(risks: Sequence[Risk], limit: float) -> bytes:
    """How near each generator's samples come to the source, other real images, and another generator's.

    Args:
        risks: in the order of the page; the first `MAX_ROWS` are drawn.
        limit: the policy's least ratio.
    """
    shown = risks[:MAX_ROWS]
    with drawing(_height(shown)) as figure:
        axes = figure.add_subplot()
        for row, risk in enumerate(shown):
            found = risk.nearest
            if found is None or found.control is None:
                axes.text(0.02, row, NO_CONTROLS, va="center", color=BASELINE)
                continue
            _interval(axes, row, found.value, found.low, found.high)
            _other(axes, row, found.control)
            if found.stranger is not None:
                axes.plot(found.stranger, row, "x", color=CONTROL)
        axes.plot([], [], "x", color=CONTROL, label="a generator that never saw it")
        axes.axvline(1, color=BASELINE, lw=1, ls=":", label="real to real")
        axes.axvline(limit, color=SOURCE, lw=1, ls="--", label=f"policy: at least {limit:g}")
        _name_marks(axes, "this generator, 95 %", "member against member")
        axes.set_xlabel("RMSE of the nearest sample to the source / median RMSE between real images")
        return _finished(figure, axes, [risk.name for risk in shown])


def linkage(risks: Sequence[Risk]) -> bytes:
    """Share of each generator's samples whose nearest real image is the source, and what chance gives."""
    shown = risks[:MAX_ROWS]
    with drawing(_height(shown)) as figure:
        axes = figure.add_subplot()
        for row, risk in enumerate(shown):
            found = risk.linked
            if found is None or found.baseline is None:
                axes.text(0.02, row, NO_CONTROLS, va="center", color=BASELINE)
                continue
            axes.barh(row, found.value, color=SOURCE, alpha=0.35, height=0.6)
            axes.plot([found.low, found.high], [row, row], color=SOURCE, lw=2)
            axes.plot([found.baseline, found.baseline], [row - 0.4, row + 0.4], color=BASELINE)
        axes.plot([], [], color=SOURCE, lw=2, label="share of samples, 95 %")
        axes.plot([], [], color=BASELINE, label="by chance")
        axes.set_xlim(0, 1.02)
        axes.set_xlabel("share of samples whose nearest real image is the source")
        return _finished(figure, axes, [risk.name for risk in shown])


def comparisons(found: Sequence[Comparison]) -> bytes:
    """Every figure on an axis of its own: real against real above, samples against real below."""
    with drawing(0.4 + 0.75 * len(found)) as figure:
        panels = figure.subplots(len(found), squeeze=False)[:, 0]
        for axes, each in zip(panels, found, strict=True):
            for height, interval, colour in ((1, each.floor, CONTROL), (0, each.samples, SOURCE)):
                _interval(axes, height, interval.mean, interval.low, interval.high, colour)
            axes.set_yticks([1, 0], ["real", "samples"])
            axes.set_ylim(-0.6, 1.6)
            axes.set_title(f"{each.name}: {each.better} is better", loc="left", pad=2)
            axes.grid(axis="x")
        return svg(figure)


def sifid(found: Sequence[GeneratorFidelity]) -> bytes:
    """SIFID of every generator's samples to their source, and of the other real images to that source.

    Args:
        found: with SIFID; the first `MAX_ROWS` are drawn.
    """
    shown = found[:MAX_ROWS]
    with drawing(_height(shown)) as figure:
        axes = figure.add_subplot()
        for row, each in enumerate(shown):
            if each.sifid is not None:
                _interval(axes, row, each.sifid.mean, each.sifid.low, each.sifid.high)
            if each.sifid_others is not None:
                _other(axes, row, each.sifid_others)
        _name_marks(axes, "mean of the samples, 95 %", "median of other real images")
        axes.set_xlabel("SIFID (64-d) to the source: lower is nearer in texture")
        return _finished(figure, axes, [short_id(each.generator_id) for each in shown])


def _height(rows: Sized) -> float:
    """Inches of a plot with a row for each generator."""
    return 1.1 + 0.25 * len(rows)


def _interval(axes: Any, row: int, value: float, low: float, high: float, colour: str = SOURCE) -> None:
    axes.plot([low, high], [row, row], color=colour, lw=2)
    axes.plot(value, row, "o", color=colour)


def _other(axes: Any, row: int, value: float) -> None:
    axes.plot(value, row, "s", color=CONTROL, mfc="none")


def _name_marks(axes: Any, interval: str, other: str) -> None:
    """Say in the legend what the marks of `_interval` and `_other` are."""
    axes.plot([], [], "o-", color=SOURCE, lw=2, label=interval)
    axes.plot([], [], "s", color=CONTROL, mfc="none", label=other)


def _finished(figure: Any, axes: Any, names: Sequence[str]) -> bytes:
    """The SVG of a plot with a row for each of `names`, its legend above."""
    label_rows(axes, names)
    axes.set_xlim(left=0)
    axes.grid(axis="x")
    figure.legend(loc="outside upper left", ncols=4)
    return svg(figure)
