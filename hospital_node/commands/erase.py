"""`hospital-node erase`: images and all that learnt from them leave the node, for good."""

from __future__ import annotations

import argparse

from sharekit.program import shared_options
from sharekit.program.output import Output
from sharekit.program.phrases import counted

SUMMARY = "erase images or a patient: pixels, names, and every generator that learnt from them, for good"


def configure(parser: argparse.ArgumentParser) -> None:
    shared_options.node(parser)
    shared_options.images_or_patient(parser)


def run(args: argparse.Namespace, output: Output) -> None:
    from hospital_node.node.erasure import erase
    from hospital_node.node.find_images import find_images
    from hospital_node.node.node import Node

    node = Node.open(args.node)
    done = erase(node, find_images(node, args.image, args.patient))
    output.result(
        done.to_json(),
        f"erased: {counted(done.images, 'image')}, {counted(len(done.generators), 'generator')}",
        *(
            f"release {number} holds what learnt from them: it is outside already, so withdraw that release"
            for number in done.releases
        ),
        "the data folder and backups are not the node's: remove the files there, or the next ingest takes "
        "them in again",
    )
