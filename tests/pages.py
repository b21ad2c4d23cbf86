"""What every page of ours must be, read with a parser as a browser reads it."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from itertools import pairwise
from xml.etree import ElementTree

from sharekit.page.shell import CONTENT_SECURITY_POLICY, STYLESHEET

ATTACK = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&"
"""A name that would do harm, were it not escaped."""
ACTIVE = {"script", "iframe", "object", "embed", "link", "base", "form", "svg", "audio", "video", "source"}
"""Elements that run, load or send something."""
VOID = {"img", "meta", "input", "br", "hr"}
LANDMARKS = ("header", "nav", "main", "footer")


@dataclass(frozen=True)
class Element:
    tag: str
    attributes: dict[str, str]
    parents: tuple[str, ...]
    """Tags of the elements around it, outermost first."""


@dataclass
class Page(HTMLParser):
    """The elements of a page in order, its text, and the plots inside it."""

    source: str
    elements: list[Element] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.source)
        assert not self.open, f"elements that are not closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"an attribute twice: {attrs}"
        attributes = {name: value or "" for name, value in attrs}
        self.elements.append(Element(tag, attributes, tuple(self.open)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        """What a person reads, with single spaces."""
        return " ".join("".join(self.words).split())

    def all(self, *tags: str) -> list[Element]:
        return [element for element in self.elements if element.tag in tags]

    @property
    def plots(self) -> list[str]:
        """The SVG files inside the page."""
        prefix = "data:image/svg+xml;base64,"
        sources = [image.attributes["src"] for image in self.all("img")]
        drawn = [source.removeprefix(prefix) for source in sources if source.startswith(prefix)]
        return [base64.b64decode(each).decode() for each in drawn]


def sound(text: str) -> Page:
    """The page, after what holds for each of our pages was checked."""
    page = Page(text)
    _is_closed(page)
    _is_accessible(page)
    return page


def _is_closed(page: Page) -> None:
    """It runs nothing and loads nothing, whatever is in it."""
    assert page.source.startswith("<!DOCTYPE html>")
    assert ATTACK not in page.source
    policies = [e.attributes["content"] for e in page.all("meta") if "http-equiv" in e.attributes]
    assert policies == [CONTENT_SECURITY_POLICY]
    assert f"<style>{STYLESHEET}</style>" in page.source
    assert [element.tag for element in page.elements if element.tag in ACTIVE] == []
    for element in page.elements:
        assert not [name for name in element.attributes if name.startswith("on") or name == "style"]
        for name in ("src", "href", "srcset", "action", "data", "poster", "background"):
            value = element.attributes.get(name)
            assert value is None or re.match(r"#|data:image/(png|jpeg|svg\+xml);base64,", value), value
    for plot in page.plots:
        _draws_alone(plot)


def _draws_alone(svg: str) -> None:
    for element in ElementTree.fromstring(svg).iter():  # noqa: S314 - a plot of ours
        assert element.tag.rpartition("}")[2] not in {"script", "foreignObject", "a"}
        for name, value in element.attrib.items():
            assert not name.startswith("on")
            if name.rpartition("}")[2] in {"href", "src"}:
                assert re.match(r"#|data:image/png;base64,", value), value
    assert not re.search(r"url\((?!#)|@import", svg)


def _is_accessible(page: Page) -> None:
    html, *_ = page.elements
    assert html.attributes["lang"] == "en"
    for tag in LANDMARKS:
        assert len(page.all(tag)) == 1, tag
    levels = [int(element.tag[1]) for element in page.all("h1", "h2", "h3", "h4", "h5", "h6")]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels)), levels
    identifiers = [element.attributes["id"] for element in page.elements if "id" in element.attributes]
    assert len(identifiers) == len(set(identifiers))
    for link in page.all("a"):
        assert link.attributes["href"].removeprefix("#") in identifiers
    assert all("alt" in image.attributes for image in page.all("img"))
    assert all(head.attributes.get("scope") in {"col", "row"} for head in page.all("th"))
    # A table wider than a telephone scrolls in its own box, which the keyboard reaches.
    boxes = [e for e in page.elements if e.attributes.get("class") == "scroll"]
    assert all({"tabindex", "aria-label"} <= set(box.attributes) for box in boxes)
    assert len(boxes) >= len(page.all("table"))
    labelled = {label.attributes["for"] for label in page.all("label")}
    assert all(choice.attributes["id"] in labelled for choice in page.all("input"))
