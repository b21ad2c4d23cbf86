"""`hospital-node doctor`: will training work here, and what has to be mended first?"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from hospital_node.singan.config import DEFAULT_PROFILE, PROFILES
from sharekit.errors import NodeStateError
from sharekit.program.command_line import Output

if TYPE_CHECKING:
    from rich.table import Table

    from hospital_node.doctor.examine import Examination

SUMMARY = "check machine and node before training: versions, GPUs, memory, disk, sockets, clock, rights"

_STYLES = {"passed": "green", "warning": "yellow", "problem": "bold red"}


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--node", type=Path, metavar="NODE", help="the node's folder (left out: the machine alone)"
    )
    parser.add_argument(
        "--profile", choices=PROFILES, default=DEFAULT_PROFILE, help="settings that memory is estimated for"
    )


def run(args: argparse.Namespace, output: Output) -> int:
    """Print the table; exit code 8 when a problem would stop the work."""
    from hospital_node.doctor.examine import examine

    found = examine(args.node, PROFILES[args.profile])
    data = {
        "profile": args.profile,
        "memory_per_image": found.needs.memory,
        "checks": [check.to_json() for check in found.checks],
        "problems": len(found.problems),
    }
    output.result(data, _table(found))
    if found.problems:
        names = ", ".join(check.name for check in found.problems)
        raise NodeStateError(
            args.node or "this machine",
            expected="every check passed",
            found=f"{len(found.problems)} of {len(found.checks)} with a problem: {names}",
            next_step="mend them as the table says, and run the same command again",
        )
    return 0


def _table(found: Examination) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table("check", "outcome", box=None)
    table.add_column("found, and how to fix it", overflow="fold")
    for check in found.checks:
        text = escape(check.found) + (f"\n→ {escape(check.fix)}" if check.fix else "")
        outcome = check.outcome.upper()
        table.add_row(check.name, f"[{_STYLES[check.outcome]}]{outcome}[/]", text)
    return table
