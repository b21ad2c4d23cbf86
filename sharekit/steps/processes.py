"""Runs public commands as child processes that end with the experiment."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from sharekit.errors import DependencyError

GRACE = 20.0
"""Seconds that an interrupted command has to save its work."""
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    stdout: bytes


def find_program(name: str) -> Path:
    """Find a program next to this interpreter.

    Raises:
        DependencyError: it is not installed there.
    """
    program = Path(sys.executable).with_name(name)
    if not program.exists():
        raise DependencyError(
            name,
            expected=f"the program {name} next to {sys.executable}",
            found="no such program",
            next_step="install sharekit into this environment with the extras that the experiment needs",
        )
    return program


class Processes:
    """Starts commands from any thread; `stop` interrupts the running ones and starts no others."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._environment = {**os.environ, **(environment or {})}
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._stopped = False

    def run(self, command: Sequence[str], stderr: IO[bytes] | None = None) -> Ended:
        """Run a command to its end; its stderr goes to `stderr`, or to ours if that is None.

        Raises:
            DependencyError: its program is not installed.
            KeyboardInterrupt: `stop` was called.
        """
        name, *arguments = command
        program = find_program(name)
        with self._lock:
            if self._stopped:
                raise KeyboardInterrupt
            # In its own session, the command gets a terminal's Ctrl-C only once, from `stop`.
            process = subprocess.Popen(  # noqa: S603
                [program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=self._environment,
                start_new_session=True,
            )
            self._running.add(process)
        try:
            stdout = _stdout(process)
        except BaseException:
            _end(process)
            raise
        finally:
            with self._lock:
                self._running.discard(process)
        if self._stopped:
            raise KeyboardInterrupt
        return Ended(process.returncode, stdout)

    def stop(self) -> None:
        """Interrupt all running commands, and kill those that have not ended within `GRACE` seconds."""
        with self._lock:
            self._stopped = True
            running = tuple(self._running)
        for process in running:
            _signal(process, signal.SIGINT)
        for process in running:
            _end(process)


def threads_environment(threads: int) -> dict[str, str]:
    """Environment variables that limit a command's numerical libraries to `threads` threads."""
    return dict.fromkeys(THREAD_VARIABLES, str(threads))


@contextlib.contextmanager
def ending_like_an_interrupt() -> Iterator[None]:
    """Inside the block, SIGTERM and SIGHUP act as an interrupt, so that no command is left running."""
    signals = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, signal.default_int_handler) for number in signals]
    try:
        yield
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)


def _stdout(process: subprocess.Popen[bytes]) -> bytes:
    """Read the output of a process until it ends."""
    while True:
        # Ray interrupts a worker by a flag, which a blocked thread would not notice.
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=1.0)[0]


def _end(process: subprocess.Popen[bytes]) -> None:
    _signal(process, signal.SIGINT)
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
