"""Training a node's images: the schedule inside, the ledger on one side, Ray on the other."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import torch

from hospital_node.isolation import sockets
from hospital_node.isolation.closed_ray import closed_ray, joined_ray
from hospital_node.ledger.ledger import ImageRecord, ImageState
from hospital_node.node.node import Node
from hospital_node.pool import live, schedule
from hospital_node.pool.actors import (
    DISK_FULL,
    START_TIMEOUT,
    DiskFull,
    Engine,
    Job,
    Pool,
    Result,
    one_line,
    resources,
    room,
)
from hospital_node.pool.heartbeat import Beat, Pulse
from hospital_node.pool.options import GPU_LANES, PoolOptions, TrainingReport
from hospital_node.pool.schedule import Died, Failed, Interrupted, Outcome, Requeue, Settle, Trained
from hospital_node.pool.workload import Workload, scale_costs
from hospital_node.singan import checkpoint
from hospital_node.singan.config import TrainingConfig
from hospital_node.singan.needs import image_needs
from hospital_node.singan.pyramid import pyramid_sizes
from hospital_node.singan.trained import TrainedGenerator
from sharekit.errors import InputError, NodeStateError, SharekitError, UsageError
from sharekit.program.interruption import stop_on_signal
from sharekit.program.progress import ProgressCallback, ignore
from sharekit.storage import files

POLL = 0.5  # seconds between looks at workers, progress and a request to stop
SEED_BITS = 62
_SETTINGS = "; "
"""Stands between a reason and the settings in the ledger; no settings have it in them."""

_DONE = (ImageState.TRAINED, ImageState.AUDITED, ImageState.WITHHELD, ImageState.RELEASED)
_OUT = (ImageState.FAILED, ImageState.QUARANTINED)


def train_node(
    node: Node,
    profile: str,
    config: TrainingConfig,
    options: PoolOptions = PoolOptions(),  # noqa: B008 - frozen
    *,
    restart: bool = False,
    engine: Engine | None = None,
    on_progress: ProgressCallback = ignore,
) -> TrainingReport:
    """Train every image that waits for it, until all are settled or a signal asks to stop.

    Killed at any point, it goes on from there when called again: images that are done stay done, and an
    unfinished one goes on from its checkpoint with the same generator identifier. z* and the seed are only in
    the checkpoint, which is destroyed before an image is called trained, failed or quarantined.

    Args:
        profile: the name of the settings, for the generator's own record.
        restart: train interrupted, failed and quarantined images from the beginning.
        engine: what trains one image, run in the workers; by default `hospital_node.singan.training.train`.

    Raises:
        NodeStateError: no image, another process at work on the node, unfinished images of other settings,
            a full disk, or workers that do not start.
        ExposureError: Ray could be reached from outside, see `closed`.
    """
    with _full_disk_said(node), node.training_lock():
        started = time.monotonic()
        _record_finished(node)
        queue = _queue(node, _settings(profile, config), restart)
        if not queue:
            return _report(node, None, interrupted=False, seconds=0.0)
        work = _workload(queue, config)
        with (
            live.recorded(node.root / live.NAME, profile, len(queue)) as recorder,
            _ray(node, options) as check,
            stop_on_signal() as stop_asked,
        ):
            workers, gpus = _size(options, len(queue))
            pool = Pool(cpus=options.cpus_per_actor, gpus=gpus, engine=engine)
            plan = _plan(queue, workers, gpus, config, options, restart)
            # A long queue is held once, in the schedule.
            queue.clear()
            remote = options.address is not None
            driver = _Driver(node, profile, config, pool, check, work, remote, options.heartbeat)
            interrupted = driver.run(plan, stop_asked, recorder, on_progress)
        return _report(node, work, interrupted=interrupted, seconds=time.monotonic() - started)


@dataclass
class _Driver:
    """Carries out what the schedule decides: ledger and files on one side, the pool on the other."""

    node: Node
    profile: str
    config: TrainingConfig
    pool: Pool
    check: Callable[[], object]
    work: Workload
    remote: bool
    """Workers may be on other machines."""
    heartbeat: float
    """Least patience with a silent worker, in seconds."""
    disk_full: bool = False
    pulses: dict[int, Pulse] = field(default_factory=dict)
    """Of the busy workers."""
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
        """Until nothing is left to do; true when it was interrupted."""
        while not plan.finished:
            if (stop_asked.is_set() or self.disk_full) and not plan.stopping:
                plan = schedule.stop(plan)
                self.pool.stop()
            plan = self._start(plan)
            for worker, result in self.pool.wait(POLL):
                plan = self._end(plan, worker, self._outcomes(plan.workers[worker], result))
            # Not after every image: of small ones many end between two looks.
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
        """Take in what the workers say after another `seconds`, and end those that are hung."""
        for worker, group in enumerate(plan.workers):
            if not group:
                continue
            beat = beats.get(worker)
            for image, progress in beat.progress.items() if beat else ():
                # An answer may be older than what the worker has now.
                if image in group:
                    self.work.advance(image, progress)
            pulse = self.pulses[worker] = self.pulses[worker].after(seconds, beat)
            if pulse.hung(self.heartbeat):
                self.pool.kill(worker)
                cause = Died(f"hung, without a step for {pulse.silent:.0f} s")
                plan = self._end(plan, worker, dict.fromkeys(group, cause))
        return plan

    def _show(
        self,
        plan: schedule.Schedule,
        beats: Mapping[int, Beat],
        recorder: live.Recorder,
        on_progress: ProgressCallback,
    ) -> None:
        """Tell how far training is."""
        told = {image: progress for beat in beats.values() for image, progress in beat.progress.items()}
        on_progress(recorder.update(self.work.report(), plan.workers, told, self.node.ledger.counts()))

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
        """Machines of a cluster may come back; a closed Ray always has room.

        Raises:
            NodeStateError: they do not.
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
        """Give a worker its group; an image that cannot be read fails alone."""
        held = self._claim(start)
        plan = schedule.decline(plan, start.worker, start.images[held:])
        jobs = []
        for image in start.images[:held]:
            try:
                job = self._job(image)
            except SharekitError as error:
                plan = self._end(plan, start.worker, {image: Failed(one_line(error))})
                continue
            reason = f"training{_SETTINGS}{_settings(self.profile, self.config)}"
            self.node.ledger.transition(image, ImageState.TRAINING, reason, generator_id=job.generator_id)
            # One that was sent back to be trained anew has a generator still, under another identifier.
            self.node.generator_path(image).unlink(missing_ok=True)
            jobs.append(job)
        if jobs:
            self.pulses[start.worker] = Pulse()
            self.pool.submit(start.worker, jobs)
        return plan

    def _claim(self, start: schedule.Start) -> int:
        """How many of its group a worker can train side by side."""
        if len(start.images) == 1:
            return 1
        # Images of a group have one pyramid, and the first would have no group if it were too small for one.
        record = self.node.ledger.get(start.images[0])
        estimate = image_needs(*record.size, self.config).memory
        return self.pool.claim(start.worker, len(start.images), estimate)

    def _job(self, image: str) -> Job:
        pair = self.node.load_pair(image)
        return Job(
            image,
            pair.tensor(),
            pair.layout,
            self.config,
            generator_id_for(self.node, image),
            self.profile,
            self.node.model_dir(image),
            secrets.randbits(SEED_BITS),
        )

    def _outcomes(self, group: Sequence[str], result: list[Result] | Died) -> dict[str, Outcome]:
        """How each image of a worker's group ended."""
        # An image that failed before it was given out is not in the group any more.
        results = [result] * len(group) if isinstance(result, Died) else result
        return {image: self._keep(image, one) for image, one in zip(group, results, strict=True)}

    def _keep(self, image: str, result: Result | Died) -> Outcome:
        """Write a trained generator; what cannot be written is as if training had been interrupted."""
        match result:
            case TrainedGenerator():
                try:
                    result.save(self.node.generator_path(image))
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
            if isinstance(outcomes[action.image], Died):
                self.node.ledger.count_attempt(action.image)
            self._record(action, worker)
        return plan

    def _record(self, action: Settle | Requeue, worker: int) -> None:
        settings = _settings(self.profile, self.config)
        if isinstance(action, Requeue):
            reason = f"{action.reason}{_SETTINGS}{settings}"
            self.node.ledger.transition(action.image, ImageState.INGESTED, reason)
            return
        # z* is gone before the ledger says so: a kill in between is made up for by `_record_finished`.
        if self.remote:
            self.pool.forget(worker, self.node.model_dir(action.image))
        checkpoint.destroy(self.node.model_dir(action.image))
        self.node.ledger.transition(action.image, action.state, action.reason or settings)
        self.work.settle(action.image, trained=action.state is ImageState.TRAINED)


def generator_id_for(node: Node, image: str) -> str:
    """The identifier that an image's training goes on under; another one once a generator is finished."""
    begun = None if node.generator_path(image).exists() else node.ledger.get(image).generator_id
    return begun or secrets.token_hex(16)


@contextlib.contextmanager
def _full_disk_said(node: Node) -> Iterator[None]:
    """A write that finds no room is an error with a next step, wherever it happens."""
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


def _workload(queue: Sequence[ImageRecord], config: TrainingConfig) -> Workload:
    costs_of = cache(lambda height, width: scale_costs(height, width, config))
    costs = {record.id: costs_of(record.height, record.width) for record in queue}
    return Workload(costs, config.iterations, {r.id for r in queue if _SETTINGS in r.reason})


def _plan(
    queue: Sequence[ImageRecord],
    workers: int,
    gpus: float,
    config: TrainingConfig,
    options: PoolOptions,
    restart: bool,
) -> schedule.Schedule:
    """All of them waiting, with the deaths that they have caused before unless they `restart`."""
    bucket_of = cache(lambda height, width, channels: _bucket(height, width, channels, config))
    buckets = {record.id: bucket_of(*record.size) for record in queue}
    return schedule.plan(
        [record.id for record in queue],
        workers,
        {} if restart else {record.id: record.attempts for record in queue if record.attempts},
        options.max_attempts,
        lanes=options.lanes or (GPU_LANES if gpus else 1),
        buckets={image: bucket for image, bucket in buckets.items() if bucket is not None},
    )


def _bucket(height: int, width: int, channels: int, config: TrainingConfig) -> Hashable | None:
    """What images must have in common to be trained side by side; None for one too small to train."""
    try:
        return channels, tuple(pyramid_sizes(height, width, config))
    except InputError:
        return None


def _settings(profile: str, config: TrainingConfig) -> str:
    """What the ledger says of the settings: equal for equal ones."""
    digest = hashlib.sha256(files.dump_json(config.to_json())).hexdigest()
    return f"profile {profile}, settings {digest[:12]}"


def _record_finished(node: Node) -> None:
    """Finish what a killed run had trained and saved, but not yet written into the ledger."""
    for record in node.ledger.records(ImageState.TRAINING):
        path = node.generator_path(record.id)
        for half_written in path.parent.glob(f".{path.name}.*.tmp"):
            half_written.unlink()
        if not path.exists():
            continue
        with contextlib.suppress(NodeStateError):
            if TrainedGenerator.load(path).spec.id == record.generator_id:
                checkpoint.destroy(node.model_dir(record.id))
                settings = record.reason.rpartition(_SETTINGS)[2]
                node.ledger.transition(record.id, ImageState.TRAINED, settings)


def _queue(node: Node, settings: str, restart: bool) -> list[ImageRecord]:
    """The images to train, unfinished ones first.

    Raises:
        NodeStateError: there is nothing in the node, or unfinished images began with other settings.
    """
    ledger = node.ledger
    unfinished = ledger.records(ImageState.TRAINING)
    waiting = ledger.records(ImageState.INGESTED)
    counts = ledger.counts()
    if not any(counts[state] for state in (ImageState.TRAINING, ImageState.INGESTED, *_DONE, *_OUT)):
        raise NodeStateError(
            node.root,
            expected="a node with images",
            found="none that intake has taken",
            next_step="bring some in with `hospital-node ingest`",
        )
    if restart:
        for record in (*unfinished, *waiting, *ledger.records(*_OUT)):
            checkpoint.destroy(node.model_dir(record.id))
            if record.state is not ImageState.INGESTED:
                ledger.transition(record.id, ImageState.INGESTED, "to be trained from the beginning")
        return ledger.records(ImageState.INGESTED)
    _check_settings([*unfinished, *waiting], settings)
    for record in unfinished:
        ledger.transition(record.id, ImageState.INGESTED, f"interrupted{_SETTINGS}{settings}")
    begun = {record.id for record in waiting if _SETTINGS in record.reason}
    begun.update(record.id for record in unfinished)
    return sorted(ledger.records(ImageState.INGESTED), key=lambda record: record.id not in begun)


def _check_settings(records: list[ImageRecord], settings: str) -> None:
    for record in records:
        _, mark, began_with = record.reason.rpartition(_SETTINGS)
        if mark and began_with.startswith("profile ") and began_with != settings:
            raise NodeStateError(
                record.id,
                expected=f"the settings that its training began with: {began_with}",
                found=settings,
                next_step="run the earlier command again, or add --restart to begin anew with these settings",
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


def _size(options: PoolOptions, images: int) -> tuple[int, float]:
    """How many workers, and what share of a GPU for each.

    Raises:
        UsageError: more is asked for than there is.
    """
    cpus, all_gpus = resources()
    gpus = options.gpus
    if gpus is None:
        # On a cluster the driver's own torch says nothing of the workers'.
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
    return min(options.actors or most, images), gpus


def _report(node: Node, work: Workload | None, *, interrupted: bool, seconds: float) -> TrainingReport:
    ledger = node.ledger
    counts = ledger.counts()
    return TrainingReport(
        trained=sum(counts[state] for state in _DONE),
        waiting=counts[ImageState.INGESTED],
        failed={record.id: record.reason for record in ledger.iterate(ImageState.FAILED)},
        quarantined={record.id: record.reason for record in ledger.iterate(ImageState.QUARANTINED)},
        interrupted=interrupted,
        seconds=round(seconds, 1),
        iterations_per_second=round(work.iterations_per_second, 1) if work else 0.0,
    )
