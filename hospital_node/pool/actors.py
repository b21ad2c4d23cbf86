"""The driver's handle on its workers: Ray actors, by number; no Ray object leaves this module."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from hospital_node.pool.heartbeat import Beat
from hospital_node.pool.schedule import Died
from hospital_node.pool.trainer import Engine, Result, Trainer, one_line
from hospital_node.singan.config import TrainingSettings
from sharekit.errors import NodeStateError

if TYPE_CHECKING:
    from hospital_node.singan.lane import LaneJob

START_TIMEOUT = 300.0  # seconds for a worker to start and import torch
FORGET_TIMEOUT = 30.0  # seconds
LOST = 2.0  # seconds between checks that the machine of a starting worker is still up

# Memory stays with the process instead of being mapped and faulted in again for every tensor. There is one
# arena, since glibc unmaps those of other threads than the main one as they empty: docs/adr/0013-faults.md.
MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
    "MALLOC_ARENA_MAX": "1",
}


def resources() -> tuple[float, float]:
    """CPUs and GPUs of the Ray that is running."""
    import ray

    found = ray.cluster_resources()
    return found.get("CPU", 0.0), found.get("GPU", 0.0)


def room(cpus: int, gpus: float) -> int:
    """How many workers of this size fit on the machines that are up; a worker never spans two machines."""
    import ray

    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return sum(_fit(machine, cpus, gpus) for machine in machines)


def _fit(machine: Mapping[str, float], cpus: int, gpus: float) -> int:
    most = int(machine.get("CPU", 0.0) // cpus)
    if not gpus:
        return most
    all_gpus = machine.get("GPU", 0.0)
    # A share of a GPU never spans two GPUs.
    return min(most, int(1 / gpus) * int(all_gpus) if gpus < 1 else int(all_gpus // gpus))


class Pool:
    """The workers, by number. Every method returns values."""

    def __init__(self, settings: TrainingSettings, *, cpus: int, gpus: float, engine: Engine | None) -> None:
        """Workers of `cpus` threads and a share `gpus` of a GPU each; `start` starts them."""
        self._settings = settings
        self._cpus = cpus
        self._gpus = gpus
        self._engine = engine
        self._actors: dict[int, Any] = {}
        self._processes: dict[int, psutil.Process] = {}
        self._jobs: dict[Any, int] = {}
        self._asked: dict[Any, int] = {}

    def room(self) -> int:
        """How many workers fit on the machines that are up now."""
        return room(self._cpus, self._gpus)

    def start(self, workers: Sequence[int]) -> frozenset[int]:
        """Start these workers' processes, in place of the dead ones, and wait until they are up.

        Returns:
            The workers that are up. The machines of the others went down in the meantime.

        Raises:
            NodeStateError: a worker does not come up although no machine is missing.
            DependencyError: a worker's torch cannot use the GPU.
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
            self._actors[worker] = actor.remote(self._settings, device, self._cpus, self._engine, self._gpus)
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
        """How many of `lanes` generators, each of `estimate` bytes, fit an idle worker; at least one."""
        import ray

        # `wait` reports a dead worker as soon as it gets a job.
        with contextlib.suppress(ray.exceptions.RayError):
            held: int = ray.get(self._actors[worker].claim.remote(lanes, estimate), timeout=START_TIMEOUT)
            return held
        return 1

    def submit(self, worker: int, jobs: Sequence[LaneJob]) -> None:
        """Begin to train a batch on an idle worker."""
        self._jobs[self._actors[worker].train.remote(jobs)] = worker

    def wait(self, timeout: float) -> list[tuple[int, list[Result] | Died]]:
        """Results that arrive within `timeout` seconds; a worker that died is given up."""
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
        """End a worker's process at once, and give up its batch."""
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
        """Answers of busy workers to the last call's question; a new question follows each answer.

        This never waits: a worker that does not answer is missing from the result.
        """
        import ray

        asked = list(self._asked)
        answered, _ = ray.wait(asked, num_returns=len(asked), timeout=0) if asked else ([], [])
        found = {}
        for answer in answered:
            worker = self._asked.pop(answer)
            # `wait` reports a worker that died in between.
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
        """Have a worker, if alive, destroy a checkpoint that only its machine may reach."""
        import ray

        if worker in self._actors:
            with contextlib.suppress(ray.exceptions.RayError):
                ray.get(self._actors[worker].forget.remote(checkpoint_dir), timeout=FORGET_TIMEOUT)
