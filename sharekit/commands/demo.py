"""`sharekit demo`: both sides from a folder of images to a validated data set, command by command."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from sharekit.demo.phantom import write_data_set
from sharekit.demo.plan import Journal, Settings, next_commands, plan, run_step
from sharekit.errors import PartialFailureError
from sharekit.program.command_line import Output, default_of

SUMMARY = "run the whole way, hospital and consumer, on drawn pictures or on your own"
DRAW = "pictures"
GOES_ON_AFTER = (0, PartialFailureError.exit_code)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, help="folder with images/ and masks/; without it some are drawn")
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder for everything that is made")
    parser.add_argument(
        "--count", type=int, default=default_of(Settings, "count"), help="pictures to draw without --data"
    )
    parser.add_argument(
        "--samples", type=int, default=default_of(Settings, "samples"), help="synthetic images to sample"
    )
    parser.add_argument(
        "--iterations", type=int, help="training iterations a scale; without it the profile's"
    )


def run(args: argparse.Namespace, output: Output) -> int:
    settings = Settings(args.out, args.data, args.count, args.samples, args.iterations)
    journal = Journal.open(settings)
    journal.save()
    # With --format json stdout holds one document, so the story goes to stderr.
    stream = sys.stderr if output.form == "json" else sys.stdout
    console = Console(file=stream, highlight=False)
    if settings.data is None and DRAW not in journal.seconds:
        journal = _draw(settings, journal, console)
    steps = plan(settings)
    for number, step in enumerate(steps, start=1):
        console.rule(f"[bold]{number}/{len(steps)} {step.name}[/] {step.purpose}", align="left")
        console.print(f"$ {step.command_line}", style="cyan", markup=False, soft_wrap=True)
        if step.name in journal.seconds:
            console.print("done before", style="dim")
            continue
        started = time.monotonic()
        code = run_step(step, stream)
        if code not in GOES_ON_AFTER:
            console.print(f"stopped at {step.name}; run the same command again to go on", style="bold red")
            return code
        journal = journal.finished(step.name, time.monotonic() - started)
        journal.save()
        console.print(f"{journal.seconds[step.name]:.1f} s", style="dim")
    output.result(_summary(journal), _times(journal), *_ending(settings))
    return 0


def _draw(settings: Settings, journal: Journal, console: Console) -> Journal:
    started = time.monotonic()
    write_data_set(settings.pictures, settings.count)
    drawn = f"drew {settings.count} images with masks into {settings.pictures}"
    console.print(drawn, markup=False, soft_wrap=True)
    journal = journal.finished(DRAW, time.monotonic() - started)
    journal.save()
    return journal


def _summary(journal: Journal) -> dict[str, Any]:
    settings = journal.settings
    return {
        "bundle": str(settings.bundle),
        "key": str(settings.key),
        "node": str(settings.node),
        "report": str(settings.validation_page),
        "seconds": dict(journal.seconds),
        "next": list(next_commands(settings)),
    }


def _times(journal: Journal) -> Table:
    table = Table("step", Column("seconds", justify="right"), title="time")
    # A journal that was read again has its steps in alphabetical order.
    for name in (DRAW, *(step.name for step in plan(journal.settings))):
        if name in journal.seconds:
            table.add_row(name, f"{journal.seconds[name]:.1f}")
    table.add_section()
    table.add_row("total", f"{sum(journal.seconds.values()):.1f}", style="bold")
    return table


def _ending(settings: Settings) -> list[str]:
    lines = [
        f"The consumer's report: {settings.validation_page}",
        f"The hospital's own report: {settings.node_page}",
        "Next:",
        *(f"  {command}" for command in next_commands(settings)),
    ]
    return [escape(line) for line in lines]
