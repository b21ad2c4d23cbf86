"""The frame of the programs: exit codes, output forms, errors without tracebacks."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from types import ModuleType

import pytest

from sharekit import errors
from sharekit.errors import DependencyError, InputError, SharekitError
from sharekit.program import command_line


def _command(action: Callable[[argparse.Namespace, command_line.Output], object]) -> dict[str, ModuleType]:
    module = ModuleType("act")
    module.SUMMARY = "act"
    module.configure = lambda parser: None
    module.run = action
    return {"act": module}


def _main(action: Callable[..., object], *options: str, extra: str | None = None) -> int:
    return command_line.main("program", "Does it.", _command(action), ["act", *options], extra=extra)


def _raise(error: BaseException) -> Callable[..., object]:
    def action(args: argparse.Namespace, output: command_line.Output) -> object:
        raise error

    return action


def _error_classes(cls: type[SharekitError] = SharekitError) -> list[type[SharekitError]]:
    return [cls, *(found for child in cls.__subclasses__() for found in _error_classes(child))]


@pytest.mark.parametrize("cls", [cls for cls in _error_classes() if cls.__module__ == errors.__name__])
def test_every_error_ends_with_its_own_documented_code(cls: type[SharekitError]) -> None:
    error = cls("the item", expected="this", found="that", next_step="do so")
    assert _main(_raise(error)) == cls.exit_code
    assert f"\n  {cls.exit_code}  " in command_line.EXIT_CODES


def test_an_error_says_item_expected_found_and_next_step(capsys: pytest.CaptureFixture[str]) -> None:
    _main(_raise(InputError("the [item]", expected="this", found="that", next_step="do so")))
    told = capsys.readouterr()
    assert told.out == ""
    assert [line.split(maxsplit=1)[1] for line in told.err.splitlines()] == [
        "the [item]",
        "this",
        "that",
        "do so",
    ]


def test_an_error_in_json_is_one_object_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    error = InputError("item", expected="this", found="that", next_step="do so")
    _main(_raise(error), "--format", "json")
    told = capsys.readouterr()
    assert told.out == ""
    assert json.loads(told.err) == dict(error.to_json())


@pytest.mark.parametrize(("options", "shown"), [((), False), (("--verbose",), True)])
def test_a_traceback_is_shown_only_when_asked_for(
    options: tuple[str, ...], shown: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _main(_raise(RuntimeError("a bug")), *options) == SharekitError.exit_code
    told = capsys.readouterr().err
    assert "RuntimeError: a bug" in told
    assert ("Traceback" in told) is shown


def test_an_absent_package_names_the_extra(capsys: pytest.CaptureFixture[str]) -> None:
    def action(args: argparse.Namespace, output: command_line.Output) -> None:
        import no_such_package_at_all.part  # noqa: F401

    assert _main(action, extra="hospital") == DependencyError.exit_code
    assert "pip install 'sharekit[hospital]'" in capsys.readouterr().err


def test_an_interruption_has_its_own_code() -> None:
    assert _main(_raise(KeyboardInterrupt())) == errors.INTERRUPTED_EXIT_CODE


def test_a_command_that_cannot_go_on_says_so_when_it_is_interrupted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _main(_raise(KeyboardInterrupt()))
    assert "run the same command again" in capsys.readouterr().err
    assert _main(_raise(KeyboardInterrupt("this was spent"))) == errors.INTERRUPTED_EXIT_CODE
    assert capsys.readouterr().err == "this was spent\n"


@pytest.mark.parametrize(("goes_on", "words"), [(True, " to go on\n"), (False, ", from the beginning\n")])
def test_only_a_command_that_goes_on_says_so_when_it_is_interrupted(
    goes_on: bool, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = _command(_raise(KeyboardInterrupt()))
    commands["act"].GOES_ON = goes_on
    assert command_line.main("program", "Does it.", commands, ["act"]) == errors.INTERRUPTED_EXIT_CODE
    assert capsys.readouterr().err.endswith(f"run the same command again{words}")


@pytest.mark.parametrize("text", ["0", "-1", "", "1.5", "all"])
def test_a_number_of_threads_is_at_least_one(text: str) -> None:
    assert command_line.thread_count("3") == 3
    with pytest.raises(argparse.ArgumentTypeError, match="not a number of threads"):
        command_line.thread_count(text)


def test_a_result_is_text_for_a_person_or_json_for_a_program(capsys: pytest.CaptureFixture[str]) -> None:
    def action(args: argparse.Namespace, output: command_line.Output) -> None:
        output.result({"count": 3}, "three of them")

    assert _main(action) == 0
    assert capsys.readouterr().out == "three of them\n"
    assert _main(action, "--format", "json") == 0
    assert json.loads(capsys.readouterr().out) == {"count": 3}


def test_a_default_is_read_from_the_signature() -> None:
    def api(steps: int = 7) -> None: ...

    assert command_line.default_of(api, "steps") == 7
