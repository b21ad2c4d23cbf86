"""The frame of the three programs: sub-commands, `--format`, and errors without tracebacks.

A sub-command is a module with `SUMMARY`, `configure(parser)` and `run(args, output)`, and with
`GOES_ON = True` if an interrupted run resumes when it is started again. It imports heavy packages inside
`run`, so that `--help` is quick and a missing extra only affects the commands that need it.
"""

from __future__ import annotations

import argparse
import contextlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

from sharekit import __version__
from sharekit.errors import INTERRUPTED_EXIT_CODE
from sharekit.program import completion, faults, progress, umask
from sharekit.program.arguments import Parser, thread_count, wanted_form
from sharekit.program.caches import caches_removed
from sharekit.program.output import (
    STANDARD_OUTPUT,
    Output,
    console_for,
    print_error,
    replace_what_a_terminal_cannot_show,
    show,
)

__all__ = ["Output", "add_output_options", "build_parser", "default_of", "main", "thread_count"]

EXIT_CODES = """exit codes:
  0  done
  1  a fault of the program: please report it
  2  wrong usage
  3  a file or folder is missing, broken, of the wrong kind, or cannot be written
  4  verification failed: do not use the file
  5  policy, audit or approval does not allow it
  6  an optional package, device or weights file is missing
  7  done for some images, failed for others
  8  the node or this machine is not in the state that the command needs
  9  something real or something listening was found: stopped
  130  interrupted; run the same command again to go on"""

_PLACES = ("out", "node", "dataset", "bundle")
"""Options that say where a command works; a disk error without a file name is attributed to one of them."""


def default_of(function: Callable[..., Any], parameter: str) -> Any:
    """The default of a parameter in an API's signature, so that an option's default cannot drift from it."""
    return inspect.signature(function).parameters[parameter].default


def main(
    program: str,
    description: str,
    commands: Mapping[str, ModuleType],
    argv: Sequence[str] | None = None,
    *,
    extra: str | None = None,
    private: bool = False,
    require: Callable[[], None] = lambda: None,
) -> int:
    """Parse `argv`, run one sub-command and return the exit code.

    Args:
        extra: the extra to install when a command imports a missing package.
        private: whether nobody else may read the files that the program writes.
        require: raises a `SharekitError` if no command of the program can work on this machine.
    """
    if private:
        umask.make_private()
    replace_what_a_terminal_cannot_show()
    given = sys.argv[1:] if argv is None else argv
    # Used if parsing fails: it loads the commands' defaults.
    args = argparse.Namespace(command="", format=wanted_form(given), verbose="--verbose" in given)
    try:
        require()
        # The options of other commands would load their packages: half of the time that a short one takes.
        parser = build_parser(program, description, commands, only=next(iter(given), None))
        args = parser.parse_args(given)
        run = commands[args.command].run if args.command in commands else completion.command(parser)
        progress.use(getattr(args, "progress", progress.AUTO))
        with caches_removed():
            code: int = run(args, Output(args.format)) or 0
        return code
    except KeyboardInterrupt as interruption:
        goes_on = getattr(commands.get(args.command), "GOES_ON", False)
        again = "run the same command again" + (" to go on" if goes_on else ", from the beginning")
        # A command for which this is wrong says so in the exception.
        show(console_for(sys.stderr), str(interruption) or f"interrupted; {again}")
        return INTERRUPTED_EXIT_CODE
    except BrokenPipeError:
        _drop_output()
        return 0
    except Exception as error:
        if args.verbose:
            traceback.print_exc()
        place = next((found for name in _PLACES if (found := getattr(args, name, None))), None)
        if isinstance(error, OSError) and error.filename == STANDARD_OUTPUT:
            _drop_output()
        told = faults.explain(error, f"{program} {args.command}".rstrip(), place, extra)
        print_error(told, args.format)
        return told.exit_code


def _drop_output() -> None:
    """Let Python close stdout without a second error about output that nobody reads."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def build_parser(
    program: str, description: str, commands: Mapping[str, ModuleType], *, only: str | None = None
) -> Parser:
    """Build the parser of a program with its sub-commands; the README's test also reads its help.

    Args:
        only: the command that gets its options; all get theirs if it is none of them.
    """
    parser = Parser(
        prog=program,
        description=description,
        epilog=f"{completion.HINT.format(program=program)}\n\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, module in commands.items():
        sub = subparsers.add_parser(name, help=module.SUMMARY, description=module.SUMMARY)
        if only == name or only not in commands:
            module.configure(sub)
        add_output_options(sub)
    # Without `help` it is not listed among the commands; the epilog names it.
    shell = subparsers.add_parser(completion.NAME, description=completion.SUMMARY)
    completion.configure(shell)
    add_output_options(shell)
    return parser


def add_output_options(parser: argparse.ArgumentParser, *, nested: bool = False) -> None:
    """Add `--format` and `--verbose`; `nested` keeps the values that the parent command parsed."""
    parser.add_argument(
        "--format",
        choices=["text", "json"],
        default=argparse.SUPPRESS if nested else "text",
        help="form of the result on stdout",
    )
    parser.add_argument(
        "--verbose",
        action="store_true",
        default=argparse.SUPPRESS if nested else False,
        help="show tracebacks",
    )
