"""`hospital-node history`: who did what with this node, and when."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharekit.program import shared_options
from sharekit.program.output import Output
from sharekit.program.phrases import counted

if TYPE_CHECKING:
    from rich.table import Table

    from hospital_node.node.history import Entry

SUMMARY = "show who did what with this node and when, or check that nobody changed this record"
LONG = {"signed", "policy", "before", "together"}
"""Facts that the table leaves out."""


def configure(parser: argparse.ArgumentParser) -> None:
    shared_options.node(parser)
    parser.add_argument(
        "--verify", action="store_true", help="find an entry that was changed, removed or cut off"
    )
    parser.add_argument(
        "--bundle",
        type=Path,
        action="append",
        default=[],
        metavar="BUNDLE",
        help="a bundle of this node, whose place in the history is checked too; repeat it for more",
    )


def run(args: argparse.Namespace, output: Output) -> None:
    from hospital_node.node import history
    from hospital_node.node.node import Node

    node = Node.open(args.node, read_only=True)
    checked: dict[str, Any] = {}
    lines = []
    if args.verify or args.bundle:
        carried = _carried(args.bundle)
        number = history.verify(node, carried)
        checked = {"verified": True, "bundles": list(carried)}
        lines.append(f"nothing was changed, removed or cut off: {counted(number, 'entry', 'entries')}")
        lines += [f"{path}: released after entry {last}" for path, (last, _) in carried.items()]
    entries = list(history.entries(node))
    last, code = history.head(node)
    output.result(
        {
            "entries": [{"number": number, **entry.to_json()} for number, entry in entries],
            "head": {"number": last, "code": code},
            **checked,
        },
        *([] if args.verify else [_table(entries)]),
        *lines,
        f"head: entry {last}, {code}",
    )


def _carried(bundles: list[Path]) -> dict[str, tuple[int, str]]:
    if not bundles:
        return {}
    # Loads torch, which takes seconds.
    from hospital_node.release.provenance import carried_history

    return {str(path): carried_history(path) for path in bundles}


def _table(entries: list[tuple[int, Entry]]) -> Table:
    from rich.table import Table

    table = Table("entry", "time", "what", "by", "facts", box=None, header_style="bold")
    for number, entry in entries:
        facts = ", ".join(
            f"{name} {_words(value)}" for name, value in entry.facts.items() if name not in LONG
        )
        table.add_row(str(number), entry.time[:19], str(entry.action), entry.by, facts)
    return table


def _words(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "; ".join(map(_words, value)) or "none"
    return json.dumps(value, ensure_ascii=False)
