"""Fill a run's queue: generators that a killed run left, that wait, and that are planned now."""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from hospital_node.ledger.states import GeneratorRecord, GeneratorState, ImageRecord, ImageState
from hospital_node.node.groups_file import read_groups
from hospital_node.node.node import Node
from hospital_node.node.pair import common_size
from hospital_node.node.units import readable_units
from hospital_node.pool import schedule
from hospital_node.pool.grouping import Grouping, plan_generators
from hospital_node.pool.training_options import GroupOptions
from hospital_node.pool.workload import Workload, scale_costs
from hospital_node.singan import checkpoint
from hospital_node.singan.config import TrainingConfig, TrainingSettings
from hospital_node.singan.pyramid import pyramid_sizes
from hospital_node.singan.trained import TrainedGenerator
from sharekit.errors import InputError, NodeStateError
from sharekit.program.phrases import counted

_S = GeneratorState
Size = tuple[int, int, int]
"""Height and width in pixels, and channels of image and masks together."""


@dataclass(frozen=True)
class Queue:
    """Generators that a run is to train."""

    generators: tuple[GeneratorRecord, ...]
    """Identifiers, unfinished generators first."""
    sizes: Mapping[str, Size]
    """Size of the images behind each, after they are resized to one size."""
    notes: tuple[str, ...]
    """Sentences about images that wait."""

    @property
    def plan(self) -> str:
        """What is trained, in words: `3 groups of 10 to 11 images`."""
        sizes = [len(one.images) for one in self.generators]
        grouped = sorted(size for size in sizes if size > 1)
        parts = []
        if grouped:
            span = f"{grouped[0]}" if grouped[0] == grouped[-1] else f"{grouped[0]} to {grouped[-1]}"
            parts.append(f"{counted(len(grouped), 'group')} of {span} images")
        if single := sizes.count(1):
            parts.append(f"{counted(single, 'generator')} of one image")
        return " and ".join(parts) or "no generator waits"

    def workload(self, config: TrainingConfig) -> Workload:
        """The work of all of them."""
        costs_of = cache(lambda height, width: scale_costs(height, width, config))
        costs = {record.id: costs_of(*self.sizes[record.id][:2]) for record in self.generators}
        return Workload(costs, config.iterations, {one.id for one in self.generators if one.begun})

    def first_schedule(
        self, workers: int, lanes: int, max_attempts: int, config: TrainingConfig
    ) -> schedule.Schedule:
        """The schedule in which all of them wait, with the deaths that they have caused before."""
        shape_of = cache(lambda size: _shape(size, config))
        buckets = {one.id: (shape_of(self.sizes[one.id]), len(one.images)) for one in self.generators}
        return schedule.plan(
            [one.id for one in self.generators],
            workers,
            {one.id: one.attempts for one in self.generators if one.attempts},
            max_attempts,
            lanes=lanes,
            buckets={name: bucket for name, bucket in buckets.items() if bucket[0] is not None},
        )


def size_of(images: Sequence[ImageRecord]) -> Size:
    """The size to which the images of one generator are resized."""
    height, width = common_size([image.size[:2] for image in images])
    return height, width, images[0].size[2]


def fill_queue(node: Node, settings: TrainingSettings, groups: GroupOptions, *, restart: bool) -> Queue:
    """Settle what a killed run left, plan new generators, and return all that wait.

    Args:
        node: its write lock is held.
        settings: those of this run.
        groups: how many images stand behind a generator, and which belong together.
        restart: interrupted, failed and quarantined generators start from the beginning.

    Raises:
        InputError: the file of groups is broken.
        NodeStateError: the node has no images, or unfinished generators began with other settings.
    """
    if not node.ledger.counts()[ImageState.INGESTED]:
        raise NodeStateError(
            node.root,
            expected="a node with images",
            found="none that intake has taken",
            next_step="bring some in with `hospital-node ingest`",
        )
    images = {image.id: image for image in node.ledger.iterate(ImageState.INGESTED)}
    # Read the file first, so that a broken one changes nothing.
    grouping, reason = _grouping(node, list(images.values()), groups)
    record_finished(node)
    _resume(node, settings, restart=restart)
    notes = _plan(node, list(images.values()), grouping, reason)
    waiting = sorted(node.ledger.generators.iterate(_S.PLANNED), key=lambda record: not record.begun)
    sizes = {one.id: size_of([images[image] for image in one.images]) for one in waiting}
    return Queue(tuple(waiting), sizes, notes)


def record_finished(node: Node) -> None:
    """Record generators that a killed run had trained and saved but not yet written into the ledger."""
    for record in node.ledger.generators.records(_S.TRAINING):
        path = node.generator_path(record.id)
        for half_written in path.parent.glob(f".{path.name}.*.tmp"):
            half_written.unlink()
        if not path.exists():
            continue
        with contextlib.suppress(NodeStateError):
            if TrainedGenerator.load(path).spec.id == record.id:
                checkpoint.destroy(node.model_dir(record.id))
                node.ledger.generators.transition(record.id, _S.TRAINED)


def _resume(node: Node, settings: TrainingSettings, *, restart: bool) -> None:
    """Let unfinished generators wait again: to go on, or to start from the beginning."""
    table = node.ledger.generators
    unfinished = [
        record
        for record in table.iterate(_S.TRAINING, _S.PLANNED)
        if record.begun or record.state is _S.TRAINING
    ]
    if restart:
        anew = [record.id for record in (*unfinished, *table.iterate(_S.FAILED, _S.QUARANTINED))]
        for generator_id in anew:
            checkpoint.destroy(node.model_dir(generator_id))
        table.restart(anew)
        return
    for record in unfinished:
        if record.begun:
            _check_settings(record, settings)
    for record in unfinished:
        if record.state is _S.TRAINING:
            table.transition(record.id, _S.PLANNED, "interrupted")


def _check_settings(record: GeneratorRecord, settings: TrainingSettings) -> None:
    before: dict[str, Any] = {"profile": record.profile, **json.loads(record.settings)}
    now: dict[str, Any] = {"profile": settings.profile, **json.loads(settings.canonical)}
    if "sha256" in before:
        # A ledger of schema 1 or 2 kept only these.
        now = {"profile": settings.profile, "sha256": settings.digest}
    different = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    if different:
        raise NodeStateError(
            record.id,
            expected=f"the settings that its training began with: {_named(before, different)}",
            found=_named(now, different),
            next_step="run the earlier command again, or add --restart to begin again with these settings",
        )


def _named(settings: Mapping[str, Any], names: Sequence[str]) -> str:
    return ", ".join(f"{name} {settings.get(name, 'unknown')}" for name in names)


def _grouping(node: Node, images: Sequence[ImageRecord], groups: GroupOptions) -> tuple[Grouping, str]:
    """The grouping that the options ask for, and why these images belong together."""
    if groups.file is not None:
        units = read_groups(groups.file, node.ledger.iterate())
        return Grouping(groups.size, units), "images chosen by the file of groups"
    if groups.size == 1:
        return Grouping(), ""
    return Grouping(groups.size, unit_names(node, images)), "images chosen by chance"


def unit_names(node: Node, images: Sequence[ImageRecord]) -> Mapping[str, str]:
    """Image to the name of its unit: images of one patient, or that show one picture, share it.

    An image that cannot be read is a unit of its own; its generator fails alone.
    """
    names = {image.id: image.id for image in images}
    for unit in readable_units(node, images):
        names |= dict.fromkeys(unit, unit[0])
    return names


def _plan(node: Node, images: Sequence[ImageRecord], grouping: Grouping, reason: str) -> tuple[str, ...]:
    """Write the plan into the ledger; return the sentences about images that wait."""
    table = node.ledger.generators
    plan = plan_generators(images, table.records(), grouping, secrets.SystemRandom())
    if plan.replaced:
        table.drop(plan.replaced, "replaced by another plan")
        for generator_id in plan.replaced:
            shutil.rmtree(node.generator_path(generator_id).parent, ignore_errors=True)
    if plan.groups:
        table.plan(plan.groups, reason)
    return plan.notes


def _shape(size: Size, config: TrainingConfig) -> Hashable | None:
    """What generators must share to be trained side by side; None for images too small to train on."""
    height, width, channels = size
    try:
        return channels, tuple(pyramid_sizes(height, width, config))
    except InputError:
        return None
