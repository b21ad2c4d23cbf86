"""A child process for untrusted work, with limits on memory and time.

It inherits only two pipes and the search paths of libraries and packages: no other file, variable, folder or
terminal. It confines itself (`confinement.confine`) after its last import, before it reads anything. The
parent talks to it through the pipes, and kills its process group when the child is done, fails or is late.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sharekit.program.confinement import memory_kept_private
from sharekit.silence import SWITCHES

CHUNK = 2**20  # bytes per write to or read from a pipe
_KEPT_VARIABLES = ("LD_LIBRARY_PATH", "PATH", "SYSTEMROOT")


@dataclass(frozen=True)
class Limits:
    """The resources that a child process may use."""

    memory_mib: int = 8192  # of address space
    cpu_seconds: int = 600  # over all its threads, for one step
    wall_seconds: float = 600  # for one step


class SandboxError(Exception):
    """The process failed; the text says why, without quoting anything that the process received."""


class Sandbox:
    """A running process that `start_sandbox` or `open_sandbox` made. Its first step starts immediately."""

    def __init__(self, process: subprocess.Popen[bytes], limits: Limits) -> None:
        self._process = process
        self._limits = limits
        self.begin_step()
        if process.stdin is None or process.stdout is None:
            raise ValueError("a process without pipes")
        self._to, self._from = process.stdin.fileno(), process.stdout.fileno()
        os.set_blocking(self._to, False)
        os.set_blocking(self._from, False)

    def begin_step(self, wall_seconds: float | None = None) -> None:
        """Start a step of `wall_seconds`; None takes those of the limits."""
        self._wall_seconds = self._limits.wall_seconds if wall_seconds is None else wall_seconds
        self._deadline = time.monotonic() + self._wall_seconds

    def send(self, data: bytes) -> None:
        """Write all of `data`.

        Raises:
            SandboxError: the process ended or ran out of time.
        """
        view = memoryview(data)
        while view:
            self._wait(self._to, selectors.EVENT_WRITE)
            with contextlib.suppress(BlockingIOError):
                try:
                    view = view[os.write(self._to, view[:CHUNK]) :]
                except BrokenPipeError:
                    raise self._ended() from None

    def receive(self, length: int) -> bytes:
        """Read exactly `length` bytes.

        Raises:
            SandboxError: the process ended early or ran out of time.
        """
        parts, missing = [], length
        while missing:
            self._wait(self._from, selectors.EVENT_READ)
            with contextlib.suppress(BlockingIOError):
                part = os.read(self._from, min(missing, CHUNK))
                if not part:
                    raise self._ended()
                parts.append(part)
                missing -= len(part)
        return b"".join(parts)

    def kill(self) -> None:
        """End the process and its process group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        # Leaving the context closes the pipes and waits for the process.
        with self._process:
            pass

    def _wait(self, descriptor: int, event: int) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, event)
            left = self._deadline - time.monotonic()
            if left <= 0 or not selector.select(left):
                raise SandboxError(f"not done within {self._wall_seconds:g} seconds")

    def _ended(self) -> SandboxError:
        """The error that says why the pipe is closed."""
        left = max(self._deadline - time.monotonic(), 0)
        try:
            code = self._process.wait(left)
        except subprocess.TimeoutExpired:
            return SandboxError(f"not done within {self._wall_seconds:g} seconds")
        if code in (-signal.SIGXCPU, -signal.SIGKILL):
            return SandboxError(f"more than {self._limits.cpu_seconds} seconds of processor time, or killed")
        # Do not show the exit code: a compromised process could leak eight bits in it.
        return SandboxError("the process ended by itself")


def start_sandbox(
    program: Sequence[str], limits: Limits, arguments: Sequence[str] = (), *, steps: int = 1
) -> Sandbox:
    """Run a Python program in its own process; end it with `Sandbox.kill`.

    Args:
        program: arguments of the interpreter, such as `-m` and a module. The program receives memory in MiB
            and processor seconds as its first two arguments, and must pass them to `confinement.confine`
            before it reads anything.
        limits: limits on memory and time.
        arguments: further arguments of the program, after the limits; nothing secret.
        steps: number of steps; the process gets this many times `cpu_seconds` in total.
    """
    processor_seconds = limits.cpu_seconds * steps
    # Its search path equals ours, without its start folder and the user's own packages.
    command = [sys.executable, "-P", "-s", "-B", *program, str(limits.memory_mib), str(processor_seconds)]
    environment = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    environment["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, sys.path))
    # Without this limit, glibc's arena for each thread uses up address space.
    environment |= {"MALLOC_ARENA_MAX": "2", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    # ONNX Runtime's telemetry thread would also prevent namespaces and Landlock.
    environment |= SWITCHES
    process = subprocess.Popen(  # noqa: S603 - this interpreter, with a program of ours
        [*command, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
        cwd="/",
        env=environment,
        start_new_session=True,
    )
    return Sandbox(process, limits)


@contextlib.contextmanager
def open_sandbox(
    program: Sequence[str], limits: Limits, arguments: Sequence[str] = (), *, steps: int = 1
) -> Iterator[Sandbox]:
    """`start_sandbox` for the length of the block, with this process's memory kept private."""
    sandbox = start_sandbox(program, limits, arguments, steps=steps)
    with memory_kept_private():
        try:
            yield sandbox
        finally:
            sandbox.kill()
