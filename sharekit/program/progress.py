"""Progress of long work: events through a callback, shown as a bar, as lines of text or as JSON."""

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
    """How far one stage has come. `done` may be fractional; equal `done` and `total` means finished."""

    done: float
    total: float
    message: str = ""
    """What is being worked on, for a person; never a file name of the hospital outside the node."""
    values: Mapping[str, float | int | str] = field(default_factory=dict)
    """Figures worth a column: scale, losses, iterations a second."""
    free: float = 0.0
    """The part of `done` that took no time now: found done already, or given up."""
    lines: tuple[str, ...] = ()
    """What each of several workers is at, for a terminal alone."""


ProgressCallback = Callable[[Progress], None]


def ignore(_: Progress) -> None:
    """The callback of a caller who does not want to know."""


class Pace:
    """How fast work goes, and when it will be done, from its events.

    Neither what starts up before the first event nor what it finds done already says anything of the speed.
    """

    def __init__(self) -> None:
        self._started = math.nan
        self._first = math.nan
        self._latest: Progress | None = None

    def observe(self, event: Progress) -> None:
        """Take in the next event, as it happens."""
        if self._latest is None:
            self._started, self._first = time.monotonic(), event.done - event.free
        self._latest = event

    @property
    def elapsed(self) -> float:
        """Seconds since the first event."""
        return 0.0 if self._latest is None else time.monotonic() - self._started

    @property
    def rate(self) -> float:
        """What was worked off a second; 0 as long as that is nothing."""
        if self._latest is None or self.elapsed <= 0:
            return 0.0
        return max(self._latest.done - self._latest.free - self._first, 0.0) / self.elapsed

    @property
    def eta(self) -> float | None:
        """Seconds that are left, to a tenth; None as long as nobody can know."""
        if self._latest is None or self.rate == 0:
            return None
        return round((self._latest.total - self._latest.done) / self.rate, 1)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add `--progress`; `command_line.main` gives its value to `use`."""
    parser.add_argument(
        "--progress",
        choices=FORMS,
        default=AUTO,
        help=f"how progress is shown on stderr; {AUTO}: a bar on a terminal, elsewhere a line each 10 %%",
    )


def use(form: str) -> None:
    """Let `reporter` show progress in `form` from now on."""
    _form.set(form)


@contextlib.contextmanager
def reporter(stage: str, *, unit: str) -> Iterator[ProgressCallback]:
    """A callback that shows `Progress` events on stderr, so that stdout holds only results.

    On a terminal a live bar with the time left, the event's lines below it; elsewhere a line each 10 %. With
    `--progress json` a JSON line at most every `JSON_LINE_INTERVAL` seconds and one at the end.
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
            # What the workers were at is over; the bar stays.
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
    """Whole per cent of the work that are done; 100 for work of nothing."""
    return int(100 * event.done / event.total) if event.total else 100


def describe(event: Progress, unit: str, left: float | None) -> str:
    """One line for a person, the most important first: a terminal may cut its end.

    Args:
        unit: what `done` and `total` count; it begins with `%` where they are per cent already.
        left: seconds.
    """
    parts = [f"{percent(event)} %"]
    if not unit.startswith("%"):
        parts.append(f"{_short(event.done)} of {_short(event.total)} {unit}")
    if left is not None and event.done < event.total:
        parts.append(f"{duration(left)} left")
    parts += [f"{_words(name)} {_short(value)}" for name, value in event.values.items()]
    return ", ".join([*parts, *([event.message] if event.message else [])])


def _words(name: str) -> str:
    """A figure's name for a person: `iterations_per_s` is `iterations/s`."""
    return name.replace("_per_", "/").replace("_", " ")


def duration(seconds: float | None) -> str:
    """Hours, minutes and seconds for a person; a dash for what is not known."""
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
