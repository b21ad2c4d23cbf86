"""Choose what a node trains when nobody names a profile or a grouping: groups, once it has enough images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from hospital_node.ledger.states import GeneratorState, ImageRecord, ImageState
from hospital_node.node.node import Node
from hospital_node.pool.queue import unit_names
from hospital_node.singan.config import DEFAULT_PROFILE, GROUP_PROFILE
from sharekit.generator.tensors import ChannelLayout


@dataclass(frozen=True)
class DefaultTraining:
    """A profile and the least number of units behind each generator."""

    profile: str
    group_size: int


SINGLES = DefaultTraining(DEFAULT_PROFILE, 1)
USUAL_GROUP = 20
"""Units behind each generator where there are twice as many, so that the audit has others to compare with."""


def default_training(node: Node, k: int, *, restart: bool = False) -> DefaultTraining:
    """Groups if a channel layout has `k` units; otherwise a generator for each image.

    Unfinished generators keep their kind, so that the same command goes on after an interruption, whatever
    was ingested in the meantime.

    Args:
        node: read, not changed.
        k: the policy's `min_group`.
        restart: unfinished generators start from the beginning, so they do not decide.
    """
    unfinished = node.ledger.generators.iterate(GeneratorState.TRAINING, GeneratorState.PLANNED)
    begun = {record.profile for record in unfinished if record.begun}
    if begun and not restart:
        return groups(node, k) if GROUP_PROFILE in begun else SINGLES
    return groups(node, k) if any(units >= k for units in _units(node, k)) else SINGLES


def groups(node: Node, k: int) -> DefaultTraining:
    """Groups of `USUAL_GROUP` units where every layout that has `k` has enough for two; otherwise of `k`."""
    usual = max(k, USUAL_GROUP)
    grouped = [units for units in _units(node, 2 * usual) if units >= k]
    return DefaultTraining(GROUP_PROFILE, usual if grouped and min(grouped) >= 2 * usual else k)


def _units(node: Node, enough: int) -> Iterator[int]:
    """The units of each channel layout; of fewer images than `enough`, the images are counted."""
    layouts: dict[ChannelLayout, list[ImageRecord]] = defaultdict(list)
    for image in node.ledger.iterate(ImageState.INGESTED):
        layouts[image.layout].append(image)
    for images in layouts.values():
        # Counting units reads every image's fingerprint, which few images do not need.
        yield len(images) if len(images) < enough else len(set(unit_names(node, images).values()))
