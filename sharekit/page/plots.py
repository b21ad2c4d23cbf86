"""What our reports' plots look like: one style, self-contained SVG, equal numbers give equal bytes."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from sharekit.errors import missing_package

INK, MUTED, GRID = "#1f2933", "#616e7c", "#e4e7eb"
_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    # Names come from files: a dollar sign in them is no formula.
    "text.parse_math": False,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.axisbelow": True,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "svg.hashsalt": "sharekit",
}


def require_matplotlib() -> None:
    """Refuse to go on without the package that draws.

    Raises:
        DependencyError: it is not installed.
    """
    if find_spec("matplotlib") is None:
        raise missing_package("matplotlib", "validate")


@contextlib.contextmanager
def drawing(width: float, height: float) -> Iterator[Any]:
    """A matplotlib figure of `width` x `height` inches, in our style while the block lasts.

    Raises:
        DependencyError: matplotlib is not installed.
    """
    require_matplotlib()
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        yield Figure(figsize=(width, height), layout="constrained")


def svg(figure: Any) -> bytes:
    """A figure's SVG; to be called inside its block."""
    buffer = io.BytesIO()
    # A date would make equal reports differ.
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()
