"""`hospital-node report`: the hospital's own page, with real images in it; it never leaves the node."""

from __future__ import annotations

import argparse
from pathlib import Path

from sharekit.program.command_line import Output

SUMMARY = "write a page of sources beside samples, audit figures and states, inside the node only"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--node", type=Path, required=True, help="the node's folder")
    parser.add_argument("--name", default="report.html", help="file name in the node's reports folder")


def run(args: argparse.Namespace, output: Output) -> None:
    from rich.markup import escape

    from hospital_node.node.node import Node
    from hospital_node.report import write_report

    path = write_report(Node.open(args.node), args.name)
    output.result(
        {"report": str(path)},
        f"report  {escape(str(path))}  (contains real images: keep it in the node)",
    )
