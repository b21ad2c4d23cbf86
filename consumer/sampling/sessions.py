"""Generators that are loaded: each when it is first needed, as many at once as fit into a fixed memory."""

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
"""Memory of all loaded generators of a process."""
POOL_THREADS = 256
"""Threads of all their pools: ONNX Runtime gives each session threads of its own."""
MIN_SESSIONS = 16
"""Loaded at once however many threads each has."""


class Runner(Protocol):
    """Where generators are loaded and run: this process, or one with limits."""

    def load(self, entry: GeneratorEntry, data: bytes) -> None:
        """Load a generator's bytes, which the policy has allowed."""

    def drop(self, entry: GeneratorEntry) -> None:
        """Free a loaded generator."""

    def draw(self, entry: GeneratorEntry, draw: Draw, seconds: float) -> Output:
        """Run a batch through a loaded generator; where there are limits, for so many seconds at most."""

    @property
    def worn(self) -> bool:
        """Whether the runner has come near a limit of its own, and should be closed before the next batch."""

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
    """The loaded generators of a verified bundle, in one process; those not used for longest make room."""

    def __init__(self, verified: VerifiedBundle, runner: Runner, threads: int) -> None:
        self.opened = 0
        """How often a generator was loaded."""
        self._verified = verified
        self._runner = runner
        pool = threads - 1  # the thread that asks is one of them
        self._most = max(MIN_SESSIONS, POOL_THREADS // pool) if pool else sys.maxsize
        self._loaded: OrderedDict[str, tuple[GeneratorEntry, int]] = OrderedDict()
        self._lock = threading.Lock()

    def draw(self, entry: GeneratorEntry, draw: Draw, seconds: float) -> Output:
        """Run a batch through a generator, which is loaded first where it is not; see `Runner.draw`.

        Raises:
            VerificationError: the generator's file has changed since it was verified, or it does not run.
        """
        with self._lock:
            try:
                if self._runner.worn:
                    self.close()
                self._require(entry)
                return self._runner.draw(entry, draw, seconds)
            except BaseException:
                # Also after Ctrl-C: what a half-finished runner would say next belongs to no batch.
                self.close()
                raise

    def close(self) -> None:
        """Free every generator; the next batch loads its own again."""
        self._loaded.clear()
        self._runner.close()

    def _require(self, entry: GeneratorEntry) -> None:
        if entry.file in self._loaded:
            self._loaded.move_to_end(entry.file)
            return
        # The policy has checked these bytes when the bundle was verified; `read` compares their digest.
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
    """The error for a verified generator that gives no samples."""
    return VerificationError(
        entry.file,
        expected=expected,
        found=found,
        next_step="do not use this generator; tell the hospital that signed it",
    )


def session_bytes(file_bytes: int) -> int:
    """Memory of a loaded generator, rounded up from what was measured: 0.4 MiB and 2.1 times its file."""
    return 2**19 + file_bytes * 5 // 2
