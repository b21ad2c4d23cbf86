"""The paper's figures with our numbers, each a self-contained SVG; equal numbers give equal bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sharekit.experiment.histograms import Histogram
from sharekit.experiment.tables import IOU, REAL, Observation, Row
from sharekit.page.plots import BLUE, INK, MUTED, ORANGE, SERIES, drawing, svg
from sharekit.pictures.mask_statistics import BINS

COLOURS = {REAL: INK, "synthetic": ORANGE, "both": BLUE}


def iou_by_arm(rows: Sequence[Row], observations: Sequence[Observation]) -> bytes:
    """Best IoU of each arm: one dot per cell, coloured by fold, and the mean with its interval (Figure 9)."""
    labels = sorted({each.held for each in observations})
    with drawing(3.4) as figure:
        axes = figure.add_subplot()
        for place, row in enumerate(rows):
            cells = [each for each in observations if (each.arm, each.images) == (row.arm, row.images)]
            offsets = np.linspace(-0.22, 0.22, len(cells)) if len(cells) > 1 else [0.0]
            for offset, cell in zip(offsets, cells, strict=True):
                colour = SERIES[labels.index(cell.held) % len(SERIES)]
                axes.plot(place + offset, cell.best[IOU], "o", color=colour, markersize=4, alpha=0.75)
            _mean(axes, place, row, INK)
        real = next((row for row in rows if row.arm == REAL), None)
        if real is not None:
            axes.axhline(real.best[IOU].mean, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
        for number, label in enumerate(labels):
            axes.plot(
                [], [], "o", color=SERIES[number % len(SERIES)], markersize=4, label=f"fold {label} held out"
            )
        axes.set_xticks(range(len(rows)), [row.arm for row in rows], rotation=30, ha="right")
        axes.set(ylabel="IoU on the held-out fold", xlim=(-0.6, len(rows) - 0.4))
        axes.grid(axis="y")
        figure.legend(loc="outside upper right", ncols=len(labels))
        return svg(figure)


def iou_by_real_images(rows: Sequence[Row], observations: Sequence[Observation]) -> bytes:
    """Best IoU against R for each arm: a dot per cell, a line through means with intervals (Figure 11)."""
    arms = list(dict.fromkeys(row.arm for row in rows))
    ticks = sorted({row.images or 0 for row in rows})
    # Shift the bars of one R sideways, so that they do not overlap.
    gap = min(np.diff(ticks), default=1)
    step = 0.07 * gap
    with drawing(3.4) as figure:
        axes = figure.add_subplot()
        for number, arm in enumerate(arms):
            colour = COLOURS.get(arm, SERIES[number % len(SERIES)])
            shift = step * (number - (len(arms) - 1) / 2)
            of_arm = sorted((row for row in rows if row.arm == arm), key=lambda row: row.images or 0)
            places = [(row.images or 0) + shift for row in of_arm]
            axes.plot(places, [row.best[IOU].mean for row in of_arm], color=colour, linewidth=1.4, label=arm)
            for place, row in zip(places, of_arm, strict=True):
                _mean(axes, place, row, colour)
            cells = [each for each in observations if each.arm == arm]
            axes.plot(
                [(each.images or 0) + shift for each in cells],
                [each.best[IOU] for each in cells],
                "o",
                color=colour,
                markersize=3,
                alpha=0.45,
            )
        # Leave room for the shifted bars even with a single R.
        axes.set(
            xlabel="R, real images",
            ylabel="IoU on the held-out fold",
            xlim=(ticks[0] - gap / 2, ticks[-1] + gap / 2),
        )
        axes.set_xticks(ticks)
        axes.grid(axis="y")
        figure.legend(loc="outside upper right", ncols=len(arms))
        return svg(figure)


def true_pixels(found: Sequence[Histogram]) -> bytes:
    """Histogram of the masks' share of true pixels, real against synthetic, for each R (Figure 10)."""
    columns = min(len(found), 3)
    lines = -(-len(found) // columns)
    edges = 100 * np.arange(BINS + 1) / BINS
    with drawing(0.5 + 2.0 * lines) as figure:
        panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
        for axes, each in zip(panels, found, strict=False):
            real, synthetic = (
                100 * np.array(counts) / max(sum(counts), 1) for counts in (each.real, each.synthetic)
            )
            axes.bar(edges[:-1] + 2.5, synthetic, width=4.2, color=COLOURS["synthetic"], label="synthetic")
            axes.stairs(real, edges, color=COLOURS[REAL], linewidth=1.4, label="real")
            size = f"{sum(each.real)} real, {sum(each.synthetic)} synthetic"
            axes.set_title(size if each.images is None else f"R = {each.images}: {size}")
            axes.set(xlim=(0, 100))
            axes.grid(axis="y")
        for axes in panels[len(found) :]:
            axes.set_axis_off()
        figure.supxlabel("true pixels of a mask, %", fontsize=9, color=MUTED)
        figure.supylabel("share of masks, %", fontsize=9, color=MUTED)
        handles, names = panels[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper right", ncols=2)
        return svg(figure)


def _mean(axes: Any, place: float, row: Row, colour: str) -> None:
    """Draw a row's mean with its interval."""
    score = row.best[IOU]
    below, above = max(score.mean - score.low, 0), max(score.high - score.mean, 0)
    axes.errorbar(
        place, score.mean, [[below], [above]], fmt="_", color=colour, markersize=13, elinewidth=1.4, capsize=0
    )
