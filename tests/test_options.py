"""The options of the three programs agree: one name for one thing, and a help that says what it is for."""

from __future__ import annotations

import argparse
import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import consumer.cli
import hospital_node.cli
import sharekit.cli
from sharekit.program.arguments import Parser
from sharekit.program.command_line import build_parser

PROGRAMS = {"hospital-node": hospital_node.cli, "consumer": consumer.cli, "sharekit": sharekit.cli}

SEVERAL_FORMS = {
    # What is written, and what may be listed, differ from command to command.
    "--out": "the result's own form: a folder, a bundle, a file",
    "--key": "private where something is signed, public where something is checked; several in verify",
    "--samples": "a list in the experiments",
    "--size": "a side in pixels where the network is square",
    "--threads": "a fixed number for each of an experiment's commands",
    "--generator": "several can be approved at once",
}
"""Options whose form may differ between commands, and why."""


def _parsers() -> dict[str, Parser]:
    return {
        name: build_parser(name, module.DESCRIPTION, module.COMMANDS) for name, module in PROGRAMS.items()
    }


def _actions(parser: Parser) -> Iterator[tuple[str, argparse.Action]]:
    """Every argument of every command, with the command."""
    yield from ((parser.prog, action) for action in parser.arguments())
    for sub in parser.sub_commands().values():
        yield from _actions(sub)


ACTIONS = [found for parser in _parsers().values() for found in _actions(parser)]


def _form(action: argparse.Action) -> tuple[object, ...]:
    kind = getattr(action.type, "__qualname__", action.type)
    return action.metavar, tuple(action.choices or ()), action.nargs, kind


def test_an_option_has_the_same_form_in_every_command() -> None:
    forms: dict[str, dict[tuple[object, ...], list[str]]] = defaultdict(lambda: defaultdict(list))
    for command, action in ACTIONS:
        for option in action.option_strings:
            if option not in SEVERAL_FORMS:
                forms[option][_form(action)].append(command)
    different = {option: dict(found) for option, found in forms.items() if len(found) > 1}
    assert different == {}


@pytest.mark.parametrize("option", ["--node", "--progress", "--device", "--seed"])
def test_an_option_that_means_the_same_is_shown_to_mean_it(option: str) -> None:
    helps = {
        (action.help or "").partition(" of ")[0].partition(" (")[0]
        for _, action in ACTIONS
        if option in action.option_strings
    }
    assert len(helps) == 1


def test_every_argument_says_what_it_is_for() -> None:
    silent = [(command, action.dest) for command, action in ACTIONS if not action.help]
    assert silent == []
    tics = ("of ", "after which", "otherwise", "at most so", "per ")
    stumbling = [(command, action.help) for command, action in ACTIONS if action.help.startswith(tics)]
    assert stumbling == []


def test_an_option_with_a_value_names_it() -> None:
    nameless = [
        (command, action.option_strings)
        for command, action in ACTIONS
        if action.option_strings and action.nargs != 0 and not (action.metavar or action.choices)
    ]
    assert nameless == []


def test_a_default_is_in_the_help() -> None:
    unsaid = []
    for command, action in ACTIONS:
        if action.default not in (None, False, argparse.SUPPRESS, []):
            parser = Parser(prog=command, add_help=False)
            parser.add_argument("--x", default=action.default, help=action.help)
            if "default: " not in " ".join(parser.format_help().split()):
                unsaid.append((command, action.dest))
    assert unsaid == []


def _modules() -> Iterator[tuple[str, ModuleType]]:
    for program, module in PROGRAMS.items():
        for name, command in module.COMMANDS.items():
            yield f"{program} {name}", command


@pytest.mark.parametrize(("command", "module"), list(_modules()), ids=str)
def test_who_shows_progress_has_the_option_for_it(command: str, module: ModuleType) -> None:
    tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
    shows = any(isinstance(node, ast.Attribute) and node.attr == "reporter" for node in ast.walk(tree))
    has = any("--progress" in action.option_strings and name.startswith(command) for name, action in ACTIONS)
    assert shows is has


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("consumer sample b --key k --count 3 --seed 1 --out o", "samples", 3),
        ("consumer sample b --key k --samples 3 --seed 1 --out o --provider cpu", "device", "cpu"),
        ("sharekit demo --count 4", "count", 4),
        ("hospital-node report --node n --name page.html", "file", "page.html"),
        ("hospital-node fidelity --node n --features w", "inception", Path("w")),
    ],
)
def test_older_names_go_on_working(line: str, name: str, value: object) -> None:
    program, *arguments = line.split()
    assert getattr(_parsers()[program].parse_args(arguments), name) == value


@pytest.mark.parametrize(("command", "key"), [("policy", "max_total_epsilon"), ("submitter set", "decimals")])
def test_the_keys_of_settings_are_listed_in_the_help(
    command: str, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        hospital_node.cli.main([*command.split(), "--help"])
    assert f"{key}=" in capsys.readouterr().out
