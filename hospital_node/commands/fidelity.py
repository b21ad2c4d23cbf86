"""`hospital-node fidelity`: how samples compare with real images; the result never leaves."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from hospital_node.fidelity.fidelity_settings import FidelitySettings
from sharekit.program import progress, shared_options
from sharekit.program.arguments import show_first_name, whole_number
from sharekit.program.output import Output

if TYPE_CHECKING:
    from rich.table import Table

    from hospital_node.fidelity.fidelity_report import FidelityReport

SUMMARY = "compare samples with the real images, and real with real; for the report inside the node"


def configure(parser: argparse.ArgumentParser) -> None:
    shared_options.node(parser)
    parser.add_argument(
        "--samples",
        type=whole_number(),
        metavar="N",
        default=FidelitySettings.samples,
        help="samples to draw from each generator",
    )
    shared_options.seed(parser, FidelitySettings.seed, "samples, halves and bootstrap")
    weights = parser.add_argument(
        *("--inception", "--features"),
        type=Path,
        metavar="FILE",
        help="weights of Inception 2015-12-05, safetensors (left out: what SHAREKIT_INCEPTION names; without"
        " them the figures that need them are left out)",
    )
    show_first_name(weights)
    shared_options.threads(parser)
    progress.configure(parser)


def run(args: argparse.Namespace, output: Output) -> None:
    import torch

    from hospital_node.fidelity import inception
    from hospital_node.fidelity.fidelity_words import BIAS, HALVES, basis, figure_in_words
    from hospital_node.fidelity.measure_node import measure, write
    from hospital_node.node.node import Node
    from sharekit.program.processors import free_processors

    torch.set_num_threads(args.threads or free_processors())
    node = Node.open(args.node)
    weights = args.inception or inception.find()
    network = None if weights is None else inception.load(weights)
    settings = FidelitySettings(samples=args.samples, seed=args.seed)
    with progress.reporter("fidelity", unit="generators") as on_progress:
        report = measure(node, network, settings, on_progress=on_progress)
    path = write(node, report)
    output.result(
        {"fidelity": str(path), **report.to_json()},
        _table(report),
        *(figure_in_words(found) for found in report.figures),
        *(f"missing: {line}" for line in report.missing),
        *(f"left out: {name[:8]}: {reason}" for name, reason in report.left_out.items()),
        f"{basis(report)}. {HALVES} {BIAS}",
        f"{path}  (stays in the node; `hospital-node report` shows it)",
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
        table.add_column(title)
    for found in report.comparisons:
        arrow = "↓" if found.better is Better.LOWER else "↑"
        table.add_row(f"{arrow} {found.name}", str(found.floor), str(found.samples), verdict(found))
    return table
