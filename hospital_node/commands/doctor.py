"""`hospital-node doctor`: check whether training will work here, and what to fix first."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from hospital_node.singan.config import DEFAULT_PROFILE, PROFILES
from sharekit.errors import NodeStateError
from sharekit.program import shared_options
from sharekit.program.output import Output

if TYPE_CHECKING:
    from rich.table import Table

    from hospital_node.doctor.examine import Examination

SUMMARY = "check machine and node before training: versions, GPUs, memory, disk, sockets, clock, rights"

_STYLES = {"passed": "green", "warning": "yellow", "problem": "bold red"}


def configure(parser: argparse.ArgumentParser) -> None:
    shared_options.node(parser, required=False, help="the node's folder (left out: check the machine only)")
    parser.add_argument(
        "--profile", choices=PROFILES, default=DEFAULT_PROFILE, help="settings that memory is estimated for"
    )


def run(args: argparse.Namespace, output: Output) -> int:
    """Print the table; exit code 8 when a problem would stop the work."""
    from hospital_node.doctor.examine import examine

    found = examine(args.node, PROFILES[args.profile])
    output.result({"profile": args.profile, **found.to_json()}, _table(found))
    if found.problems:
        names = ", ".join(check.name for check in found.problems)
        raise NodeStateError(
            args.node or "this machine",
            expected="every check passed",
            found=f"{len(found.problems)} of {len(found.checks)} with a problem: {names}",
            next_step="fix them as the table says, and run the same command again",
        )
    return 0


def _table(found: Examination) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table("check", "outcome", "found, and how to fix it", box=None)
    for check in found.checks:
        outcome = Text(check.outcome.upper(), style=_STYLES[check.outcome])
        table.add_row(check.name, outcome, check.found + (f"\n→ {check.fix}" if check.fix else ""))
    return table
