"""`sharekit demo`: run both sides, command by command, from a folder of images to a validated data set."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from rich.table import Column, Table

from sharekit.demo.phantom import write_data_set
from sharekit.demo.plan import DRAW, Demonstration, Journal, Settings, plan, run_step
from sharekit.errors import PartialFailureError
from sharekit.program import shared_options
from sharekit.program.arguments import show_first_name, whole_number
from sharekit.program.command_line import default_of
from sharekit.program.output import Output, Story
from sharekit.program.phrases import counted

SUMMARY = "run the whole way, hospital and consumer, on drawn pictures or on your own"
GOES_ON = True
GOES_ON_AFTER = (0, PartialFailureError.exit_code)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="folder with images/ and masks/ (left out: drawn pictures)"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", default=Path("demo"), help="folder for all results"
    )
    pictures = parser.add_argument(
        *("--pictures", "--count"),
        dest="count",
        type=whole_number(1),
        metavar="N",
        default=default_of(Settings, "count"),
        help="pictures to draw without --data",
    )
    show_first_name(pictures)
    parser.add_argument(
        "--samples",
        type=whole_number(1),
        metavar="N",
        default=default_of(Settings, "samples"),
        help="synthetic images to sample",
    )
    parser.add_argument(
        "--hospital",
        metavar="NAME",
        default=default_of(Settings, "hospital"),
        help="the hospital's name in its bundle",
    )
    shared_options.seed(parser, default_of(Settings, "seed"), "the drawn pictures")
    parser.add_argument(
        "--iterations",
        type=whole_number(1),
        metavar="N",
        help="training iterations per scale (left out: 250 for groups, else the profile's)",
    )


def run(args: argparse.Namespace, output: Output) -> int:
    settings = Settings(
        args.out, args.data, args.count, args.samples, args.iterations, args.hospital, args.seed
    )
    journal = Journal.open(settings)
    journal.save()
    # With --format json stdout holds one document, so the story goes to stderr.
    stream = sys.stderr if output.form == "json" else sys.stdout
    story = Story(stream)
    if settings.data is None and DRAW not in journal.seconds:
        journal = _draw(settings, journal, story)
    number = 0
    # Planned again after each step: what was drawn decides the last ones.
    while number < len(steps := plan(settings)):
        step, number = steps[number], number + 1
        story.chapter(f"{number}/{len(steps)} {step.name}", step.purpose, command=step.command_line)
        if step.name in journal.seconds:
            story.say("done before", style="dim")
            continue
        started = time.monotonic()
        code = run_step(step, stream)
        if code not in GOES_ON_AFTER:
            story.say(f"stopped at {step.name}; run the same command again to go on", style="bold red")
            return code
        journal = journal.finished(step.name, time.monotonic() - started)
        journal.save()
        story.say(f"{journal.seconds[step.name]:.1f} s", style="dim")
    done = Demonstration(journal)
    output.result(done.to_json(), _times(done), *_ending(done))
    return 0


def _draw(settings: Settings, journal: Journal, story: Story) -> Journal:
    started = time.monotonic()
    write_data_set(settings.pictures, settings.count, seed=settings.seed)
    story.say(f"drew {counted(settings.count, 'image')} with masks into {settings.pictures}")
    journal = journal.finished(DRAW, time.monotonic() - started)
    journal.save()
    return journal


def _times(done: Demonstration) -> Table:
    table = Table("step", Column("seconds", justify="right"), title="time")
    for name, seconds in done.seconds.items():
        table.add_row(name, f"{seconds:.1f}")
    table.add_section()
    table.add_row("total", f"{sum(done.seconds.values()):.1f}", style="bold")
    return table


def _ending(done: Demonstration) -> list[str]:
    settings = done.journal.settings
    return [
        *(f"The consumer's report: {page}" for page in settings.validation_pages),
        f"The hospital's own report: {settings.node_page}",
        "Next:",
        *(f"  {command}" for command in done.next),
    ]
