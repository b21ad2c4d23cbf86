"""Which images go to which worker, and how each ends. Pure: Ray and the ledger are elsewhere.

A worker is given a group: images of one bucket (one pyramid shape), as many as it has lanes; with one lane,
one image. The laws, for any sequence of outcomes: no image is on two workers, no group is larger than its
worker's lanes or mixes buckets, every image is settled at most once, and all of them are settled unless
training is stopped. An image is quarantined only after a death that it had to itself.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from hospital_node.ledger.ledger import ImageState

MAX_ATTEMPTS = 3
"""A worker's death may be the machine's fault; this many with the same image are the image's."""
TOO_LARGE = "the device's memory does not hold it, not even alone"


@dataclass(frozen=True)
class Trained:
    """The generator is trained."""


@dataclass(frozen=True)
class Failed:
    """Training raised an error: the same image would raise it again."""

    reason: str


@dataclass(frozen=True)
class Died:
    """The worker's process ended in the middle of the image."""

    cause: str


@dataclass(frozen=True)
class Interrupted:
    """The worker stopped as it was asked to; a checkpoint holds its work."""


@dataclass(frozen=True)
class OutOfMemory:
    """The device's memory did not hold the image together with the others of its group."""


Outcome = Trained | Failed | Died | Interrupted | OutOfMemory


@dataclass(frozen=True)
class Start:
    """Train `images` on `worker`; where `fresh`, the worker's process has to be started first."""

    worker: int
    images: tuple[str, ...]
    fresh: bool


@dataclass(frozen=True)
class Settle:
    """`image` has reached its end state."""

    image: str
    state: ImageState
    reason: str


@dataclass(frozen=True)
class Requeue:
    """`image` waits again, here or, after a stop, for the next run."""

    image: str
    reason: str


@dataclass(frozen=True)
class Schedule:
    """Who waits, and who is where."""

    waiting: tuple[str, ...]
    """Images, first come first served."""
    workers: tuple[tuple[str, ...], ...]
    """The images that each worker has; none for an idle one."""
    dead: frozenset[int]
    """Workers without a process, as all of them are at first."""
    lanes: tuple[int, ...]
    """How many images each worker may be given at once."""
    buckets: Mapping[str, Hashable] = field(default_factory=dict)
    """What the images of one group have in common; an image that is not here has nothing."""
    deaths: Mapping[str, int] = field(default_factory=dict)
    """How many workers each image has lost."""
    max_attempts: int = MAX_ATTEMPTS
    stopping: bool = False

    @property
    def running(self) -> tuple[str, ...]:
        return tuple(image for group in self.workers for image in group)

    @property
    def finished(self) -> bool:
        return not any(self.workers) and (self.stopping or not self.waiting)


def plan(
    images: Sequence[str],
    workers: int,
    deaths: Mapping[str, int] | None = None,
    max_attempts: int = MAX_ATTEMPTS,
    *,
    lanes: int = 1,
    buckets: Mapping[str, Hashable] | None = None,
) -> Schedule:
    """All images waiting, all workers still to be started."""
    return Schedule(
        tuple(images),
        ((),) * workers,
        frozenset(range(workers)),
        (lanes,) * workers,
        dict(buckets or {}),
        dict(deaths or {}),
        max_attempts,
    )


def dispatch(schedule: Schedule, room: int | None = None) -> tuple[Schedule, tuple[Start, ...]]:
    """Give every idle worker a group, as long as there are images and nobody asked to stop.

    Args:
        room: how many workers the machines that are up can hold; None for all of them.
    """
    if schedule.stopping:
        return schedule, ()
    alive = len(schedule.workers) - len(schedule.dead)
    may_start = len(schedule.dead) if room is None else max(room - alive, 0)
    startable = sorted(schedule.dead)[:may_start]
    idle = [
        worker
        for worker, group in enumerate(schedule.workers)
        if not group and (worker not in schedule.dead or worker in startable)
    ]
    starts = []
    waiting = schedule.waiting
    while idle and waiting:
        worker = idle.pop(0)
        # The idle share what waits, so that the first does not take all of it.
        share = -(-len(waiting) // (len(idle) + 1))
        group, waiting = _take(schedule, waiting, min(schedule.lanes[worker], share))
        starts.append(Start(worker, group, worker in schedule.dead))
    workers = list(schedule.workers)
    for start in starts:
        workers[start.worker] = start.images
    dead = schedule.dead - {start.worker for start in starts}
    return replace(schedule, waiting=waiting, workers=tuple(workers), dead=dead), tuple(starts)


def _take(schedule: Schedule, waiting: tuple[str, ...], size: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The first image with up to `size - 1` others of its bucket, and who waits on.

    An image that has lost a worker goes alone: nobody else shall die of it, and it is known whose fault
    it is.
    """
    first = waiting[0]
    if size == 1 or schedule.deaths.get(first) or first not in schedule.buckets:
        return (first,), waiting[1:]
    bucket = schedule.buckets[first]
    group = [first]
    passed: list[str] = []
    for image in waiting[1:]:
        if len(group) == size:
            break
        fits = schedule.buckets.get(image) == bucket and not schedule.deaths.get(image)
        (group if fits else passed).append(image)
    return tuple(group), (*passed, *waiting[len(group) + len(passed) :])


def give_back(schedule: Schedule, worker: int) -> Schedule:
    """The process of `worker` could not be started: its images wait again, before all others."""
    group = schedule.workers[worker]
    return replace(
        _without(schedule, worker, group),
        waiting=(*group, *schedule.waiting),
        dead=schedule.dead | {worker},
    )


def decline(schedule: Schedule, worker: int, images: Sequence[str]) -> Schedule:
    """The memory of `worker` does not hold all of its group: these `images` wait again, before all others."""
    return replace(_without(schedule, worker, tuple(images)), waiting=(*images, *schedule.waiting))


def finish(
    schedule: Schedule, worker: int, outcomes: Mapping[str, Outcome]
) -> tuple[Schedule, tuple[Settle | Requeue, ...]]:
    """What becomes of images that `worker` had; those without an outcome stay with it.

    An image that killed its worker goes to the end of the queue, so that it holds up nobody.

    Raises:
        ValueError: the worker did not have one of them.
    """
    group = schedule.workers[worker]
    if not outcomes or not set(outcomes) <= set(group):
        raise ValueError(f"worker {worker} has {', '.join(group) or 'no image'}")
    schedule = _without(schedule, worker, tuple(outcomes))
    if any(isinstance(outcome, Died) for outcome in outcomes.values()):
        schedule = replace(schedule, dead=schedule.dead | {worker})
    if any(isinstance(outcome, OutOfMemory) for outcome in outcomes.values()):
        lanes = list(schedule.lanes)
        lanes[worker] = max(1, len(group) // 2)
        schedule = replace(schedule, lanes=tuple(lanes))
    actions = []
    for image in group:
        if image in outcomes:
            schedule, action = _end(schedule, image, outcomes[image], alone=len(group) == 1)
            actions.append(action)
    return schedule, tuple(actions)


def _without(schedule: Schedule, worker: int, images: tuple[str, ...]) -> Schedule:
    workers = list(schedule.workers)
    workers[worker] = tuple(image for image in workers[worker] if image not in images)
    return replace(schedule, workers=tuple(workers))


def _end(
    schedule: Schedule, image: str, outcome: Outcome, *, alone: bool
) -> tuple[Schedule, Settle | Requeue]:
    match outcome:
        case Trained():
            return schedule, Settle(image, ImageState.TRAINED, "")
        case Failed(reason):
            return schedule, Settle(image, ImageState.FAILED, reason)
        case Interrupted():
            return _requeue(schedule, image, "interrupted")
        case OutOfMemory() if alone:
            return schedule, Settle(image, ImageState.FAILED, TOO_LARGE)
        case OutOfMemory():
            return _requeue(schedule, image, "the device's memory did not hold its group")
        case Died(cause):
            return _after_death(schedule, image, cause, alone=alone)


def _requeue(schedule: Schedule, image: str, reason: str) -> tuple[Schedule, Requeue]:
    return replace(schedule, waiting=(*schedule.waiting, image)), Requeue(image, reason)


def _after_death(
    schedule: Schedule, image: str, cause: str, *, alone: bool
) -> tuple[Schedule, Settle | Requeue]:
    deaths = schedule.deaths.get(image, 0) + 1
    schedule = replace(schedule, deaths={**schedule.deaths, image: deaths})
    if deaths >= schedule.max_attempts and alone:
        reason = f"its worker died {deaths} times: {cause}"
        return schedule, Settle(image, ImageState.QUARANTINED, reason)
    return _requeue(schedule, image, f"its worker died ({deaths} of {schedule.max_attempts}): {cause}")


def stop(schedule: Schedule) -> Schedule:
    """Nothing new starts from here on."""
    return replace(schedule, stopping=True)
