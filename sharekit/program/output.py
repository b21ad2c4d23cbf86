"""Prints a command's result as literal text, or as one JSON document.

Names of hospitals, files and people come from outside, so text is printed literally: markup has no effect,
and characters that are invisible or would move the cursor appear as escape sequences.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any, TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.measure import Measurement
from rich.rule import Rule
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from sharekit.errors import PolicyError, SharekitError, UsageError

UNLIMITED = 10_000  # columns, if no terminal limits them
RULE_WIDTH = 100  # columns
STANDARD_OUTPUT = "standard output"
_INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_HARMLESS = "\n\t\u200c\u200d"  # the joiners belong to the spelling of several languages


class Output:
    """Prints a command's result: text for a person, or one JSON document."""

    def __init__(self, form: str) -> None:
        self.form = form
        self._console = console_for(sys.stdout)

    def result(self, data: Mapping[str, Any], *parts: RenderableType) -> None:
        """Print `data` with `--format json`, otherwise `parts`.

        A string is printed literally, even with brackets; use `Text` for style and `Table` for columns.
        """
        if self.form == "json":
            print_json(data, sys.stdout, indent=2, sort_keys=True)
        else:
            for part in parts:
                show(self._console, part)

    def announce(self, text: str) -> None:
        """Print a line on stderr before long work; with `--format json` the result alone says it."""
        if self.form != "json":
            show(console_for(sys.stderr), text)


def strong(text: str, rest: str = "", style: str = "bold") -> Text:
    """A line with an emphasised beginning."""
    return Text.assemble((text, style), rest)


def warning_text(text: str) -> Text:
    """A line that asks for attention."""
    return Text(text, style="yellow")


class Story:
    """Narrates the work of a command that runs other commands."""

    def __init__(self, stream: TextIO) -> None:
        self._console = console_for(stream)

    def chapter(self, title: str, purpose: str = "", *, command: str) -> None:
        """Print a ruled line with a title, and the command that starts now."""
        rule = Rule(Text.assemble((title, "bold"), f" {purpose}" if purpose else ""), align="left")
        self._console.print(rule, width=min(self._console.width, RULE_WIDTH))
        self.say(f"$ {command}", style="cyan")

    def say(self, text: str, style: str = "") -> None:
        """Print one line."""
        show(self._console, Text(text, style=style))


def warn(text: str) -> None:
    """Print a warning on stderr; the work goes on."""
    show(console_for(sys.stderr), warning_text(f"warning: {text}"))


def check_somebody_answers(yes: bool, next_step: str) -> None:
    """Check that a person can be asked, before any work.

    Args:
        yes: the option `--yes`, which answers in advance.
        next_step: what to do instead.

    Raises:
        UsageError: no terminal, and no `--yes`.
    """
    if not yes and not sys.stdin.isatty():
        raise UsageError(
            "--yes",
            expected="a terminal, where a person reads what will happen and answers, or --yes",
            found="neither",
            next_step=next_step,
        )


def ask(question: str, *parts: RenderableType, next_step: str) -> None:
    """Show `parts` on the terminal and ask; anything but `yes` is a refusal.

    Raises:
        PolicyError: the person did not say yes.
    """
    console = console_for(sys.stderr)
    for part in parts:
        show(console, part)
    print(f"{question} Type yes: ", end="", file=sys.stderr, flush=True)
    answer = sys.stdin.readline().strip()
    if answer.lower() != "yes":
        raise PolicyError(question, expected="yes", found=repr(answer), next_step=next_step)


def console_for(stream: TextIO) -> Console:
    """A console that ignores markup, and has no width limit unless it is a terminal."""
    width = None if stream.isatty() else UNLIMITED
    return Console(file=stream, width=width, markup=False, emoji=False, highlight=False)


def show(console: Console, part: RenderableType) -> None:
    """Print text or a table without breaking words."""
    if isinstance(part, Table):
        part = _fitted(part, console)
    with _named(console.file):
        # Wrapping would break paths that a user wants to copy.
        console.print(_Visible(part), soft_wrap=isinstance(part, str | Text))


def print_json(value: Any, stream: TextIO, **options: Any) -> None:
    """Print one JSON document, in ASCII if the stream cannot encode its characters."""
    text = json.dumps(value, ensure_ascii=False, **options)
    try:
        text.encode(stream.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value, **options)
    with _named(stream):
        print(text, file=stream, flush=True)


@contextlib.contextmanager
def _named(stream: IO[str]) -> Iterator[None]:
    """Put the name of `stream` into errors of writing to it."""
    try:
        yield
    except OSError as error:
        error.filename = STANDARD_OUTPUT if stream is sys.stdout else "standard error"
        raise


def print_error(error: SharekitError, form: str, usage: str = "") -> None:
    """Print an error's four parts on stderr, one per line, below the command's usage."""
    if form == "json":
        print_json({**error.to_json(), **({"usage": usage} if usage else {})}, sys.stderr)
        return
    console = console_for(sys.stderr)
    if usage:
        show(console, usage)
    show(console, Text(f"error: {_one_line(error.item)}", style="bold red"))
    for label, text in (("expected", error.expected), ("found", error.found), ("next", error.next_step)):
        show(console, f"  {label:<9}{_one_line(text)}")


def replace_what_a_terminal_cannot_show() -> None:
    """Let stdout and stderr print a question mark for characters that their encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def visible(text: str) -> str:
    """Replace control, format and direction characters and lone surrogates in `text` by escapes."""
    if text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode()
        if unicodedata.category(character) in _INVISIBLE and character not in _HARMLESS
        else character
        for character in text
    )


class _Visible:
    """A renderable whose text passes through `visible`; its styles stay."""

    def __init__(self, content: RenderableType) -> None:
        self._content = content

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        for segment in console.render(self._content, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)


def _one_line(text: str) -> str:
    return text.replace("\n", " ")


def _fitted(table: Table, console: Console) -> RenderableType:
    """Fit `table` into the console's width without breaking words, or turn each row into a block of lines."""
    options = console.options.update(width=UNLIMITED)
    columns = [
        [Measurement.get(console, options, cell) for cell in (column.header, *column.cells)]
        for column in table.columns
    ]
    shortest = [max(cell.minimum for cell in cells) for cells in columns]
    longest = [max(cell.maximum for cell in cells) for cells in columns]
    natural = Measurement.get(console, options, table).maximum
    if natural <= console.width:
        return table
    spare = console.width - (natural - sum(longest)) - sum(shortest)
    if spare < 0:
        return _blocks(table)
    wanted = [most - least for most, least in zip(longest, shortest, strict=True)]
    for column, least, more in zip(table.columns, shortest, wanted, strict=True):
        column.width = least + spare * more // (sum(wanted) or 1)
    return table


def _blocks(table: Table) -> Text:
    """Each row as lines with a heading and a cell, for a console that is too narrow for the table."""
    headings = [str(column.header) for column in table.columns]
    rows = zip(*(column.cells for column in table.columns), strict=True)
    return Text("\n\n" if table.show_header else "\n").join(
        _block(headings if table.show_header else None, cells) for cells in rows
    )


def _block(headings: Sequence[str] | None, cells: Sequence[RenderableType]) -> Text:
    texts = [cell if isinstance(cell, Text) else Text(str(cell)) for cell in cells]
    if headings is None:
        return Text("  ").join(texts)
    width = max(map(len, headings))
    return Text("\n").join(
        Text.assemble(f"{heading:<{width}}  ", text) for heading, text in zip(headings, texts, strict=True)
    )
