"""Progress of long work: a callback receives events and shows them as a bar, as text lines or as JSON."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import timedelta

from rich.console import Console, RenderableType
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as RichProgress
from rich.text import Text

JSON_LINE_INTERVAL = 2.0  # seconds
FORMS = AUTO, JSON, NONE = "auto", "json", "none"

_form: ContextVar[str] = ContextVar("the form that progress is shown in", default=AUTO)


@dataclass(frozen=True)
class Progress:
    """The state of one stage of work. `done` may be fractional; the stage ends when it equals `total`."""

    done: float
    total: float
    message: str = ""
    """The current work, for a person; it never shows a hospital's file name outside the node."""
    values: Mapping[str, float | int | str] = field(default_factory=dict)
    """Figures to show: scale, losses, iterations per second."""
    free: float = 0.0
    """The part of `done` that took no time in this run: it was already done, or was given up."""
    lines: tuple[str, ...] = ()
    """The current work of each of several workers; only a terminal shows it."""


ProgressCallback = Callable[[Progress], None]


def ignore(_: Progress) -> None:
    """A callback that ignores all events."""


class Pace:
    """Computes the rate of work and the time left from its events.

    Startup before the first event and work that was already done do not count towards the rate.
    """

    def __init__(self) -> None:
        self._started = math.nan
        self._first = math.nan
        self._latest: Progress | None = None

    def observe(self, event: Progress) -> None:
        """Record the next event when it happens."""
        if self._latest is None:
            self._started, self._first = time.monotonic(), event.done - event.free
        self._latest = event

    @property
    def elapsed(self) -> float:
        """Seconds since the first event."""
        return 0.0 if self._latest is None else time.monotonic() - self._started

    @property
    def rate(self) -> float:
        """Units done per second; 0 until something is done."""
        if self._latest is None or self.elapsed <= 0:
            return 0.0
        return max(self._latest.done - self._latest.free - self._first, 0.0) / self.elapsed

    @property
    def eta(self) -> float | None:
        """Seconds left, rounded to a tenth; None until it can be estimated."""
        if self._latest is None or self.rate == 0:
            return None
        return round((self._latest.total - self._latest.done) / self.rate, 1)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add `--progress`; `command_line.main` passes its value to `use`."""
    parser.add_argument(
        "--progress",
        choices=FORMS,
        default=AUTO,
        help=f"form of progress on stderr; {AUTO}: a bar on a terminal, otherwise a line each 10 %%",
    )


def use(form: str) -> None:
    """Let `reporter` show progress in `form` from now on."""
    _form.set(form)


@contextlib.contextmanager
def reporter(stage: str, *, unit: str) -> Iterator[ProgressCallback]:
    """A callback that shows `Progress` events on stderr, so that stdout holds only results.

    A terminal shows a live bar with the time left and the event's lines below it; other outputs get one line
    per 10 %. `--progress json` prints a JSON line at most every `JSON_LINE_INTERVAL` seconds, and a last one.
    """
    form = _form.get()
    if form == NONE:
        yield ignore
    elif form == JSON:
        yield from _json_lines(stage, unit)
    elif sys.stderr.isatty():
        yield from _live(stage, unit)
    else:
        yield from _plain_lines(stage, unit)


class _Bar(RichProgress):
    """A bar with lines below it."""

    lines: tuple[str, ...] = ()

    def get_renderables(self) -> Iterator[RenderableType]:
        yield from super().get_renderables()
        for line in self.lines:
            yield Text(line, no_wrap=True, overflow="ellipsis")


def _live(stage: str, unit: str) -> Iterator[ProgressCallback]:
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[state]}", markup=False),
    )
    pace = Pace()
    with _Bar(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(stage, total=None, state="")

        def show(event: Progress) -> None:
            pace.observe(event)
            bar.lines = event.lines
            bar.update(task, completed=event.done, total=event.total, state=describe(event, unit, pace.eta))

        try:
            yield show
        finally:
            # The workers have ended, so their lines go; the bar stays.
            bar.lines = ()


def _plain_lines(stage: str, unit: str) -> Iterator[ProgressCallback]:
    pace = Pace()
    shown = -1

    def show(event: Progress) -> None:
        nonlocal shown
        pace.observe(event)
        tenth = percent(event) // 10
        if tenth > shown:
            print(f"{stage}: {describe(event, unit, pace.eta)}", file=sys.stderr, flush=True)
            shown = tenth

    yield show


def percent(event: Progress) -> int:
    """Percentage of the work that is done, rounded down; 100 if there is no work."""
    return int(100 * event.done / event.total) if event.total else 100


def describe(event: Progress, unit: str, left: float | None) -> str:
    """One line for a person, with the most important part first: a terminal may cut its end.

    Args:
        unit: what `done` and `total` count; it begins with `%` if they are percentages already.
        left: seconds left, or None if unknown.
    """
    parts = [f"{percent(event)} %"]
    if not unit.startswith("%"):
        parts.append(f"{_short(event.done)} of {_short(event.total)} {unit}")
    if left is not None and event.done < event.total:
        parts.append(f"{duration(left)} left")
    parts += [f"{_words(name)} {_short(value)}" for name, value in event.values.items()]
    return ", ".join([*parts, *([event.message] if event.message else [])])


def _words(name: str) -> str:
    """A figure's name for a person, such as `iterations/s` for `iterations_per_s`."""
    return name.replace("_per_", "/").replace("_", " ")


def duration(seconds: float | None) -> str:
    """Hours, minutes and seconds for a person; a dash if `seconds` is None."""
    return "-" if seconds is None else str(timedelta(seconds=round(seconds)))


def _short(value: float | int | str) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _json_lines(stage: str, unit: str) -> Iterator[ProgressCallback]:
    pace = Pace()
    last_line = -JSON_LINE_INTERVAL
    latest: Progress | None = None
    latest_shown = False

    def line(event: Progress) -> None:
        record = {
            "stage": stage,
            "done": event.done,
            "total": event.total,
            "unit": unit,
            "elapsed_s": round(pace.elapsed, 1),
            "eta_s": pace.eta,
            "message": event.message,
            **event.values,
        }
        print(json.dumps(record), file=sys.stderr, flush=True)

    def show(event: Progress) -> None:
        nonlocal last_line, latest, latest_shown
        pace.observe(event)
        now = time.monotonic()
        latest, latest_shown = event, False
        if now - last_line >= JSON_LINE_INTERVAL:
            line(event)
            last_line, latest_shown = now, True

    yield show
    if latest is not None and not latest_shown:
        line(latest)
