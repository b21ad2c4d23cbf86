"""The program `consumer`: sample, style and validate synthetic data sets from a verified bundle."""

from __future__ import annotations

from collections.abc import Sequence

from consumer.commands import report, sample, style, submit, train, validate
from sharekit.program import command_line

DESCRIPTION = "Draw, style and validate synthetic data sets from a bundle and a pinned key."
COMMANDS = {
    "sample": sample,
    "style": style,
    "validate": validate,
    "train": train,
    "submit": submit,
    "report": report,
}


def main(argv: Sequence[str] | None = None) -> int:
    return command_line.main("consumer", DESCRIPTION, COMMANDS, argv)
