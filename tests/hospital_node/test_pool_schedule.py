"""The schedule: every image ends once, none holds up another, and a worker never has two."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hospital_node.ledger import ImageState
from hospital_node.pool.schedule import (
    MAX_ATTEMPTS,
    Died,
    Failed,
    Interrupted,
    Outcome,
    Requeue,
    Schedule,
    Settle,
    Trained,
    dispatch,
    finish,
    plan,
    stop,
)

OUTCOMES = st.sampled_from([Trained(), Failed("no gradient"), Died("killed"), Interrupted()])


def end(schedule: Schedule, worker: int, outcome: Outcome) -> tuple[Schedule, Settle | Requeue]:
    busy = schedule.workers[worker]
    schedule, action = finish(schedule, worker, outcome)
    assert action.image == busy
    return schedule, action


@given(st.integers(0, 12), st.integers(1, 4), st.data())
def test_every_image_is_settled_exactly_once_whatever_happens(images, workers, data):
    names = [f"image {number}" for number in range(images)]
    schedule = plan(names, workers)
    settled: Counter[str] = Counter()
    interruptions = 0
    while not schedule.finished:
        schedule, _ = dispatch(schedule)
        assert len(schedule.running) == len(set(schedule.running)) <= workers
        assert not set(schedule.running) & (set(schedule.waiting) | set(settled))
        busy = [worker for worker, image in enumerate(schedule.workers) if image is not None]
        outcome = data.draw(OUTCOMES)
        interruptions += isinstance(outcome, Interrupted)
        if interruptions > 20:
            outcome = Trained()
        schedule, action = end(schedule, data.draw(st.sampled_from(busy)), outcome)
        if isinstance(action, Settle):
            settled[action.image] += 1
    assert settled == Counter(names)


@given(st.integers(1, 8), st.integers(1, 4), st.lists(OUTCOMES, max_size=8))
def test_after_a_stop_nothing_starts_and_nothing_is_lost(images, workers, outcomes):
    names = [f"image {number}" for number in range(images)]
    schedule, _ = dispatch(plan(names, workers))
    schedule = stop(schedule)
    settled = set()
    for outcome in [*outcomes, *[Interrupted()] * workers]:
        schedule, starts = dispatch(schedule)
        assert starts == ()
        busy = [worker for worker, image in enumerate(schedule.workers) if image is not None]
        if not busy:
            break
        schedule, action = end(schedule, busy[0], outcome)
        settled |= {action.image} if isinstance(action, Settle) else set()
    assert schedule.finished
    assert settled | set(schedule.waiting) == set(names)


def test_one_deadly_image_is_quarantined_and_the_others_are_trained():
    schedule = plan(["deadly", "a", "b"], 1)
    ends = {}
    while not schedule.finished:
        schedule, (start,) = dispatch(schedule)
        outcome = Died("killed") if start.image == "deadly" else Trained()
        schedule, action = end(schedule, start.worker, outcome)
        if isinstance(action, Settle):
            ends[action.image] = action.state
    assert list(ends.items()) == [
        ("a", ImageState.TRAINED),
        ("b", ImageState.TRAINED),
        ("deadly", ImageState.QUARANTINED),
    ]
    assert schedule.deaths == {"deadly": MAX_ATTEMPTS}


def test_an_error_is_not_tried_again():
    schedule, _ = dispatch(plan(["broken"], 1))
    schedule, action = end(schedule, 0, Failed("no gradient"))
    assert action == Settle("broken", ImageState.FAILED, "no gradient")
    assert schedule.finished


def test_deaths_of_earlier_runs_count():
    schedule, _ = dispatch(plan(["deadly"], 1, {"deadly": MAX_ATTEMPTS - 1}))
    _, action = end(schedule, 0, Died("killed"))
    assert isinstance(action, Settle)
    assert action.state is ImageState.QUARANTINED


def test_only_a_worker_that_died_is_started_again():
    schedule, starts = dispatch(plan(["a", "b", "c", "d"], 2))
    assert [start.fresh for start in starts] == [True, True]
    schedule, _ = end(schedule, 0, Trained())
    schedule, _ = end(schedule, 1, Died("killed"))
    schedule, starts = dispatch(schedule)
    assert [(start.worker, start.image, start.fresh) for start in starts] == [(0, "c", False), (1, "d", True)]


def test_an_idle_worker_cannot_finish():
    with pytest.raises(ValueError, match="idle"):
        finish(plan(["a"], 1), 0, Trained())
