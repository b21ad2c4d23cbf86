"""Train a node's generators: carry out the schedule between the ledger and Ray."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from hospital_node.isolation import sockets
from hospital_node.isolation.closed_ray import closed_ray, joined_ray
from hospital_node.ledger.states import GeneratorState
from hospital_node.node import history
from hospital_node.node.node import Node
from hospital_node.pool import live, schedule
from hospital_node.pool.actors import START_TIMEOUT, Pool, resources, room
from hospital_node.pool.heartbeat import Beat, Pulse
from hospital_node.pool.queue import fill_queue, size_of
from hospital_node.pool.schedule import Died, Failed, Interrupted, Outcome, Requeue, Settle, Trained
from hospital_node.pool.trainer import DISK_FULL, DiskFull, Engine, Result, one_line
from hospital_node.pool.training_options import GPU_LANES, GroupOptions, PoolOptions, TrainingReport
from hospital_node.pool.workload import Workload
from hospital_node.singan import checkpoint
from hospital_node.singan.config import TrainingSettings
from hospital_node.singan.lane import LaneJob
from hospital_node.singan.needs import image_needs
from hospital_node.singan.trained import TrainedGenerator
from sharekit.errors import NodeStateError, SharekitError, UsageError
from sharekit.program.interruption import stop_on_signal
from sharekit.program.progress import ProgressCallback, ignore

POLL = 0.5  # seconds between looks at workers, progress and a request to stop
SEED_BITS = 62
_DONE = (
    GeneratorState.TRAINED,
    GeneratorState.AUDITED,
    GeneratorState.WITHHELD,
    GeneratorState.RELEASED,
    GeneratorState.WITHDRAWN,
)


def train_node(
    node: Node,
    settings: TrainingSettings,
    options: PoolOptions = PoolOptions(),  # noqa: B008 - frozen
    groups: GroupOptions = GroupOptions(),  # noqa: B008 - frozen
    *,
    restart: bool = False,
    engine: Engine | None = None,
    on_progress: ProgressCallback = ignore,
    on_plan: Callable[[str], None] | None = None,
) -> TrainingReport:
    """Plan generators of the node's images, and train all that wait, until a signal asks to stop.

    After a kill at any point, the next call goes on from there. Finished generators stay finished, and an
    unfinished one goes on from its checkpoint. z* and the seed are only in the checkpoint, which is destroyed
    before a generator is called trained, failed or quarantined.

    Args:
        settings: those of every training.
        groups: how many images stand behind each generator, and which belong together.
        restart: train interrupted, failed and quarantined generators from the beginning.
        on_plan: called once with what is trained, in words, before it begins.
        engine: function that trains generators in the workers; by default `singan.training.train_lanes`.

    Raises:
        InputError: the file of groups is broken.
        NodeStateError: no image, another process at work on the node, unfinished generators of other
            settings, a full disk, or workers that do not start.
        ExposureError: Ray could be reached from outside, see `isolation`.
    """
    with _full_disk_said(node), node.write_lock():
        started = time.monotonic()
        queue = fill_queue(node, settings, groups, restart=restart)
        notes, words, count = queue.notes, queue.plan, len(queue.generators)
        if on_plan is not None:
            on_plan(words)
        if not count:
            return _report(node, notes, words, None, interrupted=False, seconds=0.0)
        work = queue.workload(settings.config)
        history.record(node, history.Action.TRAINING, begun=count, profile=settings.profile)
        with (
            live.recorded(node.root / live.NAME, settings.profile, count) as recorder,
            _ray(node, options) as check,
            stop_on_signal() as stop_asked,
        ):
            workers, gpus = _size(options, count)
            lanes = options.lanes or (GPU_LANES if gpus else 1)
            plan = queue.first_schedule(workers, lanes, options.max_attempts, settings.config)
            # The schedule holds the queue now; a long one must not be held twice.
            del queue
            pool = Pool(settings, cpus=options.cpus_per_actor, gpus=gpus, engine=engine)
            remote = options.address is not None
            driver = _Driver(node, settings, pool, check, work, remote, options.heartbeat)
            interrupted = driver.run(plan, stop_asked, recorder, on_progress)
        counts = {str(state): number for state, number in node.ledger.generators.counts().items() if number}
        history.record(node, history.Action.TRAINING, interrupted=interrupted, generators=counts)
        seconds = time.monotonic() - started
        return _report(node, notes, words, work, interrupted=interrupted, seconds=seconds)


@dataclass
class _Driver:
    """Carries out the schedule's decisions, on the ledger and files and on the pool."""

    node: Node
    settings: TrainingSettings
    pool: Pool
    check: Callable[[], object]
    work: Workload
    remote: bool
    """Workers may be on other machines."""
    heartbeat: float
    """Least patience with a silent worker, in seconds."""
    disk_full: bool = False
    pulses: dict[int, Pulse] = field(default_factory=dict)
    """Pulses of the busy workers."""
    last_look: float = -POLL
    roomless: float | None = None
    """Since when no machine has had room for a worker."""

    def run(
        self,
        plan: schedule.Schedule,
        stop_asked: threading.Event,
        recorder: live.Recorder,
        on_progress: ProgressCallback,
    ) -> bool:
        """Work until nothing is left to do; return whether the run was interrupted."""
        while not plan.finished:
            if (stop_asked.is_set() or self.disk_full) and not plan.stopping:
                plan = schedule.stop(plan)
                self.pool.stop()
            plan = self._start(plan)
            for worker, result in self.pool.wait(POLL):
                plan = self._end(plan, worker, self._outcomes(plan.workers[worker], result))
            # Not after every generator: many small ones end between two looks.
            now = time.monotonic()
            if now - self.last_look >= POLL:
                beats = self.pool.beats()
                plan = self._listen(plan, beats, now - self.last_look)
                self._show(plan, beats, recorder, on_progress)
                self.last_look = now
        self._show(plan, {}, recorder, on_progress)
        if self.disk_full:
            raise _full_disk(self.node)
        return plan.stopping

    def _listen(
        self, plan: schedule.Schedule, beats: Mapping[int, Beat], seconds: float
    ) -> schedule.Schedule:
        """Take in the workers' answers after another `seconds`, and end workers that are hung."""
        for worker, batch in enumerate(plan.workers):
            if not batch:
                continue
            beat = beats.get(worker)
            for generator, progress in beat.progress.items() if beat else ():
                # An answer may be older than the worker's present batch.
                if generator in batch:
                    self.work.advance(generator, progress)
            pulse = self.pulses[worker] = self.pulses[worker].after(seconds, beat)
            if pulse.hung(self.heartbeat):
                self.pool.kill(worker)
                cause = Died(f"hung, without a step for {pulse.silent:.0f} s")
                plan = self._end(plan, worker, dict.fromkeys(batch, cause))
        return plan

    def _show(
        self,
        plan: schedule.Schedule,
        beats: Mapping[int, Beat],
        recorder: live.Recorder,
        on_progress: ProgressCallback,
    ) -> None:
        """Show how far training is."""
        heard = {name: progress for beat in beats.values() for name, progress in beat.progress.items()}
        counts = self.node.ledger.generators.counts()
        on_progress(recorder.update(self.work.report(), plan.workers, heard, counts))

    def _start(self, plan: schedule.Schedule) -> schedule.Schedule:
        fits = self.pool.room() if plan.dead and plan.waiting else None
        plan, starts = schedule.dispatch(plan, fits)
        if not starts:
            self._wait_for_room(plan)
            return plan
        self.roomless = None
        fresh = [start.worker for start in starts if start.fresh]
        up = self.pool.start(fresh) if fresh else frozenset()
        if fresh:
            self.check()
        for start in starts:
            if start.fresh and start.worker not in up:
                plan = schedule.give_back(plan, start.worker)
            else:
                plan = self._submit(plan, start)
        return plan

    def _wait_for_room(self, plan: schedule.Schedule) -> None:
        """Wait for machines of a cluster to come back; a closed Ray always has room.

        Raises:
            NodeStateError: they do not come back.
        """
        if plan.finished or plan.running:
            return
        now = time.monotonic()
        self.roomless = self.roomless or now
        if now - self.roomless > START_TIMEOUT:
            raise NodeStateError(
                "Ray",
                expected="a machine with room for a worker",
                found="none that is up",
                next_step="bring the cluster's machines up and run the same command again",
            )
        time.sleep(POLL)

    def _submit(self, plan: schedule.Schedule, start: schedule.Start) -> schedule.Schedule:
        """Give a worker its batch; a generator whose images cannot be read fails alone."""
        held = self._claim(start)
        plan = schedule.decline(plan, start.worker, start.generators[held:])
        jobs = []
        for generator in start.generators[:held]:
            try:
                job = self._job(generator)
            except SharekitError as error:
                plan = self._end(plan, start.worker, {generator: Failed(one_line(error))})
                continue
            self.node.ledger.generators.begin(generator, self.settings.profile, self.settings.canonical)
            jobs.append(job)
        if jobs:
            self.pulses[start.worker] = Pulse()
            self.pool.submit(start.worker, jobs)
        return plan

    def _claim(self, start: schedule.Start) -> int:
        """How many of its batch a worker can train side by side."""
        if len(start.generators) == 1:
            return 1
        # A batch has one pyramid, and the first would have no batch if its images were too small for one.
        size = size_of(self.node.ledger.images_of(start.generators[0]))
        estimate = image_needs(*size, self.settings.config).memory
        return self.pool.claim(start.worker, len(start.generators), estimate)

    def _job(self, generator: str) -> LaneJob:
        pairs = self.node.load_sources(generator)
        return LaneJob(
            [pair.tensor() for pair in pairs],
            pairs[0].layout,
            generator,
            self.node.model_dir(generator),
            secrets.randbits(SEED_BITS),
        )

    def _outcomes(self, batch: Sequence[str], result: list[Result] | Died) -> dict[str, Outcome]:
        """How each generator of a worker's batch ended."""
        # A generator that failed before it was given out is no longer in the batch.
        results = [result] * len(batch) if isinstance(result, Died) else result
        return {name: self._keep(name, one) for name, one in zip(batch, results, strict=True)}

    def _keep(self, generator: str, result: Result | Died) -> Outcome:
        """Write a trained generator; if that fails, it counts as interrupted."""
        match result:
            case TrainedGenerator():
                try:
                    result.save(self.node.generator_path(generator))
                except OSError as error:
                    if error.errno not in DISK_FULL:
                        raise
                    self.disk_full = True
                    return Interrupted()
                return Trained()
            case DiskFull():
                self.disk_full = True
                return Interrupted()
        return result

    def _end(
        self, plan: schedule.Schedule, worker: int, outcomes: Mapping[str, Outcome]
    ) -> schedule.Schedule:
        plan, actions = schedule.finish(plan, worker, outcomes)
        for action in actions:
            if isinstance(outcomes[action.generator], Died):
                self.node.ledger.generators.count_attempt(action.generator)
            self._record(action, worker)
        return plan

    def _record(self, action: Settle | Requeue, worker: int) -> None:
        table = self.node.ledger.generators
        if isinstance(action, Requeue):
            table.transition(action.generator, GeneratorState.PLANNED, action.reason)
            return
        # z* is destroyed before the ledger says so; `queue.record_finished` catches up after a kill.
        if self.remote:
            self.pool.forget(worker, self.node.model_dir(action.generator))
        checkpoint.destroy(self.node.model_dir(action.generator))
        table.transition(action.generator, action.state, action.reason)
        self.work.settle(action.generator, trained=action.state is GeneratorState.TRAINED)


@contextlib.contextmanager
def _full_disk_said(node: Node) -> Iterator[None]:
    """Turn a write to a full disk, wherever it happens, into an error with a next step."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        raise _full_disk(node) from error


def _full_disk(node: Node) -> NodeStateError:
    return NodeStateError(
        node.root,
        expected="room for checkpoints and generators",
        found="a full disk",
        next_step="free some space and run the same command again",
    )


@contextlib.contextmanager
def _ray(node: Node, options: PoolOptions) -> Iterator[Callable[[], object]]:
    """A closed Ray or a cluster; yields the check to make whenever workers were started."""
    if options.address is None:
        with closed_ray(node.root / "ray.json") as directory:
            yield lambda: sockets.check_sockets(directory)
    else:
        with joined_ray(options.address):
            yield lambda: None


def _size(options: PoolOptions, generators: int) -> tuple[int, float]:
    """How many workers, and what share of a GPU for each.

    Raises:
        UsageError: the options ask for more than the machines have.
    """
    cpus, all_gpus = resources()
    gpus = options.gpus
    if gpus is None:
        # On a cluster, the driver's torch says nothing about the workers' torch.
        gpus = 1.0 if all_gpus >= 1 and (options.address or torch.cuda.is_available()) else 0.0
    most = room(options.cpus_per_actor, gpus)
    wanted = options.actors or 1
    if wanted > most:
        raise UsageError(
            "--actors, --cpus-per-actor, --gpus",
            expected=f"at most {cpus:g} CPUs and {all_gpus:g} GPUs in all",
            found=f"{wanted} workers of {options.cpus_per_actor} CPUs and {gpus:g} GPUs each",
            next_step="ask for less",
        )
    return min(options.actors or most, generators), gpus


def _report(
    node: Node,
    notes: tuple[str, ...],
    plan: str,
    work: Workload | None,
    *,
    interrupted: bool,
    seconds: float,
) -> TrainingReport:
    table = node.ledger.generators
    counts = table.counts()
    return TrainingReport(
        trained=sum(counts[state] for state in _DONE),
        waiting=counts[GeneratorState.PLANNED],
        failed={record.id: record.reason for record in table.iterate(GeneratorState.FAILED)},
        quarantined={record.id: record.reason for record in table.iterate(GeneratorState.QUARANTINED)},
        notes=notes,
        plan=plan,
        interrupted=interrupted,
        seconds=round(seconds, 1),
        iterations_per_second=round(work.iterations_per_second, 1) if work else 0.0,
    )
