"""Run generators in a separate process with limits of memory and time; only numbers come back.

A hostile file may pass every check and still make ONNX Runtime misbehave. The damage stays inside the
process: it has no file, no socket and no environment variable of the user, and the parent reads its answers
only as floats.
"""

from __future__ import annotations

import json
import math
import sys
import time
from importlib.util import find_spec

import numpy as np

from consumer.sampling.drawing import Draw, Output
from consumer.sampling.isolated_process import FLOAT, ORDER, Kind, Status
from consumer.sampling.sessions import MIN_SESSIONS, POOL_THREADS, SESSION_BYTES, does_not_run
from sharekit.bundle.manifest import GeneratorEntry
from sharekit.errors import DependencyError, VerificationError
from sharekit.program.confinement import Layer
from sharekit.program.sandbox import Limits, Sandbox, SandboxError, start_sandbox

PROGRAM = ("-m", "consumer.sampling.isolated_process")
START_SECONDS = 120.0  # for the program itself and for loading a generator
WORK_SECONDS = 3600.0
"""Working time after which a process is replaced, well before its limit of processor time."""
SPARE_MIB = 256
STACK_MIB = 8  # stack of a thread


def can_isolate() -> bool:
    """Whether this system lets a process limit its own memory, as Linux does."""
    return sys.platform == "linux" and bool(sys.executable) and find_spec("resource") is not None


class IsolatedRunner:
    """Runs generators on the CPU in a process with limits, which starts with the first generator."""

    def __init__(self, threads: int, draw_bytes: int, draw_seconds: float) -> None:
        """Set the limits; the most expensive batch may take `draw_bytes` and `draw_seconds`."""
        self._threads = threads
        stacks = STACK_MIB * max(MIN_SESSIONS * threads, POOL_THREADS) if threads > 1 else 0
        self._limits = Limits(
            # Comes on top of the memory of the program itself.
            memory_mib=(SESSION_BYTES + draw_bytes) // 2**20 + stacks + SPARE_MIB,
            cpu_seconds=int(WORK_SECONDS + draw_seconds) * threads,
            wall_seconds=START_SECONDS,
        )
        self._sandbox: Sandbox | None = None
        self._worked = 0.0  # seconds

    @property
    def worn(self) -> bool:
        return self._worked > WORK_SECONDS

    def load(self, entry: GeneratorEntry, data: bytes) -> None:
        self._order(entry, Kind.LOAD, data=data, seconds=START_SECONDS)

    def drop(self, entry: GeneratorEntry) -> None:
        self._order(entry, Kind.DROP, seconds=START_SECONDS)

    def draw(self, entry: GeneratorEntry, draw: Draw, seconds: float) -> Output:
        image, mask = draw.shapes
        split = math.prod(image)
        text = json.dumps(draw.to_json())
        values = self._order(entry, Kind.DRAW, text, seconds=seconds, answer=split + math.prod(mask))
        return values[:split].reshape(image), values[split:].reshape(mask)

    def close(self) -> None:
        if self._sandbox is not None:
            self._sandbox.kill()
        self._sandbox, self._worked = None, 0.0

    def _start(self) -> Sandbox:
        """Start the process and return it once it is ready.

        Raises:
            DependencyError: it does not start on this system; this is not a generator's fault.
        """
        self._sandbox = start_sandbox(PROGRAM, self._limits, [str(self._threads)])
        try:
            (layers,) = self._sandbox.receive(1)
        except SandboxError as error:
            raise _no_isolation(f"it does not start: {error}") from None
        if not Layer.LIMITS & layers:
            raise _no_isolation("this system does not limit it")
        return self._sandbox

    def _order(
        self,
        entry: GeneratorEntry,
        kind: Kind,
        text: str = "",
        *,
        seconds: float,
        data: bytes = b"",
        answer: int = 0,
    ) -> np.ndarray:
        """Send an order and return the `answer` floats that the process sends back."""
        started = time.monotonic()
        try:
            sandbox = self._sandbox or self._start()
            sandbox.begin_step(seconds)
            words = f"{entry.file}\n{text}".encode()
            sandbox.send(ORDER.pack(kind, len(words), len(data)) + words)
            sandbox.send(data)
            (status,) = sandbox.receive(1)
            if status != Status.DONE:
                raise self._refusal(entry, kind, status)
            values = np.frombuffer(sandbox.receive(answer * np.dtype(FLOAT).itemsize), FLOAT)
        except SandboxError as error:
            expected = "a generator that runs within its limits of memory and time"
            raise does_not_run(entry, str(error), expected) from None
        self._worked += time.monotonic() - started
        return values

    def _refusal(self, entry: GeneratorEntry, kind: Kind, status: int) -> VerificationError:
        if status == Status.OUT_OF_MEMORY:
            expected = f"a generator that runs in {self._limits.memory_mib} MiB of address space"
            return does_not_run(entry, "it needs more", expected)
        deed = "loaded" if kind is Kind.LOAD else "run"
        return does_not_run(entry, f"it cannot be {deed}")


def _no_isolation(found: str) -> DependencyError:
    return DependencyError(
        "--isolate",
        expected="a process with limits of memory and time",
        found=found,
        next_step="use --no-isolate if you trust the hospital's generators like your own programs",
    )
