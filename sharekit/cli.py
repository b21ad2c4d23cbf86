"""The program `sharekit`: keys, verification and the demo."""

from __future__ import annotations

from collections.abc import Sequence

from sharekit.commands import demo, experiment, inspect, keys, verify
from sharekit.program import command_line

DESCRIPTION = "Keys, verification and inspection of bundles, and a demonstration of both sides."
COMMANDS = {"keys": keys, "verify": verify, "inspect": inspect, "demo": demo, "experiment": experiment}


def main(argv: Sequence[str] | None = None) -> int:
    return command_line.main("sharekit", DESCRIPTION, COMMANDS, argv)
