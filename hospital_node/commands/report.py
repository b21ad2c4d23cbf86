"""`hospital-node report`: the hospital's own page, with real images in it; it never leaves the node."""

from __future__ import annotations

import argparse

from sharekit.program import shared_options
from sharekit.program.arguments import show_first_name
from sharekit.program.output import Output

SUMMARY = "write a page of sources, samples, audit figures and states, inside the node only"


def configure(parser: argparse.ArgumentParser) -> None:
    shared_options.node(parser)
    file = parser.add_argument(
        *("--file", "--name"),
        metavar="NAME.html",
        default="report.html",
        help="file name in the node's reports folder",
    )
    show_first_name(file)


def run(args: argparse.Namespace, output: Output) -> None:
    from hospital_node.node.node import Node
    from hospital_node.report.node_report import write_report

    path = write_report(Node.open(args.node), args.file)
    output.result(
        {"report": str(path)},
        f"report  {path}  (contains real images: keep it in the node)",
    )
