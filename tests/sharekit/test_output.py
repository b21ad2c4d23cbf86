"""What commands print: text is text, words stay whole, and every terminal can show it."""

from __future__ import annotations

import io
import json

import pytest
from rich.table import Table
from rich.text import Text

from sharekit.errors import InputError
from sharekit.program.output import Output, console_for, print_error, print_json, show, visible

HOSTILE = "[link=https://example.org]St. [bold]Example[/bold][/] :warning:"
FINGERPRINT = "0123456789abcdef" * 4
NAME = f"images/{'StExampleEndoscopy' * 6}_0001.png"


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def _table(*rows: tuple[str, ...]) -> Table:
    table = Table("refused", "expected", "found", "next", box=None)
    for row in rows:
        table.add_row(*row)
    return table


def _shown(part: object, stream: io.StringIO) -> str:
    show(console_for(stream), part)
    return stream.getvalue()


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")
    return Terminal()


def test_markup_in_a_line_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    Output("text").result({}, HOSTILE)
    assert capsys.readouterr().out == f"{HOSTILE}\n"


def test_markup_in_a_table_is_text() -> None:
    assert HOSTILE in _shown(_table((HOSTILE, HOSTILE, "", "")), io.StringIO())


def test_markup_in_an_error_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    print_error(InputError(HOSTILE, expected=HOSTILE, found="[/]", next_step="[red]"), "text")
    told = capsys.readouterr().err
    assert told.count(HOSTILE) == 2
    assert "[/]" in told
    assert "[red]" in told


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[2Jb", r"a\x1b[2Jb"),
        ("a\u202eb", r"a\u202eb"),
        ("a\u061cb", r"a\u061cb"),
        ("a\u00adb", r"a\xadb"),
        ("a\U000e0041b", r"a\U000e0041b"),
        ("a\udce9b", r"a\udce9b"),
        ("a\x85b", r"a\x85b"),
    ],
)
def test_what_cannot_be_seen_is_an_escape(text: str, shown: str) -> None:
    assert visible(text) == shown
    assert _shown(_table((text, "", "", "")), io.StringIO()).count(shown) == 1


@pytest.mark.parametrize(
    "text", ["Städtisches Klinikum", "日本病院\u3000", "می\u200cخواهم", "a\nb\tc", "👩\u200d⚕️"]
)
def test_what_people_write_is_shown_as_it_is(text: str) -> None:
    assert visible(text) == text


def test_a_style_adds_nothing_where_there_is_no_terminal() -> None:
    assert _shown(Text("authentic", style="bold green"), io.StringIO()) == "authentic\n"


def test_off_a_terminal_a_table_keeps_whole_names_in_one_row_each() -> None:
    lines = _shown(_table((NAME, FINGERPRINT, NAME, FINGERPRINT), ("a", "b", "c", "d")), io.StringIO())
    assert len(lines.splitlines()) == 3
    assert lines.count(NAME) == 2


def test_80_columns_wrap_between_words_and_break_none(narrow: Terminal) -> None:
    words = "one image of this name, and a mask of the same name in masks/CLASS/"
    lines = _shown(_table(("images/a-rather-long-name.png", words, words, "ingest again")), narrow)
    assert "images/a-rather-long-name.png" in lines
    assert all(len(line) <= 80 for line in lines.splitlines())
    assert all(word in lines.split() for word in words.split())


def test_a_table_whose_words_do_not_fit_becomes_lines(narrow: Terminal) -> None:
    lines = _shown(_table((NAME, FINGERPRINT, "none", "give one"), ("b.png", "c", "d", "e")), narrow)
    assert lines.splitlines() == [
        f"refused   {NAME}",
        f"expected  {FINGERPRINT}",
        "found     none",
        "next      give one",
        "",
        "refused   b.png",
        "expected  c",
        "found     d",
        "next      e",
    ]


def test_a_table_without_headings_becomes_lines_too(narrow: Terminal) -> None:
    table = Table(box=None, show_header=False)
    table.add_row("approver", f"Dr. Okafor  {NAME}")
    assert _shown(table, narrow) == f"approver  Dr. Okafor  {NAME}\n"


def test_json_is_whole_whatever_the_stream_can_hold() -> None:
    value = {"name": "Städtisches Klinikum … 日本 \udce9"}
    for encoding in ("utf-8", "latin-1", "cp437", "ascii"):
        stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        print_json(value, stream)
        stream.flush()
        assert json.loads(stream.buffer.getvalue()) == value


def test_an_error_has_one_line_for_each_part(capsys: pytest.CaptureFixture[str]) -> None:
    print_error(InputError("a\nb", expected="c\nd", found="e", next_step="f"), "text", "usage: act")
    assert capsys.readouterr().err.splitlines() == [
        "usage: act",
        "error: a b",
        "  expected c d",
        "  found    e",
        "  next     f",
    ]
