"""`hospital-node releases`: what left the node, when, to whom, and in which state it is."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from sharekit.program import shared_options
from sharekit.program.output import Output

if TYPE_CHECKING:
    from hospital_node.ledger.releases import ReleaseHistory

SUMMARY = "list releases: what left, when, to whom, and whether it was withdrawn"


def configure(parser: argparse.ArgumentParser) -> None:
    shared_options.node(parser)


def run(args: argparse.Namespace, output: Output) -> None:
    from rich.table import Table

    from hospital_node.node.node import Node

    found = Node.open(args.node, read_only=True).ledger.releases.all()
    table = Table("release", "state", "since", "generators", "images", "to", "reason")
    for release in found:
        table.add_row(*_row(release))
    output.result(
        {"releases": [release.to_json() for release in found]},
        table if found else "nothing has left this node",
    )


def _row(release: ReleaseHistory) -> tuple[str, ...]:
    from hospital_node.ledger.releases import ReleaseEvent

    last = release.of(release.state)[-1]
    places = dict.fromkeys(event.content["repository"] for event in release.of(ReleaseEvent.PUBLISHED))
    withdrawn = release.of(ReleaseEvent.WITHDRAWN)
    return (
        str(release.number),
        str(release.state),
        last.time[:10],
        str(len(release.generators)),
        str(release.exported.get("images", "unknown")),
        ", ".join(release.recipients or places),
        withdrawn[-1].content["reason"] if withdrawn else "",
    )
