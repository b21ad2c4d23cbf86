"""`hospital-node erase`: images and all that learnt from them leave the node, for good."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sharekit.program import shared_options
from sharekit.program.output import Output, ask, check_somebody_answers, warning_text
from sharekit.program.phrases import command_line, counted

if TYPE_CHECKING:
    from rich.console import RenderableType

    from hospital_node.ledger.generators import GeneratorRecord
    from hospital_node.ledger.states import ImageRecord

SUMMARY = "show images or a patient with every generator that learnt from them, ask, and erase them for good"


def configure(parser: argparse.ArgumentParser) -> None:
    shared_options.node(parser)
    shared_options.images_or_patient(parser)
    parser.add_argument("--yes", action="store_true", help="erase without asking, for scripts")


def run(args: argparse.Namespace, output: Output) -> None:
    from hospital_node.node.erasure import erase
    from hospital_node.node.find_images import find_images
    from hospital_node.node.node import Node

    check_somebody_answers(args.yes, "read `hospital-node where`, then add --yes to the same command")
    node = Node.open(args.node)
    images = find_images(node, args.image, args.patient)

    def confirm(generators: Sequence[GeneratorRecord]) -> None:
        if not args.yes:
            ask(
                "Do you erase all of this for good?",
                *_shown(images, generators),
                next_step="nothing was erased; the same command asks again",
            )

    done = erase(node, images, confirm=confirm)
    withdrawn = node.ledger.releases.withdrawn()
    output.result(
        done.to_json(),
        f"erased: {counted(done.images, 'image')}, {counted(len(done.generators), 'generator')}",
        *(_outside(number, number in withdrawn, args.node) for number in done.releases),
        "the data folder and backups are not the node's: remove the files there, or the next ingest takes "
        "them in again",
    )


def _outside(number: int, withdrawn: bool, node: Path) -> str:
    """What is to be done about a release that holds one of the erased generators."""
    if withdrawn:
        return f"release {number} holds what learnt from them; it is withdrawn already"
    command = command_line("hospital-node", "withdraw", number, "--node", node, "--reason", "TEXT")
    return f"release {number} holds what learnt from them, and is outside already. To take it back: {command}"


def _shown(images: Sequence[ImageRecord], generators: Sequence[GeneratorRecord]) -> Iterator[RenderableType]:
    """Everything that goes, and what stays outside."""
    goes = {image.id for image in images}
    yield f"{counted(len(images), 'image')} and {counted(len(generators), 'generator')} will be erased"
    for image in images:
        yield f"image {image.id}: {image.source}, {image.state}"
    for one in generators:
        others = len(set(one.images) - goes)
        shared = f"; it also learnt from {counted(others, 'other image')}" if others else ""
        released = f"; release {', '.join(map(str, one.releases))} holds it" if one.releases else ""
        line = f"generator {one.id}: {one.state}{shared}{released}"
        yield warning_text(line) if one.releases else line
