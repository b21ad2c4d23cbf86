"""`sharekit experiment`: run the paper's experiments, from each fold's generators to the answer page."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharekit.errors import PartialFailureError
from sharekit.experiment.experiment_settings import GeneratorSettings, TableSettings
from sharekit.program import progress
from sharekit.program.command_line import add_output_options, default_of
from sharekit.program.output import Output, Story
from sharekit.program.phrases import counted

if TYPE_CHECKING:
    from rich.table import Table as RichTable

    from sharekit.experiment.cells import Machine
    from sharekit.experiment.document import Table
    from sharekit.experiment.fold_generators import FoldGenerators, Sources
    from sharekit.experiment.folds import Split
    from sharekit.steps.processes import Processes
    from sharekit.steps.step import Step

SUMMARY = "run the paper's experiments: can the synthetic data replace the real, or complement them?"
GOES_ON = True
GENERATORS = "generators"
FAIR = "fair"
ACTIONS = {
    GENERATORS: "train, audit and release the generators of every fold, which both tables need",
    "table1": "compare real data with FAKE-1, FAKE-2, …, without and with style transfer, fold by fold",
    "table2": "compare R real images with their synthetic data, and with both together",
    FAIR: "compare synthetic data with what costs nothing, by a plan registered before the first result",
}


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="EXPERIMENT", required=True)
    for name, summary in ACTIONS.items():
        action = actions.add_parser(name, help=summary, description=summary)
        _add_generator_options(action)
        if name != GENERATORS:
            _add_cell_options(action)
        if name.startswith("table"):
            _add_table_options(action)
        if name == "table1":
            _add_table1_options(action)
        if name == "table2":
            _add_table2_options(action)
        if name == FAIR:
            _add_fair_options(action)
        progress.configure(action)
        add_output_options(action, nested=True)


def _add_generator_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="folder with images/ and masks/"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for all results")
    parser.add_argument(
        "--folds", type=Path, metavar="FILE.csv", help="columns name and fold (left out: folds are made)"
    )
    parser.add_argument(
        "--groups",
        type=Path,
        metavar="FILE.csv",
        help="columns name and group (a patient, a sequence) of every image; a group stays in one fold",
    )
    _add_number(parser, GeneratorSettings, "--fold-count", "folds to make without --folds")
    parser.add_argument(
        "--images-per-fold", type=int, metavar="N", help="images of each fold to train on (left out: all)"
    )
    _add_number(parser, GeneratorSettings, "--choice-seed", "seed for choosing these images")
    _add_options_for(parser, "--train-options", "hospital-node train", "--profile quick --iterations 500")
    parser.add_argument(
        "--features",
        type=Path,
        metavar="FILE",
        help="feature network for style statistics (left out: the first one found on this machine)",
    )


def _add_table_options(parser: argparse.ArgumentParser) -> None:
    _add_number(parser, TableSettings, "--updates", "updates of every segmenter's weights")
    _add_numbers(parser, "--seeds", "S", "seeds of segmenters and samples")
    parser.add_argument(
        "--validation-images",
        type=int,
        metavar="N",
        help="images of the held-out fold to validate on (left out: all)",
    )
    parser.add_argument(
        "--fixed-samples", action="store_true", help="use the same samples for every seed: less to style"
    )


def _add_cell_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--held",
        nargs="+",
        metavar="FOLD",
        help="folds to hold out in turn (left out: all for table1, otherwise the first)",
    )
    _add_options_for(parser, "--sample-options", "consumer sample", "--size 128x96")
    _add_options_for(parser, "--segmenter-options", "consumer train", "--encoder resnet18 --batch-size 4")
    _add_number(parser, TableSettings, "--threads", "CPU threads of each command")
    _add_number(parser, TableSettings, "--workers", "commands to run in parallel")
    parser.add_argument(
        "--address",
        metavar="ADDRESS",
        help="run the commands on this Ray cluster (`auto` or ip:port; with its token), over a shared folder",
    )
    parser.add_argument(
        "--keep-segmenters", action="store_true", help="keep the trained models; otherwise only their scores"
    )


def _add_table1_options(parser: argparse.ArgumentParser) -> None:
    _add_numbers(parser, "--samples", "N", "samples to draw from each generator: the N of FAKE-N")
    parser.add_argument(
        "--styles",
        nargs="*",
        default=list(default_of(TableSettings, "styles")),
        metavar="C:S",
        help="weights of content and style; without a value, no style transfer",
    )
    _add_number(parser, TableSettings, "--style-steps", "optimisation steps for every image")
    _add_options_for(parser, "--style-options", "consumer style", "--batch-size 4")


def _add_table2_options(parser: argparse.ArgumentParser) -> None:
    _add_numbers(parser, "--real", "R", "numbers of real images to compare")
    _add_number(parser, TableSettings, "--samples-per-image", "samples to draw for each real image")


def _add_fair_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--plan",
        type=Path,
        metavar="FILE.json",
        help="plan of the comparison: arms, draws, primary comparison (left out: the one of this release)",
    )
    parser.add_argument(
        "--external",
        type=Path,
        metavar="DIR",
        help="second data set, from elsewhere, to score every segmenter on as well",
    )
    parser.add_argument(
        "--segmenter",
        dest="segmenters",
        action="append",
        default=[],
        metavar="NAME='OPTIONS'",
        help="make the whole comparison with these options for consumer train, after those of "
        "--segmenter-options, such as 'frozen=--freeze-encoder'; NAME heads its part of the page (repeat for "
        "several)",
    )


def _add_number(parser: argparse.ArgumentParser, settings: type, option: str, text: str) -> None:
    default = default_of(settings, option[2:].replace("-", "_"))
    parser.add_argument(option, type=int, metavar="N", default=default, help=text)


def _add_numbers(parser: argparse.ArgumentParser, option: str, metavar: str, text: str) -> None:
    default = list(default_of(TableSettings, option[2:]))
    parser.add_argument(option, type=int, nargs="+", metavar=metavar, default=default, help=text)


def _add_options_for(parser: argparse.ArgumentParser, option: str, command: str, example: str) -> None:
    parser.add_argument(
        option, type=shlex.split, metavar="'OPTIONS'", help=f"options for {command}, such as '{example}'"
    )


def run(args: argparse.Namespace, output: Output) -> int:
    """Run one experiment; the exit code is 7 when a cell of a table failed."""
    from sharekit.experiment.experiment_settings import with_features
    from sharekit.experiment.fold_generators import fold_sources
    from sharekit.experiment.stages import check, trained_on
    from sharekit.page.plots import require_matplotlib
    from sharekit.program import umask
    from sharekit.steps.processes import Processes, ending_like_an_interrupt

    # Copies of real pictures, and logs with their names: nobody else on a shared machine should read them.
    umask.make_private()
    settings = with_features(_settings(GeneratorSettings, args))
    tables = None if args.action == GENERATORS else _settings(TableSettings, args, generators=settings)
    processes = Processes()
    with ending_like_an_interrupt():
        split = _split(settings)
        if args.action == FAIR and tables is not None:
            require_matplotlib()
            return _run_fair(args, tables, split, processes, output)
        if tables is not None:
            # Fail before hours of training, not after them.
            require_matplotlib()
            check(tables, split, args.action)
        labels = None if tables is None else trained_on(tables, split, args.action)
        generators = _make_generators(split, fold_sources(split, settings, labels), settings, processes)
        if tables is not None:
            return _run_table(args, tables, split, generators, output)
    output.result({"folds": [_described(fold) for fold in generators]}, *_lines(split, generators))
    return 0


def _settings(kind: type, args: argparse.Namespace, **more: Any) -> Any:
    """Settings from the options with the same names; omitted options keep their defaults."""
    given = vars(args)
    names = [field.name for field in dataclasses.fields(kind) if given.get(field.name) is not None]
    return kind(**{name: _value(name, given[name]) for name in names}, **more)


def _value(name: str, value: Any) -> Any:
    if not isinstance(value, list):
        return value
    # The same arm or seed twice is one cell; the same word twice can belong to two options.
    return tuple(value if name.endswith("_options") else dict.fromkeys(value))


def _split(settings: GeneratorSettings) -> Split:
    from sharekit.experiment.folds import split_data

    with progress.reporter("folds", unit="images") as on_progress:
        return split_data(
            settings.data,
            folds=settings.folds,
            groups=settings.groups,
            count=settings.fold_count,
            seed=settings.choice_seed,
            on_progress=on_progress,
        )


def _make_generators(
    split: Split, sources: Sequence[Sources], settings: GeneratorSettings, processes: Processes
) -> tuple[FoldGenerators, ...]:
    from sharekit.experiment.fold_generators import make_generators

    story = Story(sys.stderr)

    def announce(label: str, step: Step) -> None:
        if step.done:
            return
        story.chapter(f"fold {label}: {step.name}", command=step.command_line)

    return make_generators(split.root, sources, settings, processes, announce)


def _run_table(
    args: argparse.Namespace,
    settings: TableSettings,
    split: Split,
    generators: Sequence[FoldGenerators],
    output: Output,
) -> int:
    from sharekit.experiment.run_table import PAGE, run_table

    keep = args.keep_segmenters
    with (
        _machine(args.address, settings) as machine,
        progress.reporter(args.action, unit="cells") as on_progress,
    ):
        for table in run_table(args.action, settings, split, generators, machine, keep_segmenters=keep):
            done = table.expected - table.waiting
            on_progress(progress.Progress(done, table.expected, values={"failed": len(table.failures)}))
    return _printed(table, settings.generators.out / PAGE, output)


def _run_fair(
    args: argparse.Namespace, settings: TableSettings, split: Split, processes: Processes, output: Output
) -> int:
    from sharekit.experiment.fair_plan import NAME, name_with, read_plan
    from sharekit.experiment.fair_stages import Generators, check_fair
    from sharekit.experiment.run_fair import prepare, run_fair
    from sharekit.experiment.run_table import PAGE

    planned = read_plan(args.plan)
    check_fair(planned.plan, settings, split)
    named = (text.partition("=") for text in args.segmenters)
    segmenters = {name_with(name): tuple(shlex.split(words)) for name, _, words in named}
    prepared = [
        prepare(planned, _with_segmenter(settings, words), split, args.external, name)
        for name, words in (segmenters or {NAME: ()}).items()
    ]
    for each in prepared:
        note = f"{each.registration.registered}, SHA-256 of the plan {planned.sha256}"
        Story(sys.stderr).say(f"{each.name} registered before its first result: {note}")

    def make_generators(sources: Sequence[Sources]) -> Generators:
        made = _make_generators(split, sources, settings.generators, processes)
        return dict(zip(sources, made, strict=True))

    tables = []
    for each in prepared:
        with progress.reporter(each.name, unit="cells") as on_progress:
            for table in run_fair(
                each,
                lambda: _machine(args.address, settings),
                make_generators,
                keep_segmenters=args.keep_segmenters,
            ):
                done = table.expected - table.waiting
                on_progress(progress.Progress(done, table.expected, values={"failed": len(table.failures)}))
        tables.append(table)
    page = settings.generators.out / PAGE
    if len(tables) == 1:
        return _printed(tables[0], page, output)
    lines = [line for table in tables for line in (f"{table.name}:", *_table_lines(table, page))]
    output.result({"tables": [table.to_json() for table in tables], "page": str(page)}, *lines)
    return PartialFailureError.exit_code if any(table.failures for table in tables) else 0


def _with_segmenter(settings: TableSettings, words: tuple[str, ...]) -> TableSettings:
    """The settings with further options for the segmenter, which override the others."""
    return dataclasses.replace(settings, segmenter_options=(*settings.segmenter_options, *words))


def _printed(table: Table, page: Path, output: Output) -> int:
    output.result({**table.to_json(), "page": str(page)}, *_table_lines(table, page))
    return PartialFailureError.exit_code if table.failures else 0


@contextlib.contextmanager
def _machine(address: str | None, settings: TableSettings) -> Iterator[Machine]:
    """This machine, or the cluster at `address`, for the length of the block."""
    from sharekit.experiment.cells import ThisMachine
    from sharekit.steps.processes import Processes, threads_environment

    if address is None:
        yield ThisMachine(Processes(threads_environment(settings.threads)))
        return
    from sharekit.steps.cluster import joined

    with joined(address, settings.threads) as machine:
        yield machine


def _table_lines(table: Table, page: Path) -> list[Any]:
    from rich.text import Text

    from sharekit.experiment.answer import answer
    from sharekit.experiment.fair_answer import fair_answer
    from sharekit.experiment.fair_plan import segmenter_of
    from sharekit.experiment.fair_section import plan_of

    fair = segmenter_of(table.name) is not None
    found = fair_answer(plan_of(table), table.cells) if fair else answer(table.name, table.cells)
    failed = [
        f"failed: {failure.arm}, fold {failure.held} held out, seed {failure.seed}: {failure.reason}"
        for failure in table.failures
    ]
    lines = [*found.reasons, *failed, f"page: {page}"]
    return [_rows(table), Text(found.verdict, style="bold"), *lines]


def _rows(table: Table) -> RichTable:
    from rich.table import Table as RichTable

    from sharekit.experiment.answer import percent, score, signed
    from sharekit.experiment.tables import IOU

    shown = RichTable(
        "R", "trained on", "cells", "IoU", "IoU, last weights", "against real", "of real", "paper", box=None
    )
    for row in table.rows:
        cells = (
            row.images or "",
            row.arm,
            row.cells,
            score(row.best[IOU]),
            f"{row.last[IOU].mean:.3f}",
            "" if row.difference is None else signed(row.difference),
            "" if row.ratio is None else percent(row.ratio),
            "" if row.paper is None else row.paper,
        )
        shown.add_row(*map(str, cells))
    return shown


def _described(fold: FoldGenerators) -> dict[str, Any]:
    return {
        "fold": fold.label,
        "bundle": str(fold.bundle),
        "key": str(fold.key),
        "manifest_sha256": fold.manifest_sha256,
        "images": len(fold.pictures),
        "generators": dict(fold.generators),
        "without_generator": dict(fold.reasons),
    }


def _lines(split: Split, generators: Sequence[FoldGenerators]) -> list[str]:
    lines = []
    for fold in generators:
        lines.append(
            f"fold {fold.label}: {counted(len(split.folds[fold.label]), 'image')}, "
            f"{len(fold.pictures)} trained on, {counted(len(fold.generators), 'generator')} released: "
            f"{fold.bundle}"
        )
        lines += [f"  {name} {reason}" for name, reason in fold.reasons.items()]
    return lines
