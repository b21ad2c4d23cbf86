"""Shell completion of commands and options, which shtab makes from the parser."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sharekit.errors import missing_package
from sharekit.program.arguments import Parser

NAME = "completion"
SUMMARY = "print a script that completes this program's commands and options in a shell"
HINT = 'completion in a shell: eval "$({program} completion bash)", or zsh'
SHELLS = ("bash", "zsh")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS, help="the shell that reads the script")


def script(parser: Parser, shell: str) -> str:
    """The completion script of a program.

    Raises:
        DependencyError: shtab is not installed.
    """
    try:
        import shtab
    except ImportError:
        raise missing_package("shtab", "completion") from None
    _complete_paths(parser, shtab.FILE)
    return str(shtab.complete(parser, shell))


def command(parser: Parser) -> Callable[[argparse.Namespace, Any], int]:
    """The `run` function of this command for the program of `parser`."""

    def run(args: argparse.Namespace, _output: Any) -> int:
        sys.stdout.write(script(parser, args.shell))
        return 0

    return run


def _complete_paths(parser: Parser, files: Any) -> None:
    for action in parser.arguments():
        if action.type is Path:
            action.complete = files  # type: ignore[attr-defined]
    for sub in parser.sub_commands().values():
        _complete_paths(sub, files)
