"""The status file that a training run keeps while it runs, and that `hospital-node status` reads."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from hospital_node.ledger.states import GeneratorState
from sharekit.errors import InputError, NodeStateError
from sharekit.program.progress import Pace, Progress
from sharekit.storage import files

if TYPE_CHECKING:
    from hospital_node.singan.training import ScaleProgress

NAME = "training.json"
INTERVAL = 2.0  # seconds between two writes of the file
SILENCE = 120.0  # seconds without news after which a living run is called silent; a worker may start slowly
_WORKER = "ray::Trainer"
"""Ray's name of a worker process."""


@dataclass(frozen=True)
class Running:
    """One generator that is being trained."""

    worker: int
    generator: str
    scale: int | None = None  # 0 the coarsest; None until the worker has reported
    scales: int | None = None
    iteration: int | None = None  # done at this scale
    iterations: int | None = None

    def describe(self) -> str:
        """One line for a terminal."""
        if self.scale is None:
            return f"worker {self.worker}  {self.generator[:8]}  starting"
        return (
            f"worker {self.worker}  {self.generator[:8]}  scale {self.scale + 1}/{self.scales}"
            f"  iteration {self.iteration}/{self.iterations}"
        )


@dataclass(frozen=True)
class TrainingStatus:
    """A run at one moment. Law: `from_json(to_json(x)) == x`."""

    host: str
    pid: int
    process_started: float  # seconds since 1970, from the system: process numbers are reused
    started: float  # seconds since 1970
    updated: float  # seconds since 1970
    profile: str
    generators: int  # number in this run
    done_percent: float  # share of this run's work
    eta_seconds: float | None
    iterations_per_second: float
    generators_per_hour: float | None  # from the share of work done, so it is known before the first one ends
    worker_memory: int | None  # bytes resident in the workers on this machine
    running: tuple[Running, ...]

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> TrainingStatus:
        running = tuple(Running(**one) for one in value["running"])
        return TrainingStatus(**{**value, "running": running})


class Liveness(StrEnum):
    """How to interpret a `TrainingStatus` that was found."""

    RUNNING = "running"
    SILENT = "silent"
    """Its process lives, but has not written for a long time."""
    DIED = "died"
    """Its process is gone without having ended the run."""


def judge(status: TrainingStatus, alive: bool | None, now: float) -> Liveness:
    """Judge a status. `alive`: whether its process lives, None if unknown; `now`: seconds since 1970."""
    if alive is False:
        return Liveness.DIED
    return Liveness.SILENT if now - status.updated > SILENCE else Liveness.RUNNING


def is_alive(status: TrainingStatus) -> bool | None:
    """Whether the process that wrote it lives; None when it is on another machine."""
    if status.host != socket.gethostname():
        return None
    try:
        process = psutil.Process(status.pid)
        same = abs(process.create_time() - status.process_started) < 1.0
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def read(path: Path) -> TrainingStatus | None:
    """The last status that a run wrote to `path`; None if there is no file.

    Raises:
        NodeStateError: the file is damaged.
    """
    try:
        data = files.read_bytes(path, max_bytes=files.MAX_JSON_BYTES)
    except InputError:
        if path.exists():
            raise
        return None
    try:
        return TrainingStatus.from_json(files.parse_json(data, path))
    except Exception as error:
        raise NodeStateError(
            path,
            expected="what a training run of this release says of itself",
            found=f"{type(error).__name__}: {error}",
            next_step="remove the file: it holds nothing that is needed, and a run writes it again",
        ) from error


@dataclass(frozen=True)
class Found:
    """A run that was found, and how to interpret it."""

    status: TrainingStatus
    liveness: Liveness
    age: float  # seconds since its last write

    def to_json(self) -> dict[str, Any]:
        return {**self.status.to_json(), "liveness": self.liveness, "age_seconds": round(self.age, 1)}


def look(path: Path) -> Found | None:
    """The run that writes `path`, or died while writing it; None if no run is under way.

    Raises:
        NodeStateError: the file is damaged.
    """
    status = read(path)
    if status is None:
        return None
    now = time.time()
    liveness = judge(status, is_alive(status), now)
    # The run may have ended normally since the file was read.
    if liveness is Liveness.DIED and read(path) != status:
        return None
    return Found(status, liveness, max(now - status.updated, 0.0))


class Recorder:
    """Keeps the file up to date while the driver works."""

    def __init__(self, path: Path, profile: str, generators: int) -> None:
        self._path = path
        self._pace = Pace()
        self._written = -INTERVAL
        this = psutil.Process()
        now = time.time()
        self.status = TrainingStatus(
            socket.gethostname(),
            this.pid,
            this.create_time(),
            now,
            now,
            profile,
            generators,
            0.0,
            None,
            0.0,
            None,
            None,
            (),
        )

    def update(
        self,
        event: Progress,
        batches: Sequence[Sequence[str]],
        heard: Mapping[str, ScaleProgress],
        counts: Mapping[GeneratorState, int],
    ) -> Progress:
        """Take in the run's present state; write it at most every `INTERVAL` seconds.

        Args:
            batches: the generators of each worker, empty for an idle one.
            heard: new reports of workers about generators; the others keep their last report.
            counts: the node's generators by state.

        Returns:
            The event with the lines that a terminal shows below its bar.
        """
        self._pace.observe(event)
        before = {(one.worker, one.generator): one for one in self.status.running}
        running = tuple(
            _reported(worker, name, heard.get(name)) or before.get((worker, name)) or Running(worker, name)
            for worker, batch in enumerate(batches)
            for name in batch
        )
        share = self._pace.rate / event.total if event.total else 0.0
        self.status = dataclasses.replace(
            self.status,
            updated=time.time(),
            done_percent=round(100 * event.done / event.total, 2) if event.total else 100.0,
            eta_seconds=self._pace.eta,
            iterations_per_second=float(event.values.get("iterations_per_s", 0.0)),
            generators_per_hour=round(3600 * share * self.status.generators, 2) if share else None,
            running=running,
        )
        if time.monotonic() - self._written >= INTERVAL:
            self.write()
        return dataclasses.replace(event, lines=lines(self.status, counts))

    def write(self) -> None:
        """Write the file now. The driver, not this record, reports a full disk or a lost folder."""
        self.status = dataclasses.replace(self.status, worker_memory=worker_memory())
        with contextlib.suppress(OSError):
            files.write_json(self._path, self.status.to_json(), mode=0o600)
        self._written = time.monotonic()


def _reported(worker: int, generator: str, progress: ScaleProgress | None) -> Running | None:
    if progress is None:
        return None
    return Running(
        worker, generator, progress.scale, progress.scales, progress.iteration, progress.iterations
    )


def worker_memory() -> int | None:
    """Resident bytes of this process's workers, None if it has no worker; a shared page counts per worker."""
    sizes = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if process.name().startswith(_WORKER):
                sizes.append(process.memory_info().rss)
    return sum(sizes) or None


@contextlib.contextmanager
def recorded(path: Path, profile: str, generators: int) -> Iterator[Recorder]:
    """Keep `path` for the length of the block; a file that stays longer is from a killed run."""
    recorder = Recorder(path, profile, generators)
    recorder.write()
    try:
        yield recorder
    finally:
        path.unlink(missing_ok=True)


def lines(status: TrainingStatus, counts: Mapping[GeneratorState, int]) -> tuple[str, ...]:
    """For a terminal: the generators by state and the rate, then each worker."""
    states = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    rate = "" if status.generators_per_hour is None else f"; {status.generators_per_hour:g} generators/h"
    return (states + rate, *(running.describe() for running in status.running))
