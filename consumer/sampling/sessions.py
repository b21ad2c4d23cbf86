"""Load generators on first use, and keep as many loaded as fit into a fixed amount of memory."""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Protocol

from consumer.sampling import runtime
from consumer.sampling.drawing import Draw, Output
from sharekit.bundle.bundle import VerifiedBundle
from sharekit.bundle.manifest import GeneratorEntry
from sharekit.errors import VerificationError

if TYPE_CHECKING:
    from sharekit.program.onnx_runtime import onnxruntime

SESSION_BYTES = 512 * 2**20
"""Largest memory of all loaded generators of a process together."""
POOL_THREADS = 256
"""Largest number of threads of all sessions together; ONNX Runtime gives each session its own pool."""
MIN_SESSIONS = 16
"""Generators that may always be loaded at once, however many threads each has."""


class Runner(Protocol):
    """Loads and runs generators, in this process or in one with limits."""

    def load(self, entry: GeneratorEntry, data: bytes) -> None:
        """Load a generator's bytes, which the policy has allowed."""

    def drop(self, entry: GeneratorEntry) -> None:
        """Free a loaded generator."""

    def draw(self, entry: GeneratorEntry, draw: Draw, seconds: float) -> Output:
        """Run a batch through a loaded generator; a runner with limits stops it after `seconds`."""

    @property
    def worn(self) -> bool:
        """Whether the runner is near a limit of its own and must be closed before the next batch."""

    def close(self) -> None:
        """Free everything."""


class LocalRunner:
    """Runs generators in this process."""

    def __init__(self, choice: runtime.ProviderChoice, threads: int) -> None:
        self._choice = choice
        self._threads = threads
        self._sessions: dict[str, onnxruntime.InferenceSession] = {}

    def load(self, entry: GeneratorEntry, data: bytes) -> None:
        self._sessions[entry.file] = runtime.open_session(
            data, entry.spec, entry.file, self._choice, threads=self._threads, checked=True
        )

    def drop(self, entry: GeneratorEntry) -> None:
        del self._sessions[entry.file]

    def draw(self, entry: GeneratorEntry, draw: Draw, seconds: float) -> Output:
        try:
            return runtime.run_session(self._sessions[entry.file], draw.noise())
        except Exception as error:  # ONNX Runtime's errors share no base class
            raise does_not_run(entry, f"{type(error).__name__}: {error}"[:300]) from None

    @property
    def worn(self) -> bool:
        return False

    def close(self) -> None:
        self._sessions.clear()


class Sessions:
    """The loaded generators of a verified bundle in one process; drops the least recently used first."""

    def __init__(self, verified: VerifiedBundle, runner: Runner, threads: int) -> None:
        self.opened = 0
        """Number of times that a generator was loaded."""
        self._verified = verified
        self._runner = runner
        pool = threads - 1  # the calling thread is one of them
        self._most = max(MIN_SESSIONS, POOL_THREADS // pool) if pool else sys.maxsize
        self._loaded: OrderedDict[str, tuple[GeneratorEntry, int]] = OrderedDict()
        self._lock = threading.Lock()

    def draw(self, entry: GeneratorEntry, draw: Draw, seconds: float) -> Output:
        """Run a batch through a generator, after loading it if necessary; see `Runner.draw`.

        Raises:
            VerificationError: the generator's file has changed since verification, or the generator does not
                run.
        """
        with self._lock:
            try:
                if self._runner.worn:
                    self.close()
                self._require(entry)
                return self._runner.draw(entry, draw, seconds)
            except BaseException:
                # Also after Ctrl-C: the next answer of an interrupted runner would belong to no batch.
                self.close()
                raise

    def close(self) -> None:
        """Free every generator; the next batch loads its generator again."""
        self._loaded.clear()
        self._runner.close()

    def _require(self, entry: GeneratorEntry) -> None:
        if entry.file in self._loaded:
            self._loaded.move_to_end(entry.file)
            return
        # Nothing unproven is loaded: the bytes have passed the policy; `read` compares their digest again.
        self._verified.prove([entry.file])
        data = self._verified.read(entry.file)
        needed = session_bytes(len(data))
        while self._loaded and (self._bytes + needed > SESSION_BYTES or len(self._loaded) >= self._most):
            _, (oldest, _) = self._loaded.popitem(last=False)
            self._runner.drop(oldest)
        self._runner.load(entry, data)
        self._loaded[entry.file] = entry, needed
        self.opened += 1

    @property
    def _bytes(self) -> int:
        return sum(needed for _, needed in self._loaded.values())


def does_not_run(
    entry: GeneratorEntry, found: str, expected: str = "a generator that ONNX Runtime can run"
) -> VerificationError:
    """The error for a verified generator that fails to run."""
    return VerificationError(
        entry.file,
        expected=expected,
        found=found,
        next_step="do not use this generator; tell the hospital that signed it",
    )


def session_bytes(file_bytes: int) -> int:
    """Memory of a loaded generator in bytes, rounded up from the measured 0.4 MiB + 2.1 x its file."""
    return 2**19 + file_bytes * 5 // 2
