"""Progress of long work: events through a callback, shown live on a terminal and as JSON lines elsewhere."""

from __future__ import annotations

import contextlib
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

JSON_LINE_INTERVAL = 2.0  # seconds


@dataclass(frozen=True)
class Progress:
    """How far one stage has come. `done` may be fractional; equal `done` and `total` means finished."""

    done: float
    total: float
    message: str = ""
    """What is being worked on, for a person; never a file name of the hospital outside the node."""
    values: Mapping[str, float | int | str] = field(default_factory=dict)
    """Figures worth a column: scale, losses, iterations a second."""


ProgressCallback = Callable[[Progress], None]


def ignore(_: Progress) -> None:
    """The callback of a caller who does not want to know."""


@contextlib.contextmanager
def reporter(stage: str, *, unit: str) -> Iterator[ProgressCallback]:
    """A callback that shows `Progress` events on stderr, so that stdout holds only results.

    On a terminal a live bar with an ETA; otherwise a JSON line at most every `JSON_LINE_INTERVAL` seconds and
    one at the end.
    """
    if sys.stderr.isatty():
        yield from _live(stage, unit)
    else:
        yield from _json_lines(stage, unit)


def _live(stage: str, unit: str) -> Iterator[ProgressCallback]:
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with RichProgress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(stage, total=None, note="")

        def show(event: Progress) -> None:
            figures = " ".join(f"{name} {_short(value)}" for name, value in event.values.items())
            bar.update(
                task, completed=event.done, total=event.total, note=f"{event.message} {figures}".strip()
            )

        yield show


def _short(value: float | int | str) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _json_lines(stage: str, unit: str) -> Iterator[ProgressCallback]:
    # Neither what starts up before the first event nor what it finds done already says anything of the speed.
    started = math.nan
    first = math.nan
    last_line = -JSON_LINE_INTERVAL
    latest: Progress | None = None
    latest_shown = False

    def line(event: Progress) -> None:
        elapsed = time.monotonic() - started
        gained = event.done - first
        eta = elapsed / gained * (event.total - event.done) if gained > 0 else None
        record = {
            "stage": stage,
            "done": event.done,
            "total": event.total,
            "unit": unit,
            "elapsed_s": round(elapsed, 1),
            "eta_s": None if eta is None else round(eta, 1),
            "message": event.message,
            **event.values,
        }
        print(json.dumps(record), file=sys.stderr, flush=True)

    def show(event: Progress) -> None:
        nonlocal started, first, last_line, latest, latest_shown
        now = time.monotonic()
        if latest is None:
            started, first = now, event.done
        latest, latest_shown = event, False
        if now - last_line >= JSON_LINE_INTERVAL:
            line(event)
            last_line, latest_shown = now, True

    yield show
    if latest is not None and not latest_shown:
        line(latest)
