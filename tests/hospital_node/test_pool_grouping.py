"""Groups: every image is planned once, units stay whole, no group is too small, layouts never mix."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hospital_node.ledger.states import GeneratorRecord, GeneratorState, ImageRecord, ImageState
from hospital_node.pool.grouping import Grouping, Plan, plan_generators

G = GeneratorState
LAYOUTS = [(3, ("polyp",)), (1, ("polyp",)), (3, ("polyp", "tool"))]


def image(number: int, layout: int = 0) -> ImageRecord:
    channels, classes = LAYOUTS[layout]
    return ImageRecord(
        f"{number:032x}", f"{number}.png", (), ImageState.INGESTED, "", 30, 40, channels, classes
    )


def images(count: int) -> list[ImageRecord]:
    return [image(number) for number in range(count)]


def generator(name: str, members: Sequence[ImageRecord], state: G = G.PLANNED, **fields) -> GeneratorRecord:
    return GeneratorRecord(name, state, tuple(one.id for one in members), **fields)


def planned(plan: Plan) -> list[GeneratorRecord]:
    """The plan's generators as the ledger would have them."""
    return [GeneratorRecord(f"new {number}", G.PLANNED, group) for number, group in enumerate(plan.groups)]


def make(
    found: Sequence[ImageRecord],
    generators: Sequence[GeneratorRecord],
    size: int = 1,
    units=None,
    seed: int = 0,
) -> Plan:
    return plan_generators(found, generators, Grouping(size, units), random.Random(seed))


WAITING = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), max_size=40)
"""Layout and unit of each image."""


@given(WAITING, st.integers(1, 6), st.booleans(), st.integers())
def test_every_image_is_in_one_group_of_its_layout_or_waits(drawn, size, with_units, seed):
    found = [image(number, layout) for number, (layout, _) in enumerate(drawn)]
    units = {one.id: str(unit) for one, (_, unit) in zip(found, drawn, strict=True)} if with_units else None
    plan = make(found, [], size, units, seed)
    layout_of = {one.id: one.layout for one in found}
    members = [name for group in plan.groups for name in group]
    assert len(members) == len(set(members))
    for group in plan.groups:
        assert len({units[name] if units else name for name in group}) >= size
        assert len({layout_of[name] for name in group}) == 1
    # Whoever waits has too few other units of the same layout.
    counts = Counter(
        layout for layout, _ in {(layout_of[name], units[name] if units else name) for name in layout_of}
    )
    waiting = set(layout_of) - set(members)
    assert {layout_of[name] for name in waiting} == {one for one, count in counts.items() if count < size}
    assert all(f"a generator needs at least {size}" in note for note in plan.notes)
    assert len(plan.notes) == len({layout_of[name] for name in waiting})


@given(WAITING, st.integers(1, 6), st.integers())
def test_a_unit_of_one_layout_is_never_split(drawn, size, seed):
    found = [image(number, layout) for number, (layout, _) in enumerate(drawn)]
    units = {one.id: str(unit) for one, (_, unit) in zip(found, drawn, strict=True)}
    plan = make(found, [], size, units, seed)
    homes: dict[tuple, set[int]] = {}
    for number, group in enumerate(plan.groups):
        for name in group:
            layout = next(one.layout for one in found if one.id == name)
            homes.setdefault((units[name], layout), set()).add(number)
    assert all(len(numbers) == 1 for numbers in homes.values())


@given(WAITING, st.integers(1, 6), st.booleans(), st.integers())
def test_the_same_request_again_plans_nothing_and_replaces_nothing(drawn, size, with_units, seed):
    found = [image(number, layout) for number, (layout, _) in enumerate(drawn)]
    units = {one.id: str(unit) for one, (_, unit) in zip(found, drawn, strict=True)} if with_units else None
    first = make(found, [], size, units, seed)
    again = make(found, planned(first), size, units, seed + 1)
    assert (again.replaced, again.groups) == ((), ())
    assert again.notes == first.notes


@given(st.integers(1, 60), st.integers(1, 9))
def test_images_that_are_left_over_are_spread_over_the_groups(count, size):
    groups = make(images(count), [], size).groups
    assert len(groups) == count // size
    assert all(size <= len(group) <= 2 * size - 1 for group in groups)
    if len(groups) > 1:
        lengths = [len(group) for group in groups]
        assert max(lengths) - min(lengths) <= 1


def test_single_images_come_in_the_order_of_their_intake():
    assert make(images(4), []).groups == tuple((one.id,) for one in images(4))


def test_chance_decides_who_belongs_together():
    groups = {frozenset(map(frozenset, make(images(9), [], 3, seed=seed).groups)) for seed in range(20)}
    assert len(groups) > 10


def test_an_image_may_stand_behind_a_generator_of_its_own_and_behind_one_group():
    found = images(6)
    singles = [generator(str(number), [one], G.TRAINED) for number, one in enumerate(found)]
    groups = make(found, singles, 3).groups
    assert sorted(map(len, groups)) == [3, 3]
    grouped = [GeneratorRecord(f"g{n}", G.RELEASED, group) for n, group in enumerate(groups)]
    assert make(found, [*singles, *grouped], 3).groups == ()
    assert make(found, [*singles, *grouped]).groups == ()
    assert len(make(found, grouped).groups) == 6


@pytest.mark.parametrize("state", [state for state in G if state is not G.PLANNED])
def test_only_a_withdrawn_generator_gives_its_images_free(state):
    plan = make(images(1), [generator("old", images(1), state, settings="{}")])
    assert plan.replaced == ()
    assert len(plan.groups) == (state is G.WITHDRAWN)


def test_a_plan_that_was_not_begun_makes_way_for_another_request():
    found = images(6)
    before = [generator("a", found[:3]), generator("b", found[3:])]
    plan = make(found, before, 6)
    assert plan.replaced == ("a", "b")
    assert [set(group) for group in plan.groups] == [{one.id for one in found}]
    # Two groups of three are what a request for two may give.
    assert make(found, before, 2) == Plan((), (), ())
    assert make(found, before).replaced == ("a", "b")


def test_a_training_that_has_begun_keeps_its_images():
    found = images(6)
    begun = generator("a", found[:3], settings="{}")
    plan = make(found, [begun], 4)
    assert plan.replaced == plan.groups == ()
    assert plan.notes == (
        "3 images stay in groups of fewer than 4",
        "3 images wait: of RGB images with masks polyp, a generator needs at least 4",
    )


def test_images_that_the_file_does_not_list_wait():
    found = images(3)
    plan = make(found, [], 1, {found[0].id: "a", found[1].id: "a"})
    assert plan.groups == ((found[0].id, found[1].id),)
    assert plan.notes == ("1 image waits: not in the file of groups",)


def test_a_later_image_of_a_unit_waits_for_it_belongs_into_the_generator_that_exists():
    found = images(3)
    units = dict.fromkeys((one.id for one in found), "a")
    plan = make(found, [generator("old", found[:2], G.TRAINED, settings="{}")], 1, units)
    assert plan.groups == ()
    assert plan.notes == ("1 image waits: others of the same unit are in a generator already",)


def test_a_planned_group_that_splits_a_unit_is_planned_anew():
    found = images(4)
    units = {one.id: "ab"[number // 2] for number, one in enumerate(found)}
    split = [generator("x", [found[0], found[2]]), generator("y", [found[1], found[3]])]
    plan = make(found, split, 1, units)
    assert plan.replaced == ("x", "y")
    assert sorted(map(sorted, plan.groups)) == [[one.id for one in found[:2]], [one.id for one in found[2:]]]


def test_images_of_one_unit_count_once():
    found = images(5)
    units = {one.id: str(number // 2) for number, one in enumerate(found)}
    assert make(found, [], 4, units).groups == ()
    (group,) = make(found, [], 3, units).groups
    assert len(group) == 5
