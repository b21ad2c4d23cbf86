"""Choose what a node trains when nobody names a profile or a grouping: groups, once it has enough images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
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


def default_training(node: Node, k: int, *, restart: bool = False) -> DefaultTraining:
    """Groups of at least `k` units if a channel layout has `k`; otherwise a generator for each image.

    Unfinished generators keep their kind, so that the same command goes on after an interruption, whatever
    was ingested in the meantime.

    Args:
        node: read, not changed.
        k: the policy's `min_group`.
        restart: unfinished generators start from the beginning, so they do not decide.
    """
    groups = DefaultTraining(GROUP_PROFILE, k)
    unfinished = node.ledger.generators.iterate(GeneratorState.TRAINING, GeneratorState.PLANNED)
    begun = {record.profile for record in unfinished if record.begun}
    if begun and not restart:
        return groups if GROUP_PROFILE in begun else SINGLES
    layouts: dict[ChannelLayout, list[ImageRecord]] = defaultdict(list)
    for image in node.ledger.iterate(ImageState.INGESTED):
        layouts[image.layout].append(image)
    return groups if any(_enough(node, images, k) for images in layouts.values()) else SINGLES


def _enough(node: Node, images: Sequence[ImageRecord], k: int) -> bool:
    # Counting units reads every image's fingerprint, which few images do not need.
    return len(images) >= k and len(set(unit_names(node, images).values())) >= k
