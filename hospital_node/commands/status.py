"""`hospital-node status`: show the states of images and generators, and how far training is."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from sharekit.program import shared_options
from sharekit.program.output import Output
from sharekit.program.phrases import counted

if TYPE_CHECKING:
    from rich.table import Table

    from hospital_node.ledger.states import ImageRecord
    from hospital_node.pool.live import Found
    from hospital_node.pool.node_status import GeneratorStatus, NodeStatus

SUMMARY = "show images and generators by state, why some failed, and how far training is, while it runs"
SOURCES = 3
"""Images named for each generator, unless `--all` names all of them."""


def configure(parser: argparse.ArgumentParser) -> None:
    shared_options.node(parser)
    parser.add_argument(
        "--all",
        action="store_true",
        help="name every image and generator, not only the first few in training or in trouble",
    )


def run(args: argparse.Namespace, output: Output) -> None:
    from hospital_node.node.node import Node
    from hospital_node.pool.node_status import node_status

    status = node_status(Node.open(args.node, read_only=True), every=args.all)
    shown = None if args.all else SOURCES
    behind = {image for generator in status.named_generators for image in generator.record.images}
    output.result(
        status.to_json(),
        _images_table(status),
        *([_generators_table(status)] if any(status.generators.values()) else []),
        *_training_lines(status.training),
        *(_image_line(record) for record in status.named_images if record.id not in behind),
        *(_generator_line(generator, shown) for generator in status.named_generators),
        *(f"{state}: {count} more, named with --all" for state, count in status.left_out.items()),
    )


def _training_lines(training: Found | None) -> list[str]:
    from hospital_node.pool.live import Liveness
    from sharekit.program.progress import duration

    if training is None:
        return ["no training runs now"]
    status = training.status
    process = f"process {status.pid} on {status.host}, profile {status.profile}"
    heard = f"last heard of {duration(training.age)} ago"
    if training.liveness is Liveness.DIED:
        return [
            f"no training runs now: the last one ({process}) ended without a word, {heard}; "
            "`hospital-node train` goes on with it"
        ]
    head = f"training: {process}, {heard}"
    if training.liveness is Liveness.SILENT:
        head += "; it may hang: look at the process before ending it"
    memory = "" if status.worker_memory is None else f", workers hold {status.worker_memory / 2**30:.2g} GiB"
    per_hour = "-" if status.generators_per_hour is None else f"{status.generators_per_hour:g}"
    return [
        head,
        f"{status.done_percent:g} % of {counted(status.generators, 'generator')}, "
        f"{duration(status.eta_seconds)} left; "
        f"{status.iterations_per_second:g} iterations/s, {per_hour} generators/h{memory}",
        *(f"  {running.describe()}" for running in status.running),
    ]


def _image_line(record: ImageRecord) -> str:
    # A refusal names its file itself: it may be one of the masks.
    return f"{record.state}: {record.reason or f'{record.source} ({record.id})'}"


def _generator_line(generator: GeneratorStatus, shown: int | None) -> str:
    """One line that names up to `shown` sources, or all of them when `shown` is None."""
    record, count = generator.record, len(generator.sources)
    names = [*generator.sources[:shown], *([] if shown is None or count <= shown else ["…"])]
    line = f"{record.state}: {record.id}, {counted(count, 'image')} ({', '.join(names)})"
    if record.releases:
        line += f", in release {', '.join(map(str, record.releases))}"
    return f"{line}: {record.reason}" if record.reason else line


def _images_table(status: NodeStatus) -> Table:
    from rich.table import Table

    table = Table("state", "images")
    for state, count in status.images.items():
        if count:
            table.add_row(state, str(count))
    table.add_row("all", str(sum(status.images.values())), style="bold")
    return table


def _generators_table(status: NodeStatus) -> Table:
    from rich.table import Table

    table = Table("state", "generators", "images behind them")
    for state, count in status.generators.items():
        if count:
            table.add_row(state, str(count), str(status.images_behind[state]))
    total = str(sum(status.generators.values())), str(sum(status.images_behind.values()))
    table.add_row("all", *total, style="bold")
    return table
