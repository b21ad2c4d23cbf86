"""`hospital-node review`: what a person decides about text and graphics that intake is unsure about."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from sharekit.program import shared_options
from sharekit.program.output import Output, warning_text

if TYPE_CHECKING:
    from rich.console import RenderableType

SUMMARY = "show text and graphics in pictures before and after, and decide about the doubtful ones"


def configure(parser: argparse.ArgumentParser) -> None:
    shared_options.node(parser)
    parser.add_argument(
        "images", nargs="*", metavar="IMAGE", help="identifiers of pictures to decide about (left out: all)"
    )
    decision = parser.add_mutually_exclusive_group()
    decision.add_argument(
        "--accept", action="store_true", help="paint over the doubtful regions too, and take the pictures"
    )
    decision.add_argument(
        "--keep", action="store_true", help="leave the doubtful regions as they are, and take the pictures"
    )
    decision.add_argument("--refuse", action="store_true", help="do not take the pictures")


def run(args: argparse.Namespace, output: Output) -> None:
    """Without a decision, write the page of pictures before and after into the node."""
    from hospital_node.intake.review import decide_review, waiting
    from hospital_node.node.node import Node
    from hospital_node.overlays.outcome import Ruling
    from hospital_node.report.overlay_page import write_overlay_page
    from sharekit.errors import UsageError

    node = Node.open(args.node)
    decided = args.accept or args.keep or args.refuse
    if args.images and not decided:
        raise UsageError(
            "IMAGE",
            expected="a decision about it",
            found="none",
            next_step="add --accept, --keep or --refuse",
        )
    if not decided:
        path, page = write_overlay_page(node)
        left = waiting(node)
        output.result(
            {
                "page": str(path),
                "waiting": [{**one.record.to_json(), "overlays": one.overlays.to_json()} for one in left],
                "painted": page.painted,
                "kept": page.kept,
                "unknown": page.unknown,
            },
            f"page  {path}  (contains real images: keep it in the node, and remove it when you are done)",
            f"{page.painted} painted over, {len(left)} wait for you",
            *(warning_text(f"{one.record.id}  {one.record.source}: {one.record.reason}") for one in left),
        )
        return
    ruling = None if args.refuse else Ruling.PAINT if args.accept else Ruling.KEEP
    images = args.images or [one.record.id for one in waiting(node)]
    folders = sorted({node.ledger.get(image).data_dir for image in images})
    decide_review(node, images, ruling)
    output.result({"decided": images, "decision": str(ruling or "refuse")}, *_words(images, ruling, folders))


def _words(images: list[str], ruling: object, folders: list[str]) -> Iterator[RenderableType]:
    yield f"{len(images)} decided: {ruling or 'refused'}"
    if ruling is not None:
        yield from (f"next: ingest {folder} again, with the options of the first time" for folder in folders)
