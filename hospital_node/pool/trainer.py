"""The worker's process: it trains the batches that it gets and returns every error as a value."""

from __future__ import annotations

import dataclasses
import errno
import os
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hospital_node.pool.heartbeat import Beat
from hospital_node.pool.memory import LaneMemory, cpu_share
from hospital_node.pool.schedule import Failed, Interrupted, OutOfMemory
from hospital_node.singan.config import TrainingSettings
from hospital_node.singan.needs import image_needs
from hospital_node.singan.trained import TrainedGenerator
from sharekit.errors import DependencyError, SharekitError

if TYPE_CHECKING:
    from hospital_node.singan.lane import LaneJob, ScaleProgress

MAX_REASON = 300  # characters
DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_PATH = re.compile(r"(?<!\w)(?:~|\.{1,2})?(?:/[^\s/:'\",)]+)+/?")

Engine = Callable[..., Sequence[TrainedGenerator | SharekitError]]
"""`hospital_node.singan.training.train_lanes`, or something with its signature."""


@dataclass(frozen=True)
class DiskFull:
    """The worker could not write its checkpoint: no fault of the generator."""


Result = TrainedGenerator | Failed | Interrupted | OutOfMemory | DiskFull


def one_line(error: BaseException) -> str:
    """An error as one line for the ledger, without paths."""
    text = (
        f"expected {error.expected}, found {error.found}" if isinstance(error, SharekitError) else str(error)
    )
    line = " ".join(_PATH.sub("<path>", text).split())
    return f"{type(error).__name__}: {line}"[:MAX_REASON].rstrip(": ")


class Trainer:
    """A worker: `train` runs in one thread, everything else at the same time in another."""

    def __init__(
        self,
        settings: TrainingSettings,
        device: str,
        threads: int,
        engine: Engine | None,
        gpus: float = 0.0,
    ) -> None:
        """A worker of `threads` CPU threads and a share `gpus` of a GPU, for trainings of these settings."""
        self.settings = settings
        self.engine = engine
        self.memory = LaneMemory(device, gpus or cpu_share(threads))
        self.side_by_side = engine is None
        """The default engine can train a batch at once."""
        self.device = device
        self.threads = threads
        self.stopping = threading.Event()
        self.steps = 0
        self.first_step = 0.0
        self.latest_step = 0.0
        self.progress: dict[str, ScaleProgress] = {}

    def prepare(self) -> tuple[str, int]:
        """Load the engine: when this returns, the worker is up.

        Returns:
            Ray's identifier of its machine, and its process there.

        Raises:
            DependencyError: torch cannot use the device.
        """
        import ray

        self.engine = self.engine or default_engine(self.device)
        return ray.get_runtime_context().get_node_id(), os.getpid()

    def claim(self, lanes: int, estimate: int) -> int:
        """How many of `lanes` generators, of `estimate` bytes each, can be trained side by side here."""
        return self.memory.claim(lanes, estimate)

    def train(self, jobs: Sequence[LaneJob]) -> list[Result]:
        """Train a batch; an error comes back as a value, so that only a dead process looks like one."""
        self.steps = 0
        self.progress = {}
        if self.side_by_side and len(jobs) > 1:
            together = self._run(jobs)
            if not isinstance(together, Failed):
                return together
        # One of several failed, or the engine takes only one at a time: try each alone.
        return [self._alone(job) for job in jobs]

    def _alone(self, job: LaneJob) -> Result:
        found = self._run([job])
        return found if isinstance(found, Failed) else found[0]

    def _run(self, jobs: Sequence[LaneJob]) -> list[Result] | Failed:
        """Train these at once; Failed if the engine raised an error that any of them may have caused."""
        if self.engine is None:
            raise ValueError("a worker is prepared before it trains")
        if self.stopping.is_set():
            return [Interrupted()] * len(jobs)
        try:
            with self.memory.measured(len(jobs), self._estimate(jobs[0])):
                found = self.engine(
                    [self._mine(job) for job in jobs],
                    self.settings.config,
                    profile=self.settings.profile,
                    device=self.device,
                    threads=self.threads,
                    should_stop=self._step,
                )
        except Exception as error:
            result = _result_of(error)
            if isinstance(result, OutOfMemory):
                _empty_cache()
            return result if isinstance(result, Failed) else [result] * len(jobs)
        return [Failed(one_line(one)) if isinstance(one, SharekitError) else one for one in found]

    def _mine(self, job: LaneJob) -> LaneJob:
        """The job, with progress reported to this worker and with arrays that torch may write.

        Ray's arrays are read-only views of shared memory, which torch warns about.
        """
        tensors = [tensor.copy() for tensor in job.tensors]
        report = partial(self._remember, job.generator_id)
        return dataclasses.replace(job, tensors=tensors, on_progress=report)

    def _estimate(self, job: LaneJob) -> int:
        """Bytes that a training is estimated to take."""
        channels, height, width = job.tensors[0].shape
        return image_needs(height, width, channels, self.settings.config).memory

    def _remember(self, generator: str, progress: ScaleProgress) -> None:
        self.progress = {**self.progress, generator: progress}

    def _step(self) -> bool:
        """The engine asks before every step, so a slow worker can be distinguished from a hung one."""
        self.latest_step = time.monotonic()
        if self.steps == 0:
            self.first_step = self.latest_step
        self.steps += 1
        return self.stopping.is_set()

    def beat(self) -> Beat:
        steps = self.steps
        mean = (self.latest_step - self.first_step) / (steps - 1) if steps > 1 else None
        return Beat(steps, mean, self.progress)

    def stop(self) -> None:
        """Finish the step, write the checkpoint, and take nothing new."""
        self.stopping.set()

    def forget(self, checkpoint_dir: Path) -> None:
        """Destroy the checkpoint where this worker wrote it."""
        from hospital_node.singan import checkpoint

        checkpoint.destroy(checkpoint_dir)


def default_engine(device: str) -> Engine:
    import torch

    from hospital_node.singan.training import train_lanes

    if device != "cpu" and not torch.cuda.is_available():
        raise DependencyError(
            device,
            expected="a GPU that torch can use",
            found=f"torch {torch.__version__} without one",
            next_step="install a torch with CUDA, or train on the CPU with --gpus 0",
        )
    return train_lanes


def _result_of(error: Exception) -> Failed | Interrupted | OutOfMemory | DiskFull:
    import torch

    from hospital_node.singan.training import Stopped

    if isinstance(error, Stopped):
        return Interrupted()
    if isinstance(error, torch.OutOfMemoryError):
        return OutOfMemory()
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        return DiskFull()
    return Failed(one_line(error))


def _empty_cache() -> None:
    """Free the device memory of a failed batch: another worker may share the device."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
