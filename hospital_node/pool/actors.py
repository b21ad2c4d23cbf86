"""Workers: Ray actors that train one image at a time, with the driver's handle on them."""

from __future__ import annotations

import contextlib
import errno
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hospital_node.pool.schedule import Died, Failed, Interrupted, Outcome
from hospital_node.singan.config import TrainingConfig
from hospital_node.singan.trained import TrainedGenerator
from sharekit.errors import DependencyError, NodeStateError, SharekitError
from sharekit.tensors import ChannelLayout

if TYPE_CHECKING:
    from hospital_node.singan.training import ScaleProgress

START_TIMEOUT = 300.0  # seconds for a worker to start and import torch
FORGET_TIMEOUT = 30.0  # seconds
MAX_REASON = 300  # characters
DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_PATH = re.compile(r"(?<!\w)(?:~|\.{1,2})?(?:/[^\s/:'\",)]+)+/?")

Engine = Callable[..., TrainedGenerator]
"""`hospital_node.singan.training.train`, or something with its signature."""


@dataclass(frozen=True)
class Job:
    """All that a worker needs, so that it may be on another machine than the node's folder."""

    tensor: NDArray[np.float32]  # (C, H, W), [-1, 1], channels as in `layout`
    layout: ChannelLayout
    config: TrainingConfig
    generator_id: str
    profile: str
    checkpoint_dir: Path
    seed: int
    """Of a new training; a checkpoint brings its own."""


@dataclass(frozen=True)
class DiskFull:
    """The worker could not write its checkpoint: no fault of the image."""


Result = TrainedGenerator | Failed | Interrupted | DiskFull


def one_line(error: BaseException) -> str:
    """An error as one line for the ledger, without paths."""
    text = (
        f"expected {error.expected}, found {error.found}" if isinstance(error, SharekitError) else str(error)
    )
    line = " ".join(_PATH.sub("<path>", text).split())
    return f"{type(error).__name__}: {line}"[:MAX_REASON].rstrip(": ")


class Trainer:
    """What runs in a worker's process: `train` in one thread, everything else beside it in another."""

    def __init__(self, device: str, threads: int, engine: Engine | None) -> None:
        self.engine = engine
        self.device = device
        self.threads = threads
        self.stopping = threading.Event()
        self.latest: ScaleProgress | None = None

    def prepare(self) -> None:
        """Load the engine: when this returns, the worker is up.

        Raises:
            DependencyError: torch cannot use the device.
        """
        self.engine = self.engine or _default_engine(self.device)

    def train(self, job: Job) -> Result:
        """Train one image; an error comes back as a value, so that only a dead process looks like one."""
        self.latest = None
        if self.engine is None:
            raise ValueError("a worker is prepared before it trains")
        try:
            # Ray's arrays are read-only views of shared memory, which torch warns about.
            return self.engine(
                [job.tensor.copy()],
                job.layout,
                job.config,
                generator_id=job.generator_id,
                profile=job.profile,
                checkpoint_dir=job.checkpoint_dir,
                seed=job.seed,
                device=self.device,
                threads=self.threads,
                on_progress=self._remember,
                should_stop=self.stopping.is_set,
            )
        except Exception as error:
            return _result_of(error)

    def _remember(self, progress: ScaleProgress) -> None:
        self.latest = progress

    def progress(self) -> ScaleProgress | None:
        return self.latest

    def stop(self) -> None:
        """Finish the step, write the checkpoint, and take nothing new."""
        self.stopping.set()

    def forget(self, checkpoint_dir: Path) -> None:
        """Destroy the checkpoint where this worker wrote it."""
        from hospital_node.singan import checkpoint

        checkpoint.destroy(checkpoint_dir)


def _default_engine(device: str) -> Engine:
    import torch

    from hospital_node.singan.training import train

    if device != "cpu" and not torch.cuda.is_available():
        raise DependencyError(
            device,
            expected="a GPU that torch can use",
            found=f"torch {torch.__version__} without one",
            next_step="install a torch with CUDA, or train on the CPU with --gpus 0",
        )
    return train


def _result_of(error: Exception) -> Failed | Interrupted | DiskFull:
    from hospital_node.singan.training import Stopped

    if isinstance(error, Stopped):
        return Interrupted()
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        return DiskFull()
    return Failed(one_line(error))


def resources() -> tuple[float, float]:
    """CPUs and GPUs of the Ray that is running."""
    import ray

    found = ray.cluster_resources()
    return found.get("CPU", 0.0), found.get("GPU", 0.0)


class Pool:
    """The workers, by number. Every method returns values; no Ray object leaves."""

    def __init__(self, *, cpus: int, gpus: float, engine: Engine | None) -> None:
        """Workers of `cpus` threads and a share `gpus` of a GPU each; `start` starts them."""
        self._cpus = cpus
        self._gpus = gpus
        self._engine = engine
        self._actors: dict[int, Any] = {}
        self._jobs: dict[Any, int] = {}

    def start(self, workers: Sequence[int]) -> None:
        """Start these workers' processes, in place of the dead ones, and wait until they are up.

        Raises:
            NodeStateError: one does not come up.
            DependencyError: its torch cannot use the GPU.
        """
        import ray

        # The libraries' own thread pools are sized when they are loaded, before torch can be asked.
        variables = {name: str(self._cpus) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        actor = ray.remote(Trainer).options(
            num_cpus=self._cpus,
            num_gpus=self._gpus,
            max_concurrency=2,
            runtime_env={"env_vars": variables},
        )
        device = "cuda" if self._gpus else "cpu"
        for worker in workers:
            self._actors[worker] = actor.remote(device, self._cpus, self._engine)
        try:
            ray.get([self._actors[worker].prepare.remote() for worker in workers], timeout=START_TIMEOUT)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except ray.exceptions.RayError as error:
            raise NodeStateError(
                "training worker",
                expected=f"a process with {self._cpus} CPUs and {self._gpus:g} GPUs",
                found=one_line(error),
                next_step="check free memory and GPUs, or ask for less (--actors, --cpus-per-actor, --gpus)",
            ) from error

    def submit(self, worker: int, job: Job) -> None:
        """Begin to train on an idle worker."""
        self._jobs[self._actors[worker].train.remote(job)] = worker

    def wait(self, timeout: float) -> list[tuple[int, Outcome | TrainedGenerator | DiskFull]]:
        """What has ended within `timeout` seconds; a worker that died is given up."""
        import ray

        ready, _ = ray.wait(list(self._jobs), timeout=timeout) if self._jobs else ([], [])
        return [(worker, self._result(worker, job)) for job in ready for worker in [self._jobs.pop(job)]]

    def _result(self, worker: int, job: Any) -> Outcome | TrainedGenerator | DiskFull:
        import ray

        try:
            result: Result = ray.get(job)
            return result
        except ray.exceptions.OutOfMemoryError:
            cause = "the machine ran out of memory"
        except ray.exceptions.RayError:
            cause = "crashed, killed, or out of memory"
        ray.kill(self._actors.pop(worker))
        return Died(cause)

    def progress(self, timeout: float) -> Mapping[int, ScaleProgress]:
        """How far the busy workers are, of those that answer within `timeout` seconds."""
        import ray

        asked = {self._actors[worker].progress.remote(): worker for worker in self._jobs.values()}
        answered, _ = ray.wait(list(asked), num_returns=len(asked), timeout=timeout) if asked else ([], [])
        found = {}
        for answer in answered:
            # One that died in between is told of by `wait`.
            with contextlib.suppress(ray.exceptions.RayError):
                progress = ray.get(answer)
                if progress is not None:
                    found[asked[answer]] = progress
        return found

    def stop(self) -> None:
        """Ask every worker to finish its step, write a checkpoint and stop."""
        for actor in self._actors.values():
            actor.stop.remote()

    def forget(self, worker: int, checkpoint_dir: Path) -> None:
        """Have a worker, if alive, destroy a checkpoint that on another machine only it may reach."""
        import ray

        if worker in self._actors:
            with contextlib.suppress(ray.exceptions.RayError):
                ray.get(self._actors[worker].forget.remote(checkpoint_dir), timeout=FORGET_TIMEOUT)
