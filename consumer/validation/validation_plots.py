"""Draw the report's plots as self-contained SVGs; equal measurements give equal bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consumer.validation.measure_files import Measurements, short
from consumer.validation.validation_report import BIN_EDGES, ClassSummary, ReferenceSummary
from sharekit.intervals import Interval
from sharekit.page.plots import BLUE, MUTED, ORANGE, WIDTH, drawing, label_rows, svg

DATASET, REFERENCE = BLUE, ORANGE
MAX_GENERATORS = 8
"""Largest number of generators whose masks are drawn; more would be too small to see."""
MAX_ROWS = 24


def coverage(summary: ClassSummary, reference: ReferenceSummary | None) -> bytes:
    """True-pixel histogram in 5 % bins, as shares, with that of the real masks (the paper's Figures 3, 6,
    10).

    The reference's error bars are one standard deviation of the noise that protects it.
    """
    centres = (np.array(BIN_EDGES[:-1]) + np.array(BIN_EDGES[1:])) / 2
    with drawing(2.7) as figure:
        axes = figure.add_subplot()
        shares = 100 * np.array(summary.histogram) / max(sum(summary.histogram), 1)
        axes.bar(centres, shares, width=4.2, color=DATASET, label="this data set")
        total = sum(reference.counts) if reference is not None else 0
        highest = shares.max()
        if reference is not None and total:
            real = 100 * np.array(reference.counts) / total
            axes.stairs(real, BIN_EDGES, color=REFERENCE, linewidth=1.6, label="real masks, protected")
            # Standard deviation of a discrete Laplace of scale b is close to b times the root of 2.
            noise = 100 * np.sqrt(2) * reference.noise_scale / total
            bars = [np.minimum(real, noise), np.full_like(real, noise)]
            axes.errorbar(
                centres, real, bars, fmt="none", ecolor=REFERENCE, elinewidth=0.8, alpha=0.35, zorder=0
            )
            axes.legend(loc="upper right")
            highest = max(highest, real.max())
        axes.set(xlim=(0, 100), xlabel="foreground pixels of an image, %", ylabel="share of masks, %")
        axes.set_ylim(0, 1.2 * highest)
        axes.set_xticks(range(0, 101, 10))
        axes.grid(axis="y")
        return svg(figure)


def mean_masks(measured: Measurements) -> bytes:
    """Mean and standard deviation image of the masks of the first generators (the paper's Figure 5)."""
    shown = list(measured.mask_maps.items())[:MAX_GENERATORS]
    # With few generators, the pictures keep the size that they have with many.
    columns = max(len(shown), 5)
    grid = shown[0][1].moments.mean.shape
    side = WIDTH / columns  # inches
    with drawing(2 * side * min(1.5, grid[0] / grid[1]) + 0.5) as figure:
        figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03, wspace=0.0, hspace=0.0)
        for column, (name, masks) in enumerate(shown):
            rows: Sequence[tuple[NDArray[np.float64], str, float]] = (
                (masks.moments.mean, "bone", 1.0),
                (masks.moments.std, "magma", 0.5),
            )
            for row, (values, colours, highest) in enumerate(rows):
                axes = figure.add_subplot(2, columns, row * columns + column + 1)
                axes.imshow(values, cmap=colours, vmin=0, vmax=highest)
                axes.set_anchor("N")
                axes.set_xticks([])
                axes.set_yticks([])
                if column == 0:
                    axes.set_ylabel(("mean", "deviation")[row])
                if row == 0:
                    axes.set_title(f"{short(name)}\n({masks.moments.count})", fontsize=8.5)
        return svg(figure)


def intervals(
    rows: Mapping[str, Interval], label: str, *, whole: Interval | None = None, chance: float | None = None
) -> bytes:
    """Plot a figure of each generator as a dot with its interval, with that of the whole data set.

    Args:
        rows: generator to figure; the first `MAX_ROWS` are drawn.
        label: name and unit of the figure.
        whole: figure of the whole data set, drawn as a line in a band.
        chance: value by chance, drawn as a dashed line.
    """
    shown = list(rows.items())[:MAX_ROWS]
    with drawing(0.9 + 0.28 * max(len(shown), 2)) as figure:
        axes = figure.add_subplot()
        places = np.arange(len(shown))
        lows, highs = [entry.low for _, entry in shown], [entry.high for _, entry in shown]
        axes.hlines(places, lows, highs, color=DATASET, linewidth=2, alpha=0.45)
        axes.plot([entry.mean for _, entry in shown], places, "o", color=DATASET, markersize=6)
        label_rows(axes, [f"{short(name)}  ({entry.count})" for name, entry in shown])
        if whole is not None and len(shown) > 1:
            axes.axvspan(whole.low, whole.high, color=REFERENCE, alpha=0.12, linewidth=0)
            axes.axvline(whole.mean, color=REFERENCE, linewidth=1.2)
            _note(axes, "whole data set", whole.mean, REFERENCE)
            highs.append(whole.high)
        if chance is not None:
            axes.axvline(chance, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
            _note(axes, "chance", chance, MUTED)
        axes.set_xlim(0, 1.1 * max(*highs, chance or 0.0) or 1)
        axes.set_xlabel(label)
        axes.grid(axis="x")
        return svg(figure)


def regions(measured: Measurements) -> bytes:
    """How many separate regions, and how many holes, the masks have."""
    facts = [facts for image in measured.images for facts in image.masks.values()]
    with drawing(2.1) as figure:
        for place, (label, values) in enumerate(
            {
                "regions in a mask": [f.components for f in facts],
                "holes in a mask": [f.holes for f in facts],
            }.items()
        ):
            axes = figure.add_subplot(1, 2, place + 1)
            ticks = [*(str(number) for number in range(10)), "10+"]
            counts = np.bincount(np.minimum(values, 10), minlength=11)
            axes.bar(ticks, 100 * counts / max(len(facts), 1), color=DATASET, width=0.75)
            axes.set(xlabel=label, ylabel="share of masks, %" if place == 0 else "", ylim=(0, 100))
            axes.grid(axis="y")
        return svg(figure)


def _note(axes: Any, text: str, place: float, colour: str) -> None:
    """Write a line's name above it."""
    axes.annotate(text, (place, -0.6), (-4, 2), textcoords="offset points", ha="right", color=colour)
