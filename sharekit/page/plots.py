"""The style of all plots, for light and dark pages; equal numbers give equal bytes.

A plot is a self-contained SVG without a background. It uses the colours below; in dark mode the SVG's own
stylesheet replaces each by its counterpart, so one file serves both.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Any

from sharekit.errors import missing_package

INK, MUTED, GRID = "#1f2933", "#59636f", "#e1e5ea"
BLUE, ORANGE, RED, GREEN, PURPLE = "#1f7391", "#ab5f17", "#b3261e", "#55771b", "#80529a"
DARK = {
    INK: "#e7ebef",
    MUTED: "#a3aebb",
    GRID: "#343e49",
    BLUE: "#62b6d5",
    ORANGE: "#e5a066",
    RED: "#ff8f85",
    GREEN: "#a5c561",
    PURPLE: "#c7a1dd",
}
"""Each colour's counterpart on a dark page."""
SERIES = (BLUE, ORANGE, GREEN, PURPLE, RED)
"""Colours of the first, second, … series of a plot; they repeat after five."""
WIDTH = 8.4
"""Inches: the width of every plot, so that all plots on a page have the same text size."""

_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    # Names come from files: a dollar sign in them does not start a formula.
    "text.parse_math": False,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "legend.frameon": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "savefig.transparent": True,
    "svg.hashsalt": "sharekit",
}


def require_matplotlib() -> None:
    """Refuse to go on without matplotlib.

    Raises:
        DependencyError: matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise missing_package("matplotlib", "validate")


@contextlib.contextmanager
def drawing(height: float) -> Iterator[Any]:
    """A matplotlib figure of `WIDTH` x `height` inches; the style applies inside the block.

    Raises:
        DependencyError: matplotlib is not installed.
    """
    require_matplotlib()
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        yield Figure(figsize=(WIDTH, height), layout="constrained")


def label_rows(axes: Any, names: Sequence[str]) -> None:
    """Label the rows 0, 1, … of a plot, with the first row on top."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)


def svg(figure: Any) -> bytes:
    """Write a figure as SVG; call it inside the figure's `drawing` block."""
    buffer = io.BytesIO()
    # A date would make equal reports differ.
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    before, end, after = buffer.getvalue().partition(b"</style>")
    return before + _dark_style(after).encode() + end + after


def _dark_style(drawn: bytes) -> str:
    """CSS that replaces each of our colours in `drawn` by its counterpart on a dark page."""
    rules = "".join(
        f'[style*="{role}: {light}"]{{{role}:{dark}!important}}'
        for light, dark in DARK.items()
        for role in ("fill", "stroke")
        if f"{role}: {light}".encode() in drawn
    )
    return f"@media (prefers-color-scheme:dark){{{rules}}}"
