"""Choose the images that each generator learns from: one channel layout, at random or by unit. Pure."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hospital_node.ledger.states import GeneratorRecord, GeneratorState, ImageRecord
from sharekit.generator.tensors import ChannelLayout

Unit = tuple[ImageRecord, ...]
"""Images of one layout that stay together."""


@dataclass(frozen=True)
class Grouping:
    """How images are to be grouped."""

    size: int = 1
    """Least number of units behind a generator."""
    units: Mapping[str, str] | None = None
    """Image to its unit (a patient, a sequence, the copies of one picture), whose images all go to one
    generator. None: every image is its own unit."""


@dataclass(frozen=True)
class Plan:
    """Changes to the planned generators."""

    replaced: tuple[str, ...]
    """Planned generators, not begun, that do not fit the grouping."""
    groups: tuple[tuple[str, ...], ...]
    """Images of each new generator, in the order of training."""
    notes: tuple[str, ...]
    """Sentences about images that wait."""


def plan_generators(
    images: Sequence[ImageRecord],
    generators: Sequence[GeneratorRecord],
    grouping: Grouping,
    rng: random.Random,
) -> Plan:
    """Plan generators for units that have none of the kind yet, in random groups of at least `grouping.size`.

    There are two kinds of generators: of one image, and of several. An image stands behind at most one
    generator of each kind that was not withdrawn, so that the same call plans nothing twice. Units that are
    left over once all groups have their size join the smallest groups.

    Args:
        images: those that may be trained on, oldest first.
        generators: all of the node.
        grouping: size and units of the groups.
        rng: source of the random groups.
    """
    units, unlisted = _units(images, grouping)
    unit_of = {image.id: number for number, unit in enumerate(units) for image in unit}
    replaced = {
        generator.id
        for generator in generators
        if generator.state is GeneratorState.PLANNED
        and not generator.begun
        and not _fits(generator, units, unit_of, grouping)
    }
    live = [
        generator.images
        for generator in generators
        if generator.state is not GeneratorState.WITHDRAWN and generator.id not in replaced
    ]
    free, late = _free(units, live, grouping)
    groups: list[tuple[str, ...]] = []
    notes = _wait(unlisted, "not in the file of groups")
    notes += _wait(late, "others of the same unit are in a generator already")
    smaller = sum(
        len(members) for members in live if len(members) > 1 and _count(members, unit_of) < grouping.size
    )
    if smaller:
        notes.append(f"{smaller} images stay in groups of fewer than {grouping.size}")
    for layout, waiting in free.items():
        packed, rest = _pack(waiting, grouping.size, rng)
        groups += packed
        notes += _wait(rest, f"of {_in_words(layout)}, a generator needs at least {grouping.size}")
    return Plan(tuple(sorted(replaced)), tuple(groups), tuple(notes))


def _units(images: Sequence[ImageRecord], grouping: Grouping) -> tuple[list[Unit], int]:
    """Images by unit and layout, and the number of images without a unit."""
    found: dict[tuple[str, ChannelLayout], list[ImageRecord]] = defaultdict(list)
    unlisted = 0
    for image in images:
        unit = image.id if grouping.units is None else grouping.units.get(image.id)
        if unit is None:
            unlisted += 1
        else:
            found[unit, image.layout].append(image)
    return [tuple(unit) for unit in found.values()], unlisted


def _fits(
    generator: GeneratorRecord, units: Sequence[Unit], unit_of: Mapping[str, int], grouping: Grouping
) -> bool:
    """Whether this grouping could have planned a generator."""
    size = len(generator.images)
    if grouping.units is None:
        return size == 1 if grouping.size == 1 else size >= grouping.size
    touched = {unit_of[image] for image in generator.images if image in unit_of}
    listed = all(image in unit_of for image in generator.images)
    whole = sum(len(units[number]) for number in touched) == size
    return len(touched) >= grouping.size and listed and whole


def _free(
    units: Sequence[Unit], live: Sequence[Sequence[str]], grouping: Grouping
) -> tuple[Mapping[ChannelLayout, list[Unit]], int]:
    """Units by layout without a generator of the kind, and the number of late images of the other units."""
    single = {members[0] for members in live if len(members) == 1}
    grouped = {image for members in live if len(members) > 1 for image in members}
    free: dict[ChannelLayout, list[Unit]] = defaultdict(list)
    late = 0
    for unit in units:
        taken = single if grouping.size == len(unit) == 1 else grouped
        missing = sum(image.id not in taken for image in unit)
        if missing == len(unit):
            free[unit[0].layout].append(unit)
        else:
            late += missing
    return free, late


def _pack(units: Sequence[Unit], size: int, rng: random.Random) -> tuple[list[tuple[str, ...]], int]:
    """Groups of at least `size` whole units, and the number of images left without a group."""
    if size == 1:
        return [_members([unit]) for unit in units], 0
    shuffled = rng.sample(units, len(units))
    count = len(units) // size
    if not count:
        return [], sum(map(len, units))
    # Dealt out like cards: the groups' numbers of units differ by one at most.
    return [_members(shuffled[number::count]) for number in range(count)], 0


def _count(members: Sequence[str], unit_of: Mapping[str, int]) -> int:
    """Units behind a generator; an image that is not to be trained on now counts as its own."""
    return len({unit_of.get(image, image) for image in members})


def _members(units: Sequence[Unit]) -> tuple[str, ...]:
    return tuple(image.id for unit in units for image in unit)


def _wait(count: int, why: str) -> list[str]:
    """The sentence about images that wait; no sentence if no image does."""
    if not count:
        return []
    return [f"1 image waits: {why}" if count == 1 else f"{count} images wait: {why}"]


def _in_words(layout: ChannelLayout) -> str:
    kind = "RGB" if layout.image_channels == 3 else "grey"
    return f"{kind} images with masks {', '.join(layout.mask_classes)}"
