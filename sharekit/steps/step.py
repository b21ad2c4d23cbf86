"""A step: one public command that runs once; the record of its result marks it as done."""

from __future__ import annotations

import json
import shlex
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sharekit import __version__
from sharekit.errors import InputError, PartialFailureError, SharekitError
from sharekit.steps.processes import Processes
from sharekit.storage import files

DONE_FOR_SOME = (0, PartialFailureError.exit_code)
MAX_RECORD_BYTES = 64 * 2**20
_TAIL = 2000  # characters of a log


@dataclass(frozen=True)
class Step:
    """One command line, run with `--format json`, and the path of its record."""

    name: str
    command: tuple[str, ...]
    record: Path
    """JSON file with the command, version, seconds and result. The step is done if it exists."""
    makes: tuple[Path, ...] = ()
    """Partial outputs of an interrupted run, which are removed before the command runs again."""
    accepted: tuple[int, ...] = (0,)
    log: Path | None = None
    """File for its stderr; None sends it to ours."""

    @property
    def command_line(self) -> str:
        """The command as a user would type it."""
        return shlex.join(self.command)

    @property
    def done(self) -> bool:
        return self.record.exists()


def run_step(step: Step, processes: Processes) -> Any:
    """Return the result of a step from its record, or run its command now.

    Raises:
        SharekitError: the command's own error, with its exit code, when it fails.
        KeyboardInterrupt: the processes were stopped.
    """
    if step.done:
        return read_record(step.record)
    remove(*step.makes)
    step.record.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    command = (*step.command, "--format", "json")
    if step.log is None:
        ended = processes.run(command)
    else:
        step.log.parent.mkdir(parents=True, exist_ok=True)
        with step.log.open("wb") as log:
            ended = processes.run(command, log)
    if ended.code not in step.accepted:
        raise _failure(step, ended.code)
    record = {
        "command": step.command,
        "version": __version__,
        "exit_code": ended.code,
        "seconds": round(time.monotonic() - started, 1),
        "result": files.parse_json(ended.stdout, step.command_line),
    }
    files.write_json(step.record, record)
    return record["result"]


def read_record(path: Path) -> Any:
    """Read the result from a record.

    Raises:
        InputError: it is missing or damaged.
    """
    try:
        return files.parse_json(files.read_bytes(path, max_bytes=MAX_RECORD_BYTES), path)["result"]
    except (SharekitError, KeyError, TypeError) as error:
        raise InputError(
            path,
            expected="the record of a finished command",
            found=error.found if isinstance(error, SharekitError) else "another file",
            next_step="remove this file and run the same command again",
        ) from None


def remove(*paths: Path) -> None:
    """Remove files and folders, ignoring paths that do not exist."""
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _failure(step: Step, code: int) -> SharekitError:
    """The error of a failed command: its class from the exit code, its text from the log if possible."""
    kinds = {kind.exit_code: kind for kind in SharekitError.__subclasses__()}
    kind = kinds.get(code, SharekitError)
    told = [] if step.log is None else step.log.read_text("utf-8", "replace").splitlines()
    value = _last_error(told)
    if value is None:
        return kind(
            " ".join(step.command[:2]),
            expected="it to succeed",
            found=f"exit code {code}" + (f": {told[-1][:_TAIL]}" if told else ""),
            next_step=f"read {step.log or 'its error above'}, fix what it says, and run the same command "
            "again to go on",
        )
    words = (str(value.get(name)) for name in ("expected", "found", "next_step"))
    return kind(value.get("item"), **dict(zip(("expected", "found", "next_step"), words, strict=True)))


def _last_error(lines: Sequence[str]) -> dict[str, Any] | None:
    """Parse the last line that is an error in the form of `--format json`; None if no line is."""
    for line in reversed(lines):
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict) and "error" in value:
            return value
    return None
