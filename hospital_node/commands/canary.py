"""`hospital-node canary`: plant a pattern in a trial node, for the audit to find."""

from __future__ import annotations

import argparse
from pathlib import Path

from sharekit.program import shared_options
from sharekit.program.arguments import whole_number
from sharekit.program.output import Output
from sharekit.program.phrases import counted, next_command

SUMMARY = "copy pictures into a trial node and plant a pattern in one, which its audit has to find again"


def configure(parser: argparse.ArgumentParser) -> None:
    shared_options.node(parser)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="TRIAL", help="folder of the trial node, new or empty"
    )
    parser.add_argument(
        "--images",
        type=whole_number(least=1),
        metavar="N",
        default=1,
        help="number of pictures to copy; the first gets the pattern",
    )
    shared_options.seed(parser, 0, "choice of pictures, pattern and its place")


def run(args: argparse.Namespace, output: Output) -> None:
    from hospital_node.audit.canaries import plant_canary
    from hospital_node.node.node import Node

    trial = plant_canary(Node.open(args.node), args.out, images=args.images, seed=args.seed)
    height, width = trial.size
    output.result(
        trial.to_json(),
        f"trial node: {counted(trial.images, 'picture')} of {width}x{height} pixels, a pattern in the copy of"
        f" {trial.marked}",
        "nothing may leave this node; remove its folder after the trial",
        next_command("hospital-node", "train", "--node", trial.root, "--profile", "quick"),
    )
