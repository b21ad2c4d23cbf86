"""Command lines that say what is wrong in four parts, guess what was meant, and show every default."""

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
    """Shows the defaults that say something: not those of flags, and of options that may be left out."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        default = action.default
        if action.help is None or default in (None, False, argparse.SUPPRESS) or default == []:
            return action.help
        shown = " ".join(map(str, default)) if isinstance(default, list | tuple) else "%(default)s"
        return f"{action.help} (default: {shown})"


class Parser(argparse.ArgumentParser):
    """A program's parser, or one of its sub-commands'; all of them made by `add_subparsers` are like it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"formatter_class": HelpFormatter, **options})
        self._given: Sequence[str] = ()
        self.late_epilog: Callable[[], str] | None = None
        """Makes the text below the help when that is printed: for what takes long to find out."""

    def format_help(self) -> str:
        if self.late_epilog is not None:
            self.epilog = self.late_epilog()
        return super().format_help()

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> Any:
        """As argparse's, but what is not known is the sub-command's error, with its usage."""
        found, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self.chosen(found).error(f"unrecognized arguments: {' '.join(unknown)}")
        return found

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's; keeps the arguments for the form of an error."""
        self._given = args or ()
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Print the usage and a four-part error on stderr, and exit with 2."""
        print_error(self._explained(message), wanted_form(self._given), self.format_usage().rstrip())
        self.exit(UsageError.exit_code)

    def arguments(self) -> tuple[argparse.Action, ...]:
        """Options and arguments, without sub-commands."""
        return tuple(action for action in self._actions if not _commands_of(action))

    def sub_commands(self) -> dict[str, Parser]:
        """The parsers below this one, by name; empty for a command without any."""
        return next(filter(None, map(_commands_of, self._actions)), {})

    def chosen(self, found: argparse.Namespace) -> Parser:
        """The parser of the sub-command that `found` came from."""
        for action in self._actions:
            if commands := _commands_of(action):
                return commands[getattr(found, action.dest)].chosen(found)
        return self

    def _explained(self, message: str) -> UsageError:
        """argparse's one sentence in four parts."""
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
        """A question about the first option of `words`, or of the whole command line, that is not known."""
        options = [word.partition("=")[0] for word in words or self._given if word.startswith("--")]
        guesses = (_meant(option, self._option_string_actions) for option in options)
        return next((guess for guess in guesses if guess), "")

    def _error(self, expected: str, found: str, next_step: str) -> UsageError:
        return UsageError(self.prog, expected=expected, found=found, next_step=next_step)


def _commands_of(action: argparse.Action) -> dict[str, Parser]:
    """The parsers that an argument chooses between; empty where it is no sub-command."""
    choices = action.choices
    if isinstance(choices, dict) and all(isinstance(choice, Parser) for choice in choices.values()):
        return dict(choices)
    return {}


def wanted_form(arguments: Sequence[str]) -> str:
    """What `--format` says in a command line that cannot be parsed, or is not yet."""
    return "json" if re.search(r"--format[= ]json\b", " ".join(arguments)) else "text"


def _meant(word: str, known: Iterable[str]) -> str:
    """A question for a person who may have mistyped, or nothing."""
    names = {name.lstrip("-"): name for name in known}
    if word.lstrip("-") in names:
        return ""
    near = difflib.get_close_matches(word.lstrip("-"), names, n=1)
    return f"did you mean {names[near[0]]} instead of {word}?" if near else ""


def whole_number(least: int = 0, what: str = "whole number") -> Callable[[str], int]:
    """The type of an option that is a whole number of at least `least`."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,18}", text) or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a {what} of at least {least}")
        return int(text)

    return parse


def thread_count(text: str) -> int:
    """The type of an option `--threads`: at least 1."""
    return whole_number(1, "number of threads")(text)


def settings_in_words(names: Iterable[str], defaults: Mapping[str, Any]) -> str:
    """What `KEY=VALUE` may set, for a help's end."""
    return f"settings and their defaults: {', '.join(f'{name}={defaults[name]}' for name in names)}"


def show_first_name(action: argparse.Action) -> None:
    """Leave an option's former names out of the help; argparse goes on to accept them."""
    action.option_strings = action.option_strings[:1]
