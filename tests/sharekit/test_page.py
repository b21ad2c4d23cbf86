"""The frame of our pages: escaped, closed, readable in light and dark, on paper and on a telephone."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass

import pytest
from jinja2 import TemplateError, UndefinedError

from sharekit.page import plots, shell
from sharekit.page.shell import CONTENT_SECURITY_POLICY, MAX_ORDERS, STYLESHEET, Embedded, orders
from tests.pages import ATTACK

RULES = re.sub(r"/\*.*?\*/", "", STYLESHEET, flags=re.DOTALL)
AA = 4.5  # contrast of text (WCAG 2.2, 1.4.3)
GRAPHICS = 3.0  # of what a plot draws (1.4.11)
TEXT_ON = {
    "--paper": ("--ink", "--muted", "--link"),
    "--card": ("--ink", "--muted", "--link", "--bad"),
    # A chosen order, a badge and the banner have a ground of their own.
    "--link": ("--card",),
    "--good": ("--on-badge",),
    "--warn": ("--on-badge",),
    "--bad": ("--on-badge",),
    "--plain": ("--on-badge",),
    "--alarm": ("--on-alarm",),
}
"""Grounds, and the colours of the text on them."""


def block(start: str, text: str = RULES) -> str:
    """What stands between the braces after `start`."""
    inside = text[text.index(start) + len(start) :]
    depth = 0
    for at, letter in enumerate(inside):
        depth += {"{": 1, "}": -1}.get(letter, 0)
        if letter == "}" and not depth:
            return inside[inside.index("{") + 1 : at]
    raise AssertionError(f"{start} is not closed")


def declarations(text: str) -> dict[str, str]:
    return dict(re.findall(r"(--[a-z-]+):\s*(#[0-9a-f]{6})\b", text))


LIGHT = declarations(block(":root"))
DARK_SCHEME = "@media screen and (prefers-color-scheme: dark)"
DARK = LIGHT | declarations(block(DARK_SCHEME))


def luminance(colour: str) -> float:
    """Relative luminance of `#rrggbb` (WCAG 2.2)."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("ground", TEXT_ON)
def test_text_can_be_read_on_every_ground(scheme: dict[str, str], ground: str) -> None:
    for text in TEXT_ON[ground]:
        assert contrast(scheme[text], scheme[ground]) >= AA, (text, ground)


@pytest.mark.parametrize("light", plots.DARK)
def test_plots_can_be_read_on_a_light_and_on_a_dark_card(light: str) -> None:
    if light == plots.GRID:
        return
    # Letters of a plot have the colours of ink, of muted text, or of what they name.
    assert contrast(light, LIGHT["--card"]) >= AA
    assert contrast(plots.DARK[light], DARK["--card"]) >= AA


def test_every_colour_is_one_of_the_two_schemes() -> None:
    """A colour elsewhere in the stylesheet would stay light in dark mode."""
    rest = RULES.replace(block(":root"), "").replace(block(DARK_SCHEME), "")
    assert not re.search(r"#[0-9a-fA-F]{3,8}\b|rgb|hsl|[: ](white|black|red|gr[ae]y)\b(?!-)", rest)
    used = set(re.findall(r"var\((--[a-z-]+)\)", STYLESHEET))
    defined = set(re.findall(r"(--[a-z-]+):", STYLESHEET))
    assert used == defined


def test_paper_is_light_whatever_the_screen_is() -> None:
    assert RULES.count("prefers-color-scheme") == RULES.count(DARK_SCHEME) == 1
    assert "color-scheme: light;" in block("@media print")


def test_the_banner_is_printed_on_every_sheet_and_tables_are_not_cut() -> None:
    printed = block("@media print")
    banner = block(".banner ", printed)
    # A browser repeats a table's head on each page, if it may not be broken.
    assert "display: table-header-group" in banner
    assert "break-inside: avoid" in banner
    assert "display: table;" in block("body:has(> .banner)", printed)
    assert "display: table-row-group" in block(".banner + .page", printed)
    # Without backgrounds, which browsers leave out on paper, it must still be seen.
    assert "color: var(--alarm)" in banner
    rows, (inside,) = re.findall(r"\n  (tr,[^{]*)\{", printed), [block("\n  tr, ", printed)]
    assert rows
    assert "break-inside: avoid" in inside
    assert "display: table-header-group" in block("thead", printed)
    assert "overflow: visible" in block(".scroll", printed)


def test_nothing_is_wider_than_a_telephone_but_what_scrolls_in_its_own_box() -> None:
    """390 px: no fixed width, least width or column beyond it outside `.scroll`, and long words break."""
    room = 390 - 2 * 14 - 2 * 14  # px: within a page's and a section's padding
    assert "overflow-wrap: anywhere" in block(".page")
    assert "overflow-x: auto" in block("\n.scroll")
    for selector, body in re.findall(r"\n\s*([^\n{}@]+)\{([^{}]*)\}", RULES):
        inside_box = selector.strip().startswith((".plot", "th", "td", ".words", ".dense"))
        for name, value, unit in re.findall(r"(?<!-)((?:min-)?width:|minmax\()\s*(\d+)(px|em)", body):
            wide = float(value) * (16 if unit == "em" else 1)
            assert inside_box or wide <= room, f"{selector}: {name} {value}{unit}"
        if "white-space: nowrap" in body:
            assert selector.strip() in {".badge", "td.number"}
    assert "max-width: 100%" in block(".strip ")
    assert "white-space: pre-wrap" in block("\npre ")


def test_the_policy_allows_our_stylesheet_and_pictures_inside_the_page_alone() -> None:
    digest = base64.b64encode(hashlib.sha256(STYLESHEET.encode()).digest()).decode()
    assert CONTENT_SECURITY_POLICY.split("; ") == [
        "default-src 'none'",
        "img-src data:",
        f"style-src 'sha256-{digest}'",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    assert "url(" not in STYLESHEET
    assert "@import" not in STYLESHEET
    # An HTML parser ends the style element at its first end tag, and would change other line ends.
    assert "<" not in STYLESHEET
    assert "\r" not in STYLESHEET


def test_there_is_a_rule_for_each_order_of_a_table() -> None:
    for number in range(1, MAX_ORDERS + 1):
        assert f"input:nth-of-type({number}):checked ~ div:nth-of-type({number})" in STYLESHEET
    assert f"nth-of-type({MAX_ORDERS + 1})" not in STYLESHEET
    with pytest.raises(ValueError, match="orders"):
        orders([1], {str(number): abs for number in range(MAX_ORDERS + 1)})


@dataclass(frozen=True)
class Item:
    name: str
    size: int | None


def test_rows_are_sorted_and_those_without_a_figure_come_last() -> None:
    items = [Item("b", 2), Item("a", None), Item("c", 1)]
    by_size, by_name = orders(
        items, {"size": lambda each: each.size, "name": lambda each: each.name}, limit=2
    )
    assert (by_size.name, [each.name for each in by_size.rows]) == ("size", ["c", "b"])
    assert [each.name for each in by_name.rows] == ["a", "b"]


def environment(template: str, **values: object) -> str:
    """What our templates make of a text."""
    return shell.environment("sharekit.page").from_string(template).render(values)


def test_every_value_is_escaped_also_in_an_attribute_and_in_a_macro() -> None:
    for template in (
        "<p>{{ value }}</p>",
        '<p title="{{ value }}">',
        '{% import "parts.html" as parts %}{% call parts.scrolling(value) %}{{ value }}{% endcall %}',
        '{% import "parts.html" as parts %}{{ parts.contents([(value, value)]) }}',
    ):
        text = environment(template, value=ATTACK)
        assert "<script" not in text
        assert "<img" not in text
        assert "&lt;script&gt;" in text


def test_a_value_that_is_not_there_is_an_error_and_no_gap() -> None:
    with pytest.raises(UndefinedError):
        environment("{{ page.nothing }}", page=Item("a", 1))


def test_a_page_without_a_part_that_each_needs_is_an_error() -> None:
    with pytest.raises(TemplateError, match="title"):
        environment('{% extends "shell.html" %}')


def test_an_embedded_picture_has_its_bytes() -> None:
    assert Embedded(b"abc", "image/png", "").url == "data:image/png;base64,YWJj"


def bars() -> bytes:
    with plots.drawing(2.0) as figure:
        axes = figure.add_subplot()
        axes.bar(["one", "two"], [1, 2], color=plots.BLUE, label="$blue$")
        axes.plot([0, 1], [1, 1], color=plots.RED)
        axes.legend()
        return plots.svg(figure)


def test_equal_numbers_give_equal_bytes_and_the_style_does_not_leak() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    assert bars() == bars()
    assert dict(matplotlib.rcParams) == before


def test_a_plot_brings_its_colours_for_a_dark_page_and_no_background() -> None:
    text = bars().decode()
    dark = block("@media (prefers-color-scheme:dark)", text)
    for colour in (plots.BLUE, plots.RED, plots.INK, plots.MUTED):
        assert f'[style*="{colour}"]' in dark or f': {colour}"]' in dark
        assert plots.DARK[colour] in dark
    assert plots.PURPLE not in text
    # Whatever is drawn has one of the colours that have a counterpart.
    assert set(re.findall(r"#[0-9a-f]{6}", text)) <= {*plots.DARK, *plots.DARK.values()}
