"""The frame of the three programs: sub-commands, `--format`, and errors without tracebacks.

A sub-command is a module with `SUMMARY`, `configure(parser)`, `run(args, output)`. It imports what is heavy
inside `run`, so that `--help` is quick and an absent extra is missed only by those who need it.
"""

from __future__ import annotations

import argparse
import inspect
import json
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from rich.console import Console, RenderableType

from sharekit import __version__
from sharekit.errors import INTERRUPTED_EXIT_CODE, SharekitError, missing_package
from sharekit.program import umask

EXIT_CODES = """exit codes:
  0  done
  1  a fault of the program: please report it
  2  wrong usage
  3  an input file or folder is missing, broken or of the wrong kind
  4  verification failed: do not use the file
  5  policy, audit or approval does not allow it
  6  an optional package, device or weights file is missing
  7  done for some images, failed for others
  8  the node is not in the state that the command needs
  9  something real or something listening was found: stopped
  130  interrupted; run the same command again to go on"""


class Output:
    """Where a command prints its result: text for a person, or one JSON document."""

    def __init__(self, form: str) -> None:
        self.form = form
        self._console = Console()

    def result(self, data: Mapping[str, Any], *text: RenderableType) -> None:
        """Print `data` with `--format json`, otherwise `text` (rich markup or renderables)."""
        if self.form == "json":
            print(json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False))
        else:
            for part in text:
                # Wrapping would break paths that a person wants to copy.
                self._console.print(part, soft_wrap=isinstance(part, str), highlight=False)


def default_of(function: Callable[..., Any], parameter: str) -> Any:
    """The default of a parameter in an API's signature, so that an option's default cannot drift from it."""
    return inspect.signature(function).parameters[parameter].default


def thread_count(text: str) -> int:
    """The type of an option `--threads`: at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of threads")
    return int(text)


def main(
    program: str,
    description: str,
    commands: Mapping[str, ModuleType],
    argv: Sequence[str] | None = None,
    *,
    extra: str | None = None,
    private: bool = False,
) -> int:
    """Parse `argv`, run one sub-command and return the exit code.

    `extra` names what to install when a command imports a package that is not there; `private` programs write
    files that nobody else can read.
    """
    if private:
        umask.make_private()
    parser = build_parser(program, description, commands)
    args = parser.parse_args(argv)
    try:
        return commands[args.command].run(args, Output(args.format)) or 0
    except KeyboardInterrupt as interruption:
        # A command for which that is not so says what is.
        print(str(interruption) or "interrupted; run the same command again to go on", file=sys.stderr)
        return INTERRUPTED_EXIT_CODE
    except BrokenPipeError:
        return 0
    except Exception as error:
        if args.verbose:
            traceback.print_exc()
        told = _told(error, f"{program} {args.command}", extra)
        _print_error(told, args.format)
        return told.exit_code


def _told(error: Exception, item: str, extra: str | None) -> SharekitError:
    """Any exception as one that says what to do next."""
    if isinstance(error, SharekitError):
        return error
    if isinstance(error, ModuleNotFoundError) and error.name and extra:
        package = error.name.partition(".")[0]
        if find_spec(package) is None:
            return missing_package(package, extra)
    return SharekitError(
        item,
        expected="no fault in the program",
        found=f"{type(error).__name__}: {error}",
        next_step="run again with --verbose and report the traceback",
    )


def build_parser(
    program: str, description: str, commands: Mapping[str, ModuleType]
) -> argparse.ArgumentParser:
    """The parser of a program with its sub-commands; the README's test reads its help."""
    parser = argparse.ArgumentParser(
        prog=program,
        description=description,
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, module in commands.items():
        sub = subparsers.add_parser(
            name,
            help=module.SUMMARY,
            description=module.SUMMARY,
            formatter_class=_HelpFormatter,
        )
        module.configure(sub)
        add_output_options(sub)
    return parser


def add_output_options(parser: argparse.ArgumentParser, *, nested: bool = False) -> None:
    """`--format` and `--verbose`; `nested` below a sub-command, whose choice must not be undone."""
    parser.add_argument(
        "--format",
        choices=["text", "json"],
        default=argparse.SUPPRESS if nested else "text",
        help="how the result is printed on stdout",
    )
    parser.add_argument(
        "--verbose",
        action="store_true",
        default=argparse.SUPPRESS if nested else False,
        help="show tracebacks",
    )


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows the defaults that say something: not those of flags and of options without one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, False) else super()._get_help_string(action)


def _print_error(error: SharekitError, form: str) -> None:
    if form == "json":
        print(json.dumps(error.to_json(), ensure_ascii=False), file=sys.stderr)
        return
    console = Console(stderr=True)
    console.print(f"error: {error.item}", style="bold red", markup=False, highlight=False, soft_wrap=True)
    for label, text in (("expected", error.expected), ("found", error.found), ("next", error.next_step)):
        console.print(f"  {label:<9}{text}", markup=False, highlight=False, soft_wrap=True)
