"""A child process for what is not trusted, with limits of memory and time.

It inherits two pipes and the search paths of libraries and packages: no other file or variable, folder or
terminal. It confines itself (`confinement.confine`) after its last import, before it reads anything. The
parent talks to it through the pipes, and kills it with its process group when it is done, wrong or late.
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

CHUNK = 2**20  # bytes at once through a pipe
_KEPT_VARIABLES = ("LD_LIBRARY_PATH", "PATH", "SYSTEMROOT")


@dataclass(frozen=True)
class Limits:
    """How much a child process may use."""

    memory_mib: int = 8192  # of address space
    cpu_seconds: int = 600  # over all its threads, for one step
    wall_seconds: float = 600  # for one step


class SandboxError(Exception):
    """The process did not do its part; the text says why, in words that hold nothing of what it was given."""


class Sandbox:
    """A running process; made by `start_sandbox` or `open_sandbox`. Its first step starts with it."""

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
        """Give the process `wall_seconds` from now on; by default those of its limits."""
        self._wall_seconds = self._limits.wall_seconds if wall_seconds is None else wall_seconds
        self._deadline = time.monotonic() + self._wall_seconds

    def send(self, data: bytes) -> None:
        """Write all of `data`.

        Raises:
            SandboxError: the process ended, or was out of time.
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
        """Exactly `length` bytes.

        Raises:
            SandboxError: the process ended before, or was out of time.
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
        # Closes the pipes, and waits.
        with self._process:
            pass

    def _wait(self, descriptor: int, event: int) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, event)
            left = self._deadline - time.monotonic()
            if left <= 0 or not selector.select(left):
                raise SandboxError(f"not done within {self._wall_seconds:g} seconds")

    def _ended(self) -> SandboxError:
        """Why the pipe is closed."""
        left = max(self._deadline - time.monotonic(), 0)
        try:
            code = self._process.wait(left)
        except subprocess.TimeoutExpired:
            return SandboxError(f"not done within {self._wall_seconds:g} seconds")
        if code in (-signal.SIGXCPU, -signal.SIGKILL):
            return SandboxError(f"more than {self._limits.cpu_seconds} seconds of processor time, or killed")
        # Its exit code would be eight bits of whatever a taken-over process wants to say.
        return SandboxError("the process ended by itself")


def start_sandbox(
    program: Sequence[str], limits: Limits, arguments: Sequence[str] = (), *, steps: int = 1
) -> Sandbox:
    """Run a Python program in a process of its own; end it with `Sandbox.kill`.

    Args:
        program: what the interpreter runs, such as `-m` and a module. Its first two arguments are MiB of
            memory and processor seconds: it gives them to `confinement.confine` before it reads anything.
        limits: of memory and time.
        arguments: for the program, after the limits; nothing secret.
        steps: how many steps the process may take; it has so many times `cpu_seconds` in all.
    """
    processor_seconds = limits.cpu_seconds * steps
    # Neither the folder it starts in nor the user's own packages come into its search path, which is ours.
    command = [sys.executable, "-P", "-s", "-B", *program, str(limits.memory_mib), str(processor_seconds)]
    environment = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    environment["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, sys.path))
    # glibc's arena for every thread takes address space, not memory.
    environment |= {"MALLOC_ARENA_MAX": "2", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    # ONNX Runtime's thread that calls home would also keep the process from namespaces and Landlock.
    environment |= SWITCHES
    process = subprocess.Popen(  # noqa: S603 - this very interpreter, with a program of ours
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
