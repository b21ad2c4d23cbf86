"""Which image goes to which worker, and how it ends. Pure: Ray and the ledger are elsewhere.

The laws, for any sequence of outcomes: no image is on two workers, no more images are out than there are
workers, every image is settled at most once, and all of them are settled unless training is stopped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from hospital_node.ledger import ImageState

MAX_ATTEMPTS = 3
"""A worker's death may be the machine's fault; this many with the same image are the image's."""


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


Outcome = Trained | Failed | Died | Interrupted


@dataclass(frozen=True)
class Start:
    """Train `image` on `worker`; where `fresh`, the worker's process has to be started first."""

    worker: int
    image: str
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
    workers: tuple[str | None, ...]
    """The image that each worker has; None for an idle one."""
    dead: frozenset[int]
    """Workers without a process, as all of them are at first."""
    deaths: Mapping[str, int] = field(default_factory=dict)
    """How many workers each image has lost."""
    max_attempts: int = MAX_ATTEMPTS
    stopping: bool = False

    @property
    def running(self) -> tuple[str, ...]:
        return tuple(image for image in self.workers if image is not None)

    def image_of(self, worker: int) -> str:
        """The image that a busy worker has.

        Raises:
            ValueError: it has none.
        """
        image = self.workers[worker]
        if image is None:
            raise ValueError(f"worker {worker} is idle")
        return image

    @property
    def finished(self) -> bool:
        return not self.running and (self.stopping or not self.waiting)


def plan(
    images: Sequence[str],
    workers: int,
    deaths: Mapping[str, int] | None = None,
    max_attempts: int = MAX_ATTEMPTS,
) -> Schedule:
    """All images waiting, all workers still to be started."""
    return Schedule(
        tuple(images), (None,) * workers, frozenset(range(workers)), dict(deaths or {}), max_attempts
    )


def dispatch(schedule: Schedule) -> tuple[Schedule, tuple[Start, ...]]:
    """Give every idle worker an image, as long as there are any and nobody asked to stop."""
    if schedule.stopping:
        return schedule, ()
    idle = [worker for worker, image in enumerate(schedule.workers) if image is None]
    starts = tuple(
        Start(worker, image, worker in schedule.dead)
        for worker, image in zip(idle, schedule.waiting, strict=False)
    )
    workers = list(schedule.workers)
    for start in starts:
        workers[start.worker] = start.image
    return (
        replace(
            schedule,
            waiting=schedule.waiting[len(starts) :],
            workers=tuple(workers),
            dead=schedule.dead - {start.worker for start in starts},
        ),
        starts,
    )


def finish(schedule: Schedule, worker: int, outcome: Outcome) -> tuple[Schedule, Settle | Requeue]:
    """What becomes of the image that `worker` had.

    An image that killed its worker goes to the end of the queue, so that it holds up nobody.

    Raises:
        ValueError: the worker had none.
    """
    image = schedule.image_of(worker)
    workers = tuple(None if other == image else other for other in schedule.workers)
    schedule = replace(schedule, workers=workers)
    match outcome:
        case Trained():
            return schedule, Settle(image, ImageState.TRAINED, "")
        case Failed(reason):
            return schedule, Settle(image, ImageState.FAILED, reason)
        case Interrupted():
            return replace(schedule, waiting=(*schedule.waiting, image)), Requeue(image, "interrupted")
        case Died(cause):
            return _after_death(schedule, worker, image, cause)


def _after_death(
    schedule: Schedule, worker: int, image: str, cause: str
) -> tuple[Schedule, Settle | Requeue]:
    deaths = schedule.deaths.get(image, 0) + 1
    schedule = replace(schedule, dead=schedule.dead | {worker}, deaths={**schedule.deaths, image: deaths})
    if deaths >= schedule.max_attempts:
        reason = f"its worker died {deaths} times: {cause}"
        return schedule, Settle(image, ImageState.QUARANTINED, reason)
    reason = f"its worker died ({deaths} of {schedule.max_attempts}): {cause}"
    return replace(schedule, waiting=(*schedule.waiting, image)), Requeue(image, reason)


def stop(schedule: Schedule) -> Schedule:
    """Nothing new starts from here on."""
    return replace(schedule, stopping=True)
