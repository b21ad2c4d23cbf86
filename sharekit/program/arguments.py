"""Argument parsers that report errors in four parts, suggest corrections, and show every default."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn

from sharekit.errors import UsageError
from sharekit.program.output import print_error

_UNKNOWN = re.compile(r"unrecognized arguments: (.*)", re.DOTALL)
_REQUIRED = re.compile(r"the following arguments are required: (.*)|one of the arguments (.*) is required")
_CHOICE = re.compile(r"argument ([^:]*): invalid choice: '?(.*?)'? \(choose from (.*)\)", re.DOTALL)
_ARGUMENT = re.compile(r"argument ([^:]*): (.*)", re.DOTALL)


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows only informative defaults: not those of flags, nor None for options that may be omitted."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        default = action.default
        if action.help is None or default in (None, False, argparse.SUPPRESS) or default == []:
            return action.help
        shown = " ".join(map(str, default)) if isinstance(default, list | tuple) else "%(default)s"
        return f"{action.help} (default: {shown})"


class Parser(argparse.ArgumentParser):
    """The parser of a program or of a sub-command; `add_subparsers` makes parsers of this class too."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"formatter_class": HelpFormatter, **options})
        self._given: Sequence[str] = ()
        self.late_epilog: Callable[[], str] | None = None
        """Makes the text below the help only when it is printed, for text that takes long to compute."""

    def format_help(self) -> str:
        if self.late_epilog is not None:
            self.epilog = self.late_epilog()
        return super().format_help()

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> Any:
        """Parse like argparse, but report unknown arguments with the usage of the sub-command."""
        found, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self.chosen(found).error(f"unrecognized arguments: {' '.join(unknown)}")
        return found

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse like argparse, and keep the arguments, which decide the form of an error."""
        self._given = args or ()
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Print the usage and a four-part error on stderr, and exit with 2."""
        print_error(self._explained(message), wanted_form(self._given), self.format_usage().rstrip())
        self.exit(UsageError.exit_code)

    def arguments(self) -> tuple[argparse.Action, ...]:
        """The options and arguments of this parser, without sub-commands."""
        return tuple(action for action in self._actions if not _commands_of(action))

    def sub_commands(self) -> dict[str, Parser]:
        """The parsers of the sub-commands by name; empty if there are none."""
        return next(filter(None, map(_commands_of, self._actions)), {})

    def chosen(self, found: argparse.Namespace) -> Parser:
        """The parser of the sub-command that `found` belongs to."""
        for action in self._actions:
            if commands := _commands_of(action):
                return commands[getattr(found, action.dest)].chosen(found)
        return self

    def _explained(self, message: str) -> UsageError:
        """Turn argparse's one-sentence message into an error with four parts."""
        see = f"see `{self.prog} --help`"
        if unknown := _UNKNOWN.fullmatch(message):
            return self._error(
                "options and arguments of the usage", unknown[1], self._mistyped(unknown[1].split()) or see
            )
        if required := _REQUIRED.fullmatch(message):
            wanted = required[1] or f"one of {required[2]}"
            return self._error(wanted, "a command line without", self._mistyped() or f"add it; {see}")
        if choice := _CHOICE.fullmatch(message):
            choices = [word.strip().strip("'") for word in choice[3].split(",")]
            return self._error(
                f"for {choice[1]} one of: {', '.join(choices)}", choice[2], _meant(choice[2], choices) or see
            )
        if argument := _ARGUMENT.fullmatch(message):
            return self._error(f"{argument[1]} as the help says", argument[2], see)
        return self._error("arguments as the usage says", message, see)

    def _mistyped(self, words: Iterable[str] = ()) -> str:
        """A suggestion for the first unknown option in `words`, or else in the whole command line."""
        options = [word.partition("=")[0] for word in words or self._given if word.startswith("--")]
        guesses = (_meant(option, self._option_string_actions) for option in options)
        return next((guess for guess in guesses if guess), "")

    def _error(self, expected: str, found: str, next_step: str) -> UsageError:
        return UsageError(self.prog, expected=expected, found=found, next_step=next_step)


def _commands_of(action: argparse.Action) -> dict[str, Parser]:
    """The parsers that an action chooses between; empty if it is not a sub-command."""
    choices = action.choices
    if isinstance(choices, dict) and all(isinstance(choice, Parser) for choice in choices.values()):
        return dict(choices)
    return {}


def wanted_form(arguments: Sequence[str]) -> str:
    """The value of `--format` in a command line that is not yet parsed or cannot be."""
    return "json" if re.search(r"--format[= ]json\b", " ".join(arguments)) else "text"


def _meant(word: str, known: Iterable[str]) -> str:
    """A suggestion for a mistyped word; empty if the word is known or nothing is close."""
    names = {name.lstrip("-"): name for name in known}
    if word.lstrip("-") in names:
        return ""
    near = difflib.get_close_matches(word.lstrip("-"), names, n=1)
    return f"did you mean {names[near[0]]} instead of {word}?" if near else ""


def whole_number(least: int = 0, what: str = "whole number") -> Callable[[str], int]:
    """An argparse type: a whole number of at least `least`, which error messages call `what`."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,18}", text) or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a {what} of at least {least}")
        return int(text)

    return parse


def thread_count(text: str) -> int:
    """The argparse type of `--threads`: at least 1."""
    return whole_number(1, "number of threads")(text)


def settings_in_words(names: Iterable[str], defaults: Mapping[str, Any]) -> str:
    """List the settings that `KEY=VALUE` may set, for the end of a help text."""
    return f"settings and their defaults: {', '.join(f'{name}={defaults[name]}' for name in names)}"


def show_first_name(action: argparse.Action) -> None:
    """Hide an option's former names from the help; argparse still accepts them."""
    action.option_strings = action.option_strings[:1]
