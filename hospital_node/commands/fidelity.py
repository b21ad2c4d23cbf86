"""`hospital-node fidelity`: samples against the real images, beside real against real; it never leaves."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from hospital_node.fidelity.fidelity_settings import FidelitySettings
from sharekit.program.command_line import Output

if TYPE_CHECKING:
    from rich.table import Table

    from hospital_node.fidelity.fidelity_report import FidelityReport

SUMMARY = "hold samples against the real images, beside real against real; for the report inside the node"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--node", type=Path, required=True, help="the node's folder")
    parser.add_argument(
        "--samples", type=int, metavar="N", default=FidelitySettings.samples, help="of each generator"
    )
    parser.add_argument(
        "--seed", type=int, default=FidelitySettings.seed, help="of samples, halves and bootstrap"
    )
    parser.add_argument(
        "--features",
        type=Path,
        metavar="FILE",
        help="weights of the feature network (Inception 2015-12-05, safetensors); otherwise what"
        " SHAREKIT_INCEPTION names; without them the figures that need them are left out",
    )
    parser.add_argument("--threads", type=int, metavar="T", help="otherwise every core of this process")


def run(args: argparse.Namespace, output: Output) -> None:
    import torch
    from rich.markup import escape

    from hospital_node.fidelity import inception
    from hospital_node.fidelity.fidelity_words import BIAS, HALVES, basis, figure_in_words
    from hospital_node.fidelity.measure_node import measure, write
    from hospital_node.node.node import Node
    from sharekit.errors import UsageError
    from sharekit.program.processors import free_processors
    from sharekit.program.progress import reporter

    if args.threads is not None and args.threads < 1:
        raise UsageError(
            "--threads", expected="at least 1", found=str(args.threads), next_step="leave it out"
        )
    torch.set_num_threads(args.threads or free_processors())
    node = Node.open(args.node)
    weights = args.features or inception.find()
    network = None if weights is None else inception.load(weights)
    settings = FidelitySettings(samples=args.samples, seed=args.seed)
    with reporter("fidelity", unit="generators") as on_progress:
        report = measure(node, network, settings, on_progress=on_progress)
    path = write(node, report)
    output.result(
        {"fidelity": str(path), **report.to_json()},
        _table(report),
        *(escape(figure_in_words(found)) for found in report.figures),
        *(escape(f"missing: {line}") for line in report.missing),
        *(escape(f"left out: {name[:8]}: {reason}") for name, reason in report.left_out.items()),
        escape(f"{basis(report)}. {HALVES} {BIAS}"),
        f"{escape(str(path))}  (stays in the node; `hospital-node report` shows it)",
    )


def _table(report: FidelityReport) -> Table:
    from rich.table import Table

    from hospital_node.fidelity.fidelity_report import Better
    from hospital_node.fidelity.fidelity_words import verdict

    table = Table(box=None, header_style="bold")
    for title in (
        "figure (↓ lower, ↑ higher is better)",
        "real against real",
        "samples against real",
        "samples are",
    ):
        table.add_column(title, overflow="fold")
    for found in report.comparisons:
        arrow = "↓" if found.better is Better.LOWER else "↑"
        table.add_row(f"{arrow} {found.name}", str(found.floor), str(found.samples), verdict(found))
    return table
