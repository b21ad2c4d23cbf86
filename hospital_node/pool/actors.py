"""Workers: Ray actors that train what they are given, with the driver's handle on them."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
from numpy.typing import NDArray

from hospital_node.pool.heartbeat import Beat
from hospital_node.pool.memory import LaneMemory, cpu_share
from hospital_node.pool.schedule import Died, Failed, Interrupted, OutOfMemory
from hospital_node.singan.config import TrainingConfig
from hospital_node.singan.needs import image_needs
from hospital_node.singan.trained import TrainedGenerator
from sharekit.errors import DependencyError, NodeStateError, SharekitError
from sharekit.generator.tensors import ChannelLayout

if TYPE_CHECKING:
    from hospital_node.singan.training import ScaleProgress

START_TIMEOUT = 300.0  # seconds for a worker to start and import torch
FORGET_TIMEOUT = 30.0  # seconds
LOST = 2.0  # seconds between looks whether the machine of a starting worker is still there
MAX_REASON = 300  # characters
DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_PATH = re.compile(r"(?<!\w)(?:~|\.{1,2})?(?:/[^\s/:'\",)]+)+/?")

# Memory stays with the process instead of being mapped and faulted in anew for every tensor; one arena, since
# glibc unmaps those of other threads than the main one as they empty. See docs/adr/0013-faults.md.
MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
    "MALLOC_ARENA_MAX": "1",
}

Engine = Callable[..., TrainedGenerator]
"""`hospital_node.singan.training.train`, or something with its signature."""


@dataclass(frozen=True)
class Job:
    """All that a worker needs for an image, so that it may be on another machine than the node's folder."""

    image: str
    tensor: NDArray[np.float32]  # (C, H, W), [-1, 1], channels as in `layout`
    layout: ChannelLayout
    config: TrainingConfig
    generator_id: str
    profile: str
    checkpoint_dir: Path
    seed: int
    """Of a new training; a checkpoint brings its own."""

    @property
    def memory(self) -> int:
        """Bytes that training is estimated to take."""
        channels, height, width = self.tensor.shape
        return image_needs(height, width, channels, self.config).memory


@dataclass(frozen=True)
class DiskFull:
    """The worker could not write its checkpoint: no fault of the image."""


Result = TrainedGenerator | Failed | Interrupted | OutOfMemory | DiskFull


def one_line(error: BaseException) -> str:
    """An error as one line for the ledger, without paths."""
    text = (
        f"expected {error.expected}, found {error.found}" if isinstance(error, SharekitError) else str(error)
    )
    line = " ".join(_PATH.sub("<path>", text).split())
    return f"{type(error).__name__}: {line}"[:MAX_REASON].rstrip(": ")


class Trainer:
    """What runs in a worker's process: `train` in one thread, everything else beside it in another."""

    def __init__(self, device: str, threads: int, engine: Engine | None, gpus: float = 0.0) -> None:
        """A worker of `threads` CPU threads and a share `gpus` of a GPU."""
        self.engine = engine
        self.memory = LaneMemory(device, gpus or cpu_share(threads))
        self.side_by_side = engine is None
        """The default engine can train a group at once."""
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
        """How many of `lanes` images, of an estimated memory each, can be trained side by side here."""
        return self.memory.claim(lanes, estimate)

    def train(self, jobs: Sequence[Job]) -> list[Result]:
        """Train a group; an error comes back as a value, so that only a dead process looks like one."""
        self.steps = 0
        self.progress = {}
        together = self._train_lanes(jobs) if self.side_by_side and len(jobs) > 1 else None
        return together or [self._train(job) for job in jobs]

    def _train_lanes(self, jobs: Sequence[Job]) -> list[Result] | None:
        """Train a group side by side; None where one of them cannot start: each is to be tried alone."""
        from hospital_node.singan.training import LaneJob, train_lanes

        lanes = [
            LaneJob(
                [job.tensor.copy()],
                job.layout,
                job.generator_id,
                job.checkpoint_dir,
                job.seed,
                partial(self._remember, job.image),
            )
            for job in jobs
        ]
        try:
            with self.memory.measured(len(jobs), jobs[0].memory):
                found = train_lanes(
                    lanes,
                    jobs[0].config,
                    profile=jobs[0].profile,
                    device=self.device,
                    threads=self.threads,
                    should_stop=self._step,
                )
        except Exception as error:
            result = _result_of(error)
            if isinstance(result, Failed):
                return None
            if isinstance(result, OutOfMemory):
                _empty_cache()
            return [result] * len(jobs)
        return [Failed(one_line(one)) if isinstance(one, SharekitError) else one for one in found]

    def _train(self, job: Job) -> Result:
        if self.engine is None:
            raise ValueError("a worker is prepared before it trains")
        if self.stopping.is_set():
            return Interrupted()
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
                on_progress=lambda progress: self._remember(job.image, progress),
                should_stop=self._step,
            )
        except Exception as error:
            result = _result_of(error)
        if isinstance(result, OutOfMemory):
            _empty_cache()
        return result

    def _remember(self, image: str, progress: ScaleProgress) -> None:
        self.progress = {**self.progress, image: progress}

    def _step(self) -> bool:
        """The engine asks before every step: that is what tells a slow worker from a hung one."""
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

    from hospital_node.singan.training import train

    if device != "cpu" and not torch.cuda.is_available():
        raise DependencyError(
            device,
            expected="a GPU that torch can use",
            found=f"torch {torch.__version__} without one",
            next_step="install a torch with CUDA, or train on the CPU with --gpus 0",
        )
    return train


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
    """Give back what a failed group had of the device: another worker may share it."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def resources() -> tuple[float, float]:
    """CPUs and GPUs of the Ray that is running."""
    import ray

    found = ray.cluster_resources()
    return found.get("CPU", 0.0), found.get("GPU", 0.0)


def room(cpus: int, gpus: float) -> int:
    """How many workers of this size the machines hold that are up; none is put together from two machines."""
    import ray

    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return sum(_fit(machine, cpus, gpus) for machine in machines)


def _fit(machine: Mapping[str, float], cpus: int, gpus: float) -> int:
    most = int(machine.get("CPU", 0.0) // cpus)
    if not gpus:
        return most
    all_gpus = machine.get("GPU", 0.0)
    # A share of one GPU cannot be put together from two.
    return min(most, int(1 / gpus) * int(all_gpus) if gpus < 1 else int(all_gpus // gpus))


class Pool:
    """The workers, by number. Every method returns values; no Ray object leaves."""

    def __init__(self, *, cpus: int, gpus: float, engine: Engine | None) -> None:
        """Workers of `cpus` threads and a share `gpus` of a GPU each; `start` starts them."""
        self._cpus = cpus
        self._gpus = gpus
        self._engine = engine
        self._actors: dict[int, Any] = {}
        self._processes: dict[int, psutil.Process] = {}
        self._jobs: dict[Any, int] = {}
        self._asked: dict[Any, int] = {}

    def room(self) -> int:
        """How many workers the machines hold that are up now."""
        return room(self._cpus, self._gpus)

    def start(self, workers: Sequence[int]) -> frozenset[int]:
        """Start these workers' processes, in place of the dead ones, and wait until they are up.

        Returns:
            Those that are up. The others' machine went down in the meantime.

        Raises:
            NodeStateError: one does not come up, and no machine is missing.
            DependencyError: its torch cannot use the GPU.
        """
        import ray

        # The libraries' own thread pools are sized when they are loaded, before torch can be asked.
        threads = {name: str(self._cpus) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        actor = ray.remote(Trainer).options(
            num_cpus=self._cpus,
            num_gpus=self._gpus,
            max_concurrency=2,
            runtime_env={"env_vars": {**threads, **MALLOC}},
        )
        device = "cuda" if self._gpus else "cpu"
        for worker in workers:
            self._actors[worker] = actor.remote(device, self._cpus, self._engine, self._gpus)
        starting = {self._actors[worker].prepare.remote(): worker for worker in workers}
        deadline = time.monotonic() + START_TIMEOUT
        while starting:
            ready, _ = ray.wait(list(starting), num_returns=len(starting), timeout=LOST)
            try:
                for call in ready:
                    self._is_up(starting[call], *ray.get(call))
                    del starting[call]
                if starting and time.monotonic() > deadline:
                    raise ray.exceptions.GetTimeoutError(f"not up after {START_TIMEOUT:g} s")
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None
            except ray.exceptions.RayError as error:
                if self.room() >= len(self._actors):
                    raise self._does_not_start(error) from error
            if self.room() < len(self._actors):
                break
        for worker in starting.values():
            self.kill(worker)
        return frozenset(workers) - frozenset(starting.values())

    def _is_up(self, worker: int, machine: str, pid: int) -> None:
        import ray

        if machine == ray.get_runtime_context().get_node_id():
            with contextlib.suppress(psutil.NoSuchProcess):
                self._processes[worker] = psutil.Process(pid)

    def _does_not_start(self, error: Exception) -> NodeStateError:
        return NodeStateError(
            "training worker",
            expected=f"a process with {self._cpus} CPUs and {self._gpus:g} GPUs",
            found=one_line(error),
            next_step="check free memory and GPUs, or ask for less (--actors, --cpus-per-actor, --gpus)",
        )

    def claim(self, worker: int, lanes: int, estimate: int) -> int:
        """How many of `lanes` images of `estimate` bytes each an idle worker's device holds; at least one."""
        import ray

        # One that has died is told of by `wait`, as soon as it is given something.
        with contextlib.suppress(ray.exceptions.RayError):
            held: int = ray.get(self._actors[worker].claim.remote(lanes, estimate), timeout=START_TIMEOUT)
            return held
        return 1

    def submit(self, worker: int, jobs: Sequence[Job]) -> None:
        """Begin to train a group on an idle worker."""
        self._jobs[self._actors[worker].train.remote(jobs)] = worker

    def wait(self, timeout: float) -> list[tuple[int, list[Result] | Died]]:
        """What has ended within `timeout` seconds; a worker that died is given up."""
        import ray

        jobs = list(self._jobs)
        ready, _ = ray.wait(jobs, timeout=timeout) if jobs else ([], [])
        return [(worker, self._result(worker, job)) for job in ready for worker in [self._jobs.pop(job)]]

    def _result(self, worker: int, job: Any) -> list[Result] | Died:
        import ray

        try:
            results: list[Result] = ray.get(job)
            return results
        except ray.exceptions.OutOfMemoryError:
            cause = "the machine ran out of memory"
        except ray.exceptions.RayError:
            cause = "crashed, killed, or out of memory"
        self.kill(worker)
        return Died(cause)

    def kill(self, worker: int) -> None:
        """End a worker's process, whatever it is doing, and give up what it had."""
        import ray

        ray.kill(self._actors.pop(worker))
        # Ray takes seconds to end a process that was stopped.
        process = self._processes.pop(worker, None)
        if process is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._jobs = {job: other for job, other in self._jobs.items() if other != worker}
        self._asked = {question: other for question, other in self._asked.items() if other != worker}

    def beats(self) -> Mapping[int, Beat]:
        """What busy workers have answered to the question of the last call; ask those that have answered.

        Nobody waits here: a worker that does not answer is simply not heard.
        """
        import ray

        asked = list(self._asked)
        answered, _ = ray.wait(asked, num_returns=len(asked), timeout=0) if asked else ([], [])
        found = {}
        for answer in answered:
            worker = self._asked.pop(answer)
            # One that died in between is told of by `wait`.
            with contextlib.suppress(ray.exceptions.RayError):
                found[worker] = ray.get(answer)
        for worker in set(self._jobs.values()) - set(self._asked.values()):
            self._asked[self._actors[worker].beat.remote()] = worker
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
