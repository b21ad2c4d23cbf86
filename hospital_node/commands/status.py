"""`hospital-node status`: which image is in which state, and why."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharekit.command_line import Output

if TYPE_CHECKING:
    from rich.table import Table

    from hospital_node.ledger import ImageRecord, ImageState

SUMMARY = "show how many images are in which state, and why some failed; works during training"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--node", type=Path, required=True, metavar="NODE", help="the node's folder")


def run(args: argparse.Namespace, output: Output) -> int:
    from rich.markup import escape

    from hospital_node.ledger import ImageState
    from hospital_node.node import Node

    ledger = Node.open(args.node, read_only=True).ledger
    counts = ledger.counts()
    troubled = ledger.records(
        ImageState.REFUSED, ImageState.FAILED, ImageState.QUARANTINED, ImageState.WITHHELD
    )
    if output.form == "json":
        images = [_described(record) for record in ledger.iterate()]
        output.result({"node": str(args.node), "counts": counts, "images": images})
        return 0
    output.result(
        {},
        _counts_table(counts),
        *(escape(f"{record.state}: {_why(record)}") for record in troubled),
        *(escape(f"training: {record.source_image}") for record in ledger.iterate(ImageState.TRAINING)),
    )
    return 0


def _why(record: ImageRecord) -> str:
    # A refusal names its file itself: it may be one of the masks.
    return record.reason if record.state == "refused" else f"{record.source_image}: {record.reason}"


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
