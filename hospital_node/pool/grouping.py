"""Which images a generator learns from: of one channel layout, by chance or by unit. Pure."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hospital_node.ledger.states import GeneratorRecord, GeneratorState, ImageRecord
from sharekit.generator.tensors import ChannelLayout

Unit = tuple[ImageRecord, ...]
"""Images that stay together, of one layout."""


@dataclass(frozen=True)
class Grouping:
    """What is asked for."""

    size: int = 1
    """Least number of images behind a generator."""
    units: Mapping[str, str] | None = None
    """Image to its unit (a patient, a sequence), whose images all go to one generator. None: every image by
    itself, and chance decides who belongs together."""


@dataclass(frozen=True)
class Plan:
    """What is to be planned anew."""

    replaced: tuple[str, ...]
    """Planned generators, not begun, that are not what is asked for."""
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
    """Plan a generator for every unit that has none of the kind yet, in groups of at least `grouping.size`.

    There are two kinds of generators: of one image, and of several. An image stands behind at most one
    generator of each kind that was not withdrawn, so that the same call plans nothing twice. Images that are
    left over once all groups have their size join the smallest groups.

    Args:
        images: that may be trained on, oldest first.
        generators: all of the node.
        grouping: what is asked for.
        rng: decides who belongs together.
    """
    units, unlisted = _units(images, grouping)
    whole = {image: ids for unit in units for ids in [_members([unit])] for image in ids}
    replaced = {
        generator.id
        for generator in generators
        if generator.state is GeneratorState.PLANNED
        and not generator.begun
        and not _fits(generator, whole, grouping)
    }
    live = [
        generator.images
        for generator in generators
        if generator.state is not GeneratorState.WITHDRAWN and generator.id not in replaced
    ]
    single = {members[0] for members in live if len(members) == 1}
    grouped = {image for members in live if len(members) > 1 for image in members}
    free: dict[ChannelLayout, list[Unit]] = defaultdict(list)
    late = 0
    for unit in units:
        taken = single if grouping.size == len(unit) == 1 else grouped
        missing = [image for image in unit if image.id not in taken]
        if len(missing) == len(unit):
            free[unit[0].layout].append(unit)
        else:
            late += len(missing)
    groups: list[tuple[str, ...]] = []
    notes = [*_note(unlisted, "that the file of groups does not list wait")]
    notes += _note(late, "wait: others of their unit are in a generator already")
    small = sum(len(members) for members in live if 1 < len(members) < grouping.size)
    notes += _note(small, f"are in generators of fewer than {grouping.size} already, and stay there")
    for layout, waiting in free.items():
        packed, rest = _pack(waiting, grouping.size, rng)
        groups += packed
        notes += _note(rest, f"({_in_words(layout)}) wait: a generator needs at least {grouping.size}")
    return Plan(tuple(sorted(replaced)), tuple(groups), tuple(notes))


def _units(images: Sequence[ImageRecord], grouping: Grouping) -> tuple[list[Unit], int]:
    """Images by unit and layout, and how many are in none."""
    found: dict[tuple[str, ChannelLayout], list[ImageRecord]] = defaultdict(list)
    unlisted = 0
    for image in images:
        unit = image.id if grouping.units is None else grouping.units.get(image.id)
        if unit is None:
            unlisted += 1
        else:
            found[unit, image.layout].append(image)
    return [tuple(unit) for unit in found.values()], unlisted


def _fits(generator: GeneratorRecord, whole: Mapping[str, Sequence[str]], grouping: Grouping) -> bool:
    """Whether this grouping could have planned a generator; `whole` is each image's unit."""
    size = len(generator.images)
    if grouping.units is None:
        return size == 1 if grouping.size == 1 else size >= grouping.size
    touched = {other for image in generator.images for other in whole.get(image, ())}
    return size >= grouping.size and touched == set(generator.images)


def _pack(units: Sequence[Unit], size: int, rng: random.Random) -> tuple[list[tuple[str, ...]], int]:
    """Groups of at least `size` images, whole units each; and how many images are too few for one."""
    if size == 1:
        return [_members([unit]) for unit in units], 0
    groups: list[list[Unit]] = []
    filling: list[Unit] = []
    for unit in rng.sample(units, len(units)):
        filling.append(unit)
        if _count(filling) >= size:
            groups.append(filling)
            filling = []
    if not groups:
        return [], _count(filling)
    for unit in filling:
        min(groups, key=_count).append(unit)
    return [_members(group) for group in groups], 0


def _count(units: Sequence[Unit]) -> int:
    return sum(map(len, units))


def _members(units: Sequence[Unit]) -> tuple[str, ...]:
    return tuple(image.id for unit in units for image in unit)


def _note(count: int, words: str) -> list[str]:
    if not count:
        return []
    return [f"{count} {'image' if count == 1 else 'images'} {words}"]


def _in_words(layout: ChannelLayout) -> str:
    kind = "RGB" if layout.image_channels == 3 else "grey"
    return f"{kind}, masks {', '.join(layout.mask_classes)}"
