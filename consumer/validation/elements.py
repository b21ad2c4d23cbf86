"""Parts of the page that every section uses: pictures as `data:` URLs, and figures with their intervals."""

from __future__ import annotations

import base64
from html import escape

from sharekit.intervals import Interval


def image(data: bytes, kind: str, description: str, css: str = "") -> str:
    """An `<img>` that holds its own bytes.

    Args:
        data: the file.
        kind: its media type.
        description: for those who cannot see it; escaped here.
        css: its class.
    """
    encoded = base64.b64encode(data).decode()
    attribute = f' class="{css}"' if css else ""
    return f'<img{attribute} src="data:{kind};base64,{encoded}" alt="{escape(description)}">'


def plot(svg: bytes, description: str) -> str:
    """A figure over the whole width."""
    return image(svg, "image/svg+xml", description, "plot")


def figure(interval: Interval | None, digits: int = 1, scale: float = 1.0) -> str:
    """A table's cell: the figure, and its interval below it; a dash where there is none."""
    if interval is None:
        return '<td class="number">–</td>'
    mean, low, high = (
        f"{scale * value:.{digits}f}" for value in (interval.mean, interval.low, interval.high)
    )
    return f'<td class="number">{mean}<small>{low} to {high}</small></td>'


def heads(*names: str) -> str:
    """A table's head: the first column is text, the others are numbers."""
    first, *others = names
    cells = "".join(f'<th class="number">{name}</th>' for name in others)
    return f"<tr><th>{first}</th>{cells}</tr>"
