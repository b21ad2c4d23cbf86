"""`hospital-node ingest`: a folder of images and masks into the node."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from sharekit.program import progress, shared_options
from sharekit.program.output import Output
from sharekit.program.phrases import next_command

if TYPE_CHECKING:
    from rich.table import Table

    from hospital_node.intake.ingest import Refusal

SUMMARY = "take a folder of images and masks into a node, made when it is not there"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder with images/ and masks/ (or masks/CLASS/): PNG, JPEG or TIFF, paired by name",
    )
    shared_options.node(parser)
    parser.add_argument(
        "--hospital", metavar="NAME", help="name that bundles will carry; fixed when the node is made"
    )
    parser.add_argument(
        "--hold-out",
        action="store_true",
        help="keep these images for the evaluation of segmenters; nothing is ever trained on them",
    )
    progress.configure(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Exit 0 when something usable is in the node, whatever was refused; 3 when nothing of the folder is."""
    from hospital_node.intake import ingest
    from hospital_node.intake.pairing import list_files
    from hospital_node.node.node import Node
    from sharekit.errors import InputError

    # A wrong --data must not leave an empty node behind.
    list_files(args.data)
    node = Node.create_or_open(args.node, args.hospital)
    with progress.reporter("ingest", unit="images") as on_progress:
        report = ingest(args.data, node, on_progress, hold_out=args.hold_out)
    verb, following = ("held out", ("evaluate", "SUBMISSION")) if args.hold_out else ("ingested", ("train",))
    output.result(
        {"node": str(args.node), "hospital": node.hospital, "hold_out": args.hold_out, **report.to_json()},
        f"{report.ingested} {verb}, {report.known} known already, {len(report.refused)} refused",
        *([_table(report.refused)] if report.refused else []),
        *(f"skipped: {path}" for path in report.skipped),
        *([next_command("hospital-node", *following, "--node", args.node)] if report.usable else []),
    )
    if not report.usable:
        raise InputError(
            args.data,
            expected="at least one usable pair of an image and its masks",
            found=f"none; {len(report.refused)} refused",
            next_step="correct what the list of refusals says, then ingest again",
        )
    return 0


def _table(refusals: Iterable[Refusal]) -> Table:
    from rich.table import Table

    table = Table("refused", "expected", "found", "next")
    for refusal in refusals:
        table.add_row(refusal.path, refusal.expected, refusal.found, refusal.next_step)
    return table
