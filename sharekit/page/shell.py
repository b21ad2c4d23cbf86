"""The common frame of all HTML pages: one look, one content security policy, every value escaped.

A page is one file. It runs no script, sends no form and loads nothing: it embeds its pictures and plots, and
the policy allows only our own stylesheet, by its hash. A frozen dataclass goes in and text comes out; equal
values give equal pages.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Generic, TypeVar

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from sharekit.intervals import Interval

STYLESHEET = (resources.files("sharekit.page") / "templates" / "style.css").read_text(encoding="utf-8")
_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLESHEET.encode()).digest()).decode()
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "img-src data:",
        f"style-src 'sha256-{_STYLE_HASH}'",
        "base-uri 'none'",
        "form-action 'none'",
    )
)
MAX_ORDERS = 4
"""Most orders of one table: the stylesheet has a rule for each."""

Row = TypeVar("Row")


@dataclass(frozen=True)
class Embedded:
    """A picture or plot embedded in the page."""

    data: bytes
    kind: str  # media type
    description: str  # for readers who cannot see it

    @staticmethod
    def svg(data: bytes, description: str) -> Embedded:
        return Embedded(data, "image/svg+xml", description)

    @property
    def url(self) -> str:
        return f"data:{self.kind};base64,{base64.b64encode(self.data).decode()}"


@dataclass(frozen=True)
class Order(Generic[Row]):
    """The rows of a table in one named order that the reader can choose."""

    name: str
    rows: tuple[Row, ...]


def orders(
    rows: Iterable[Row], keys: dict[str, Callable[[Row], Any]], limit: int | None = None
) -> tuple[Order[Row], ...]:
    """A table's rows in several orders; the page shows the first until the reader chooses another.

    Args:
        rows: all rows of the table.
        keys: name of each order to its sort key, smallest first; rows with the key None come last. At least
            one, at most `MAX_ORDERS`.
        limit: rows to keep of each order; None keeps all.
    """
    if not 1 <= len(keys) <= MAX_ORDERS:
        raise ValueError(f"a table has 1 to {MAX_ORDERS} orders, not {len(keys)}")
    every = tuple(rows)

    def ordered(key: Callable[[Row], Any]) -> tuple[Row, ...]:
        known = [row for row in every if key(row) is not None]
        return (*sorted(known, key=key), *(row for row in every if key(row) is None))[:limit]

    return tuple(Order(name, ordered(key)) for name, key in keys.items())


def render(package: str, template: str, page: object) -> str:
    """Render a page as HTML text.

    Args:
        package: dotted name of the package with the template in its folder `templates`.
        template: file name of the template.
        page: the values that the template shows, under the name `page`.
    """
    return environment(package).get_template(template).render(page=page)


@cache
def environment(package: str) -> Environment:
    """The Jinja environment for the templates of `package` and the shared ones that they extend."""
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("sharekit.page")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(stylesheet=STYLESHEET, policy=CONTENT_SECURITY_POLICY)
    environment.filters.update(fixed=_fixed, grouped=_grouped, bounds=_bounds)
    return environment


def _fixed(value: float, digits: int) -> str:
    return f"{value:.{digits}f}"


def _grouped(value: int) -> str:
    """`12,345`."""
    return f"{value:,}"


def _bounds(interval: Interval, digits: int, scale: float = 1.0) -> str:
    """`1.9 to 2.3`."""
    return f"{scale * interval.low:.{digits}f} to {scale * interval.high:.{digits}f}"
