"""The program `sharekit`: keys, trust, verification, repositories and the demo."""

from __future__ import annotations

from collections.abc import Sequence

from sharekit.commands import demo, experiment, inspect, keys, repository, trust, verify
from sharekit.program import command_line

DESCRIPTION = "Keys, trust, verification of bundles, repositories, and a demonstration of both sides."
COMMANDS = {
    "keys": keys,
    "trust": trust,
    "verify": verify,
    "inspect": inspect,
    "repository": repository,
    "demo": demo,
    "experiment": experiment,
}


def main(argv: Sequence[str] | None = None) -> int:
    return command_line.main("sharekit", DESCRIPTION, COMMANDS, argv)
