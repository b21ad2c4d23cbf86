"""Which generators go to which worker, and how each ends. Pure: Ray and the ledger are elsewhere.

A worker gets a batch: generators of one bucket (one pyramid shape), as many as it has lanes; with one
lane, one generator. The laws, for any sequence of outcomes: no generator is on two workers, no batch is
larger than its worker's lanes or mixes buckets, every generator is settled at most once, and all of them are
settled unless training is stopped. A generator is quarantined only after a death that it had to itself.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from hospital_node.ledger.states import GeneratorState

MAX_ATTEMPTS = 3
"""A worker's death may be the machine's fault; this many with the same generator are the generator's."""
TOO_LARGE = "the device's memory does not hold it, not even alone"


@dataclass(frozen=True)
class Trained:
    """The generator is trained."""


@dataclass(frozen=True)
class Failed:
    """Training raised an error: the same generator would raise it again."""

    reason: str


@dataclass(frozen=True)
class Died:
    """The worker's process ended while it trained the generator."""

    cause: str


@dataclass(frozen=True)
class Interrupted:
    """The worker stopped as it was asked to; a checkpoint holds its work."""


@dataclass(frozen=True)
class OutOfMemory:
    """The device's memory did not hold the generator together with the others of its batch."""


Outcome = Trained | Failed | Died | Interrupted | OutOfMemory


@dataclass(frozen=True)
class Start:
    """Train `generators` on `worker`; where `fresh`, the worker's process has to be started first."""

    worker: int
    generators: tuple[str, ...]
    fresh: bool


@dataclass(frozen=True)
class Settle:
    """`generator` has reached its end state."""

    generator: str
    state: GeneratorState
    reason: str


@dataclass(frozen=True)
class Requeue:
    """`generator` waits again, here or, after a stop, for the next run."""

    generator: str
    reason: str


@dataclass(frozen=True)
class Schedule:
    """The waiting generators, and the batch of each worker."""

    waiting: tuple[str, ...]
    """Generators, first come first served."""
    workers: tuple[tuple[str, ...], ...]
    """The generators of each worker; empty for an idle one."""
    dead: frozenset[int]
    """Workers without a process, as all of them are at first."""
    lanes: tuple[int, ...]
    """Most generators that each worker may get at once."""
    buckets: Mapping[str, Hashable] = field(default_factory=dict)
    """Bucket of each generator; a batch holds one bucket, or one generator without a bucket."""
    deaths: Mapping[str, int] = field(default_factory=dict)
    """How many workers each generator has lost."""
    max_attempts: int = MAX_ATTEMPTS
    stopping: bool = False

    @property
    def running(self) -> tuple[str, ...]:
        return tuple(generator for batch in self.workers for generator in batch)

    @property
    def finished(self) -> bool:
        return not any(self.workers) and (self.stopping or not self.waiting)


def plan(
    generators: Sequence[str],
    workers: int,
    deaths: Mapping[str, int] | None = None,
    max_attempts: int = MAX_ATTEMPTS,
    *,
    lanes: int = 1,
    buckets: Mapping[str, Hashable] | None = None,
) -> Schedule:
    """The first schedule: all generators wait, and no worker is started."""
    return Schedule(
        tuple(generators),
        ((),) * workers,
        frozenset(range(workers)),
        (lanes,) * workers,
        dict(buckets or {}),
        dict(deaths or {}),
        max_attempts,
    )


def dispatch(schedule: Schedule, room: int | None = None) -> tuple[Schedule, tuple[Start, ...]]:
    """Give every idle worker a batch while generators wait and nobody has asked to stop.

    Args:
        room: how many workers fit on the machines that are up; None for all workers.
    """
    if schedule.stopping:
        return schedule, ()
    alive = len(schedule.workers) - len(schedule.dead)
    may_start = len(schedule.dead) if room is None else max(room - alive, 0)
    startable = sorted(schedule.dead)[:may_start]
    idle = [
        worker
        for worker, batch in enumerate(schedule.workers)
        if not batch and (worker not in schedule.dead or worker in startable)
    ]
    starts = []
    waiting = schedule.waiting
    while idle and waiting:
        worker = idle.pop(0)
        # Idle workers share what waits, so that the first does not take everything.
        share = -(-len(waiting) // (len(idle) + 1))
        batch, waiting = _take(schedule, waiting, min(schedule.lanes[worker], share))
        starts.append(Start(worker, batch, worker in schedule.dead))
    workers = list(schedule.workers)
    for start in starts:
        workers[start.worker] = start.generators
    dead = schedule.dead - {start.worker for start in starts}
    return replace(schedule, waiting=waiting, workers=tuple(workers), dead=dead), tuple(starts)


def _take(schedule: Schedule, waiting: tuple[str, ...], size: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The first generator with up to `size - 1` others of its bucket, and those that go on waiting.

    A generator that has lost a worker goes alone: no other generator dies with it, and a new death is its own
    fault.
    """
    first = waiting[0]
    if size == 1 or schedule.deaths.get(first) or first not in schedule.buckets:
        return (first,), waiting[1:]
    bucket = schedule.buckets[first]
    batch = [first]
    passed: list[str] = []
    for generator in waiting[1:]:
        if len(batch) == size:
            break
        fits = schedule.buckets.get(generator) == bucket and not schedule.deaths.get(generator)
        (batch if fits else passed).append(generator)
    return tuple(batch), (*passed, *waiting[len(batch) + len(passed) :])


def give_back(schedule: Schedule, worker: int) -> Schedule:
    """The process of `worker` could not be started: its generators wait again, ahead of all others."""
    batch = schedule.workers[worker]
    return replace(
        _without(schedule, worker, batch),
        waiting=(*batch, *schedule.waiting),
        dead=schedule.dead | {worker},
    )


def decline(schedule: Schedule, worker: int, generators: Sequence[str]) -> Schedule:
    """The memory of `worker` does not hold all of its batch: these wait again, ahead of all others."""
    return replace(_without(schedule, worker, tuple(generators)), waiting=(*generators, *schedule.waiting))


def finish(
    schedule: Schedule, worker: int, outcomes: Mapping[str, Outcome]
) -> tuple[Schedule, tuple[Settle | Requeue, ...]]:
    """Settle or requeue generators of `worker`; those without an outcome stay with it.

    A generator that killed its worker goes to the end of the queue, so that it holds up no other.

    Raises:
        ValueError: one of them was not with this worker.
    """
    batch = schedule.workers[worker]
    if not outcomes or not set(outcomes) <= set(batch):
        raise ValueError(f"worker {worker} has {', '.join(batch) or 'no generator'}")
    schedule = _without(schedule, worker, tuple(outcomes))
    if any(isinstance(outcome, Died) for outcome in outcomes.values()):
        schedule = replace(schedule, dead=schedule.dead | {worker})
    if any(isinstance(outcome, OutOfMemory) for outcome in outcomes.values()):
        lanes = list(schedule.lanes)
        lanes[worker] = max(1, len(batch) // 2)
        schedule = replace(schedule, lanes=tuple(lanes))
    actions = []
    for generator in batch:
        if generator in outcomes:
            schedule, action = _end(schedule, generator, outcomes[generator], alone=len(batch) == 1)
            actions.append(action)
    return schedule, tuple(actions)


def _without(schedule: Schedule, worker: int, generators: tuple[str, ...]) -> Schedule:
    workers = list(schedule.workers)
    workers[worker] = tuple(generator for generator in workers[worker] if generator not in generators)
    return replace(schedule, workers=tuple(workers))


def _end(
    schedule: Schedule, generator: str, outcome: Outcome, *, alone: bool
) -> tuple[Schedule, Settle | Requeue]:
    match outcome:
        case Trained():
            return schedule, Settle(generator, GeneratorState.TRAINED, "")
        case Failed(reason):
            return schedule, Settle(generator, GeneratorState.FAILED, reason)
        case Interrupted():
            return _requeue(schedule, generator, "interrupted")
        case OutOfMemory() if alone:
            return schedule, Settle(generator, GeneratorState.FAILED, TOO_LARGE)
        case OutOfMemory():
            return _requeue(schedule, generator, "the device's memory did not hold its batch")
        case Died(cause):
            return _after_death(schedule, generator, cause, alone=alone)


def _requeue(schedule: Schedule, generator: str, reason: str) -> tuple[Schedule, Requeue]:
    return replace(schedule, waiting=(*schedule.waiting, generator)), Requeue(generator, reason)


def _after_death(
    schedule: Schedule, generator: str, cause: str, *, alone: bool
) -> tuple[Schedule, Settle | Requeue]:
    deaths = schedule.deaths.get(generator, 0) + 1
    schedule = replace(schedule, deaths={**schedule.deaths, generator: deaths})
    if deaths >= schedule.max_attempts and alone:
        reason = f"its worker died {deaths} times: {cause}"
        return schedule, Settle(generator, GeneratorState.QUARANTINED, reason)
    return _requeue(schedule, generator, f"its worker died ({deaths} of {schedule.max_attempts}): {cause}")


def stop(schedule: Schedule) -> Schedule:
    """The schedule after a request to stop: nothing new starts."""
    return replace(schedule, stopping=True)
