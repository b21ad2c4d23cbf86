"""The program `consumer`: pull bundles, and sample, style and validate synthetic data sets."""

from __future__ import annotations

from collections.abc import Sequence

from consumer.commands import catalogue, decrypt, pull, report, sample, style, submit, train, validate
from sharekit.program import command_line

DESCRIPTION = "Pull bundles; draw, style and validate synthetic data sets from a bundle and a pinned key."
COMMANDS = {
    "pull": pull,
    "catalogue": catalogue,
    "decrypt": decrypt,
    "sample": sample,
    "style": style,
    "validate": validate,
    "train": train,
    "submit": submit,
    "report": report,
}


def main(argv: Sequence[str] | None = None) -> int:
    return command_line.main("consumer", DESCRIPTION, COMMANDS, argv)
