"""`hospital-node status`: which image is in which state, and why, and how far training is."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharekit.program.command_line import Output

if TYPE_CHECKING:
    from rich.table import Table

    from hospital_node.ledger.ledger import ImageRecord, ImageState, Ledger
    from hospital_node.pool.live import Found

SUMMARY = "show which images are in which state, why some failed, and how far training is, while it runs"
SHOWN = 20
"""Images of one state that are named without --all."""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--node", type=Path, required=True, metavar="NODE", help="the node's folder")
    parser.add_argument(
        "--all",
        action="store_true",
        help=f"name every image, not only the first {SHOWN} of those in training or in trouble",
    )


def run(args: argparse.Namespace, output: Output) -> int:
    from hospital_node.node.node import Node
    from hospital_node.pool import live

    node = Node.open(args.node, read_only=True)
    counts = node.ledger.counts()
    records, left_out = _records(node.ledger, counts, every=args.all)
    training = live.look(node.root / live.NAME)
    data = {
        "node": str(args.node),
        "counts": counts,
        "training": None if training is None else training.to_json(),
        "images": [_described(record) for record in records],
        "left_out": left_out,
    }
    output.result(
        data,
        _counts_table(counts),
        *_training_lines(training),
        *(f"{record.state}: {_why(record)}" for record in records),
        *(f"{state}: {count} more, named with --all" for state, count in left_out.items()),
    )
    return 0


def _records(
    ledger: Ledger, counts: Mapping[ImageState, int], *, every: bool
) -> tuple[list[ImageRecord], dict[str, int]]:
    """The images to name, failures last, where a reader's eye ends; and how many of a state are left out."""
    from hospital_node.ledger.ledger import ImageState

    if every:
        return ledger.records(), {}
    named = (
        ImageState.TRAINING,
        ImageState.WITHHELD,
        ImageState.REFUSED,
        ImageState.QUARANTINED,
        ImageState.FAILED,
    )
    records = [record for state in named for record in islice(ledger.iterate(state), SHOWN)]
    return records, {str(state): counts[state] - SHOWN for state in named if counts[state] > SHOWN}


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
    per_hour = "-" if status.images_per_hour is None else f"{status.images_per_hour:g}"
    return [
        head,
        f"{status.done_percent:g} % of {status.images} images, ETA {duration(status.eta_seconds)}; "
        f"{status.iterations_per_second:g} iterations/s, {per_hour} images/h{memory}",
        *(f"  {running.describe()}" for running in status.running),
    ]


def _why(record: ImageRecord) -> str:
    # A refusal names its file itself: it may be one of the masks.
    if record.state == "refused" or not record.reason:
        return record.reason or f"{record.source_image} ({record.id})"
    return f"{record.source_image}: {record.reason}"


def _described(record: ImageRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "state": record.state,
        "reason": record.reason,
        "attempts": record.attempts,
        "generator": record.generator_id,
        "source_image": record.source_image,
        "source_masks": record.source_masks,
        "height": record.height,
        "width": record.width,
        "image_channels": record.image_channels,
        "mask_classes": record.mask_classes,
        "updated": record.updated,
    }


def _counts_table(counts: Mapping[ImageState, int]) -> Table:
    from rich.table import Table

    table = Table("state", "images")
    for state, count in counts.items():
        if count:
            table.add_row(state, str(count))
    table.add_row("all", str(sum(counts.values())), style="bold")
    return table
