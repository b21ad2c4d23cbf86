"""Command lines that are wrong: four parts, a guess, the sub-command's usage, and JSON if it is asked for."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable

import pytest

import consumer.cli
import hospital_node.cli
import sharekit.cli
from sharekit.errors import UsageError
from sharekit.program.arguments import Parser, show_first_name, thread_count, whole_number

WITHOUT = "a command line without"
MAIN = {"hospital-node": hospital_node.cli.main, "consumer": consumer.cli.main, "sharekit": sharekit.cli.main}


def _told(capsys: pytest.CaptureFixture[str], line: str) -> tuple[str, str, str, str, str]:
    """Usage, item, expected, found and next step of a command line that is refused."""
    program, *arguments = line.split()
    with pytest.raises(SystemExit) as caught:
        MAIN[program](arguments)
    assert caught.value.code == UsageError.exit_code
    printed = capsys.readouterr()
    assert printed.out == ""
    usage, _, error = printed.err.partition("error: ")
    item, *rest = error.splitlines()
    assert [line.split()[0] for line in rest] == ["expected", "found", "next"]
    expected, found, following = (line[len("  expected ") :] for line in rest)
    return usage, item, expected, found, following


@pytest.mark.parametrize(
    ("line", "guess"),
    [
        ("hospital-node train --node n --iteration5", "--iterations"),
        ("hospital-node train --noed n", "--node"),
        ("hospital-node train --node n --profile privat", "private"),
        ("sharekit keys fingerprnt x", "fingerprint"),
        ("sharekit keys new --output x", "--out"),
        ("consumer smaple", "sample"),
    ],
)
def test_a_mistyped_word_is_guessed(capsys: pytest.CaptureFixture[str], line: str, guess: str) -> None:
    *_, following = _told(capsys, line)
    assert following.startswith(f"did you mean {guess} instead of")


@pytest.mark.parametrize(
    ("line", "expected", "found"),
    [
        ("hospital-node train", "--node", WITHOUT),
        (
            "hospital-node approve --node n --key k --by x",
            "one of --all --generator --image",
            "a command line without",
        ),
        (
            "consumer train d --validation v --out o --epochs x",
            "--epochs as the help says",
            "invalid int value: 'x'",
        ),
        ("hospital-node status --node n surplus", "options and arguments of the usage", "surplus"),
    ],
)
def test_what_is_expected_and_found_is_said(
    capsys: pytest.CaptureFixture[str], line: str, expected: str, found: str
) -> None:
    usage, item, *parts, following = _told(capsys, line)
    command = " ".join(line.split()[:2])
    assert (item, *parts) == (command, expected, found)
    assert usage.startswith(f"usage: {command} ")
    assert f"{command} --help" in following


def test_the_usage_is_the_sub_commands_own(capsys: pytest.CaptureFixture[str]) -> None:
    usage, item, *_ = _told(capsys, "sharekit keys new --out x --bogus")
    assert item == "sharekit keys new"
    assert usage.startswith("usage: sharekit keys new ")


def test_json_is_asked_for_in_the_wrong_command_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        hospital_node.cli.main(["train", "--format", "json"])
    told = json.loads(capsys.readouterr().err)
    assert (told["error"], told["exit_code"], told["expected"]) == ("UsageError", 2, "--node")
    assert told["usage"].startswith("usage: hospital-node train")


def test_an_older_name_works_and_is_not_shown() -> None:
    parser = Parser(prog="act")
    show_first_name(parser.add_argument("--samples", "--count", type=int, required=True))
    assert parser.parse_args(["--count", "3"]).samples == 3
    assert "--count" not in parser.format_help()


def test_a_default_is_shown_where_it_says_something() -> None:
    parser = Parser(prog="act")
    parser.add_argument("--size", type=int, default=3, help="pixels")
    parser.add_argument("--seeds", nargs="+", default=[0, 1], help="seeds")
    parser.add_argument("--key", action="append", default=[], help="a key")
    parser.add_argument("--all", action="store_true", help="everything")
    shown = " ".join(parser.format_help().split())
    assert "pixels (default: 3)" in shown
    assert "seeds (default: 0 1)" in shown
    assert shown.count("default") == 2


def test_what_takes_long_to_say_is_said_only_when_help_is_printed() -> None:
    parser = Parser(prog="act")
    parser.late_epilog = lambda: "settings: k=5"
    assert parser.epilog is None
    assert parser.format_help().endswith("settings: k=5\n")


@pytest.mark.parametrize("text", ["-1", "", "1.5", "all", "٣", "1" * 30])
@pytest.mark.parametrize("kind", [whole_number(), whole_number(1), thread_count])
def test_a_whole_number_is_written_in_digits(kind: Callable[[str], int], text: str) -> None:
    assert kind("7") == 7
    with pytest.raises(argparse.ArgumentTypeError, match="is not a"):
        kind(text)


def test_a_whole_number_is_not_too_small() -> None:
    assert whole_number()("0") == 0
    with pytest.raises(argparse.ArgumentTypeError, match="at least 1"):
        whole_number(1)("0")


@pytest.mark.parametrize("program", MAIN)
@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_shells_completion_knows_every_command(
    capsys: pytest.CaptureFixture[str], program: str, shell: str
) -> None:
    assert MAIN[program](["completion", shell]) == 0
    script = capsys.readouterr().out
    modules = {"hospital-node": hospital_node.cli, "consumer": consumer.cli, "sharekit": sharekit.cli}
    assert all(name in script for name in modules[program].COMMANDS)
    assert "--verbose" in script
