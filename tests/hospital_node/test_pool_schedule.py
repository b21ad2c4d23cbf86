"""The schedule: every image ends once, none holds up another, and a worker never has two."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hospital_node.ledger.states import GeneratorState
from hospital_node.pool.schedule import (
    MAX_ATTEMPTS,
    TOO_LARGE,
    Died,
    Failed,
    Interrupted,
    Outcome,
    OutOfMemory,
    Requeue,
    Schedule,
    Settle,
    Trained,
    decline,
    dispatch,
    finish,
    give_back,
    plan,
    stop,
)

OUTCOMES = st.sampled_from([Trained(), Failed("no gradient"), Died("killed"), Interrupted(), OutOfMemory()])


def end(schedule: Schedule, worker: int, outcome: Outcome) -> tuple[Schedule, Settle | Requeue]:
    """The end of a group of one."""
    (busy,) = schedule.workers[worker]
    schedule, (action,) = finish(schedule, worker, {busy: outcome})
    assert action.generator == busy
    return schedule, action


def drawn_end(data, schedule: Schedule, worker: int, last: bool) -> dict[str, Outcome]:
    """How the images of a worker's group end: all of them by one death, or each in its own way."""
    group = schedule.workers[worker]
    if not last and data.draw(st.booleans()):
        return dict.fromkeys(group, Died("killed"))
    outcomes = st.just(Trained()) if last else OUTCOMES.filter(lambda outcome: not isinstance(outcome, Died))
    return {image: data.draw(outcomes) for image in group}


@given(st.integers(0, 12), st.integers(1, 4), st.integers(1, 5), st.data())
def test_every_image_is_settled_exactly_once_whatever_happens(images, workers, lanes, data):
    names = [f"image {number}" for number in range(images)]
    buckets = {name: data.draw(st.sampled_from("ab")) for name in names}
    schedule = plan(names, workers, lanes=lanes, buckets=buckets)
    settled: Counter[str] = Counter()
    rounds = 0
    while not schedule.finished:
        rounds += 1
        schedule, starts = dispatch(schedule)
        for start in starts:
            assert len(start.generators) <= schedule.lanes[start.worker] <= lanes
            assert len({buckets[image] for image in start.generators}) == 1
            assert len(start.generators) == 1 or not any(
                image in schedule.deaths for image in start.generators
            )
            held = data.draw(st.integers(1, len(start.generators)))
            schedule = decline(schedule, start.worker, start.generators[held:])
        assert len(schedule.running) == len(set(schedule.running))
        assert not set(schedule.running) & (set(schedule.waiting) | set(settled))
        assert set(schedule.running) | set(schedule.waiting) | set(settled) == set(names)
        worker = data.draw(st.sampled_from([n for n, group in enumerate(schedule.workers) if group]))
        alone = len(schedule.workers[worker]) == 1
        schedule, actions = finish(schedule, worker, drawn_end(data, schedule, worker, last=rounds > 20))
        for action in actions:
            if isinstance(action, Settle):
                settled[action.generator] += 1
                assert alone or action.state is not GeneratorState.QUARANTINED
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
        busy = [worker for worker, group in enumerate(schedule.workers) if group]
        if not busy:
            break
        schedule, action = end(schedule, busy[0], outcome)
        settled |= {action.generator} if isinstance(action, Settle) else set()
    assert schedule.finished
    assert settled | set(schedule.waiting) == set(names)


@given(st.integers(1, 40), st.integers(1, 4), st.integers(1, 16), st.data())
def test_out_of_memory_ends_with_groups_that_fit_and_those_alone_that_never_do(images, workers, lanes, data):
    names = [f"image {number}" for number in range(images)]
    size = {name: data.draw(st.sampled_from([1, 1, 1, 2, 9])) for name in names}
    memory = 4
    schedule = plan(names, workers, lanes=lanes, buckets=dict.fromkeys(names, "one shape"))
    ends: dict[str, Settle] = {}
    failures = 0
    while not schedule.finished:
        schedule, starts = dispatch(schedule)
        for start in starts:
            fits = sum(size[image] for image in start.generators) <= memory
            failures += not fits
            outcome = Trained() if fits else OutOfMemory()
            schedule, actions = finish(schedule, start.worker, dict.fromkeys(start.generators, outcome))
            ends |= {action.generator: action for action in actions if isinstance(action, Settle)}
    too_large = {name for name in names if size[name] > memory}
    assert {name for name, end in ends.items() if end.state is GeneratorState.FAILED} == too_large
    assert all(ends[name].reason == TOO_LARGE for name in too_large)
    assert {name for name, end in ends.items() if end.state is GeneratorState.TRAINED} == set(
        names
    ) - too_large
    # Every worker halves at most from `lanes` to one.
    assert failures <= len(too_large) + workers * lanes.bit_length()
    assert schedule.deaths == {}


def test_out_of_memory_halves_what_that_worker_gets():
    names = [f"image {number}" for number in range(16)]
    schedule = plan(names, 2, lanes=4, buckets=dict.fromkeys(names, 0))
    schedule, (first, _) = dispatch(schedule)
    assert len(first.generators) == 4
    schedule, actions = finish(schedule, 0, dict.fromkeys(first.generators, OutOfMemory()))
    assert {type(action) for action in actions} == {Requeue}
    assert schedule.lanes == (2, 4)
    _, (again,) = dispatch(schedule)
    assert len(again.generators) == 2


def test_what_a_worker_declines_is_the_next_ones_first():
    names = [f"image {number}" for number in range(6)]
    schedule = plan(names, 2, lanes=3, buckets=dict.fromkeys(names, 0))
    schedule, (first, second) = dispatch(schedule)
    schedule = decline(schedule, second.worker, second.generators[1:])
    assert schedule.workers == (first.generators, second.generators[:1])
    schedule, _ = finish(schedule, second.worker, {second.generators[0]: Trained()})
    _, (again,) = dispatch(schedule)
    assert again.generators == second.generators[1:]


def test_an_image_without_a_bucket_goes_alone():
    schedule = plan(["a", "b", "c"], 1, lanes=4, buckets={"b": 0, "c": 0})
    schedule, (start,) = dispatch(schedule)
    assert start.generators == ("a",)
    schedule, _ = end(schedule, 0, Trained())
    _, (start,) = dispatch(schedule)
    assert start.generators == ("b", "c")


def test_a_group_that_dies_is_tried_one_by_one_and_only_the_deadly_image_is_quarantined():
    names = ["a", "deadly", "b", "c"]
    schedule = plan(names, 1, lanes=4, buckets=dict.fromkeys(names, 0))
    ends, groups = {}, []
    while not schedule.finished:
        schedule, (start,) = dispatch(schedule)
        groups.append(start.generators)
        outcome = Died("killed") if "deadly" in start.generators else Trained()
        schedule, actions = finish(schedule, 0, dict.fromkeys(start.generators, outcome))
        ends |= {action.generator: action.state for action in actions if isinstance(action, Settle)}
    assert ends == dict.fromkeys("abc", GeneratorState.TRAINED) | {"deadly": GeneratorState.QUARANTINED}
    assert groups[0] == tuple(names)
    assert {len(group) for group in groups[1:]} == {1}


def test_images_of_a_group_end_one_by_one_too():
    schedule, _ = dispatch(plan(["a", "b"], 1, lanes=2, buckets={"a": 0, "b": 0}))
    schedule, (action,) = finish(schedule, 0, {"a": Failed("cannot be read")})
    assert action == Settle("a", GeneratorState.FAILED, "cannot be read")
    assert schedule.workers == (("b",),)
    schedule, _ = finish(schedule, 0, {"b": Trained()})
    assert schedule.finished


@given(st.integers(1, 12), st.integers(1, 6), st.integers(0, 6))
def test_no_more_workers_run_than_there_is_room_for(images, workers, room):
    schedule, starts = dispatch(plan([str(number) for number in range(images)], workers), room)
    assert len(starts) == min(images, workers, room)
    # Machines come back.
    schedule, more = dispatch(schedule, workers)
    assert len(starts) + len(more) == min(images, workers)


def test_what_a_worker_that_did_not_start_was_to_have_waits_in_front():
    schedule, _ = dispatch(plan(["a", "b", "c"], 2))
    schedule = give_back(schedule, 0)
    assert schedule.waiting == ("a", "c")
    assert schedule.dead == {0}
    schedule, (start,) = dispatch(schedule)
    assert (start.worker, start.generators, start.fresh) == (0, ("a",), True)


def test_one_deadly_image_is_quarantined_and_the_others_are_trained():
    schedule = plan(["deadly", "a", "b"], 1)
    ends = {}
    while not schedule.finished:
        schedule, (start,) = dispatch(schedule)
        outcome = Died("killed") if start.generators == ("deadly",) else Trained()
        schedule, action = end(schedule, start.worker, outcome)
        if isinstance(action, Settle):
            ends[action.generator] = action.state
    assert list(ends.items()) == [
        ("a", GeneratorState.TRAINED),
        ("b", GeneratorState.TRAINED),
        ("deadly", GeneratorState.QUARANTINED),
    ]
    assert schedule.deaths == {"deadly": MAX_ATTEMPTS}


def test_an_error_is_not_tried_again():
    schedule, _ = dispatch(plan(["broken"], 1))
    schedule, action = end(schedule, 0, Failed("no gradient"))
    assert action == Settle("broken", GeneratorState.FAILED, "no gradient")
    assert schedule.finished


def test_deaths_of_earlier_runs_count():
    schedule, _ = dispatch(plan(["deadly"], 1, {"deadly": MAX_ATTEMPTS - 1}))
    _, action = end(schedule, 0, Died("killed"))
    assert isinstance(action, Settle)
    assert action.state is GeneratorState.QUARANTINED


def test_only_a_worker_that_died_is_started_again():
    schedule, starts = dispatch(plan(["a", "b", "c", "d"], 2))
    assert [start.fresh for start in starts] == [True, True]
    schedule, _ = end(schedule, 0, Trained())
    schedule, _ = end(schedule, 1, Died("killed"))
    schedule, starts = dispatch(schedule)
    assert [(start.worker, start.generators, start.fresh) for start in starts] == [
        (0, ("c",), False),
        (1, ("d",), True),
    ]


def test_an_idle_worker_cannot_finish():
    with pytest.raises(ValueError, match="no generator"):
        finish(plan(["a"], 1), 0, {"a": Trained()})
