"""The real images of a node that samples are compared with."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from hospital_node.audit.attack import Array
from hospital_node.audit.attacks.distance import reduced, resize, with_channels
from hospital_node.leaks.search import RealContent
from hospital_node.ledger.states import GeneratorRecord, ImageState
from hospital_node.node.node import Node
from hospital_node.node.units import readable_units
from hospital_node.singan.pyramid import build_pyramid
from hospital_node.singan.trained import TrainedGenerator
from sharekit.errors import SharekitError
from sharekit.generator.tensors import pixels_to_tensor

MAX_CONTROLS = 32
"""Other real images that sources are compared with; one random choice for the whole audit."""
CONTROL_SIDE = 256  # pixels: long side at which controls are kept in memory
MAX_FRAMES = 8
"""Further images of the sources' patients or scenes that samples are compared with."""
CONTROLS = (ImageState.INGESTED,)
"""States of control images; only an evaluation may show anything of the hold-out."""

Unit = frozenset[str]
"""Identifiers of every image of a patient, or of every image that shows one picture."""


@dataclass(frozen=True)
class Control:
    """A real picture that sources are compared with."""

    unit: Unit
    image: Array  # (C, H, W) in [-1, 1]


@dataclass(frozen=True)
class RealImages:
    """The real images that samples of one generator are compared with, image channels in [-1, 1]."""

    sources: Array  # (k, C, H, W)
    controls: Array  # (M, C, H, W), of other units; M may be 0
    content: tuple[RealContent, ...]  # pixels and pyramids of the sources


def real_images(
    node: Node, record: GeneratorRecord, generator: TrainedGenerator, pool: Sequence[Control]
) -> RealImages:
    """Sources and controls of a generator, at its finest scale.

    Raises:
        InputError, NodeStateError: a stored image of a source is missing or damaged.
    """
    spec = generator.spec
    channels = spec.layout.image_channels
    pairs = node.load_sources(record.id)
    pyramids = [build_pyramid(pair.tensor(), generator.config) for pair in pairs]
    others = [one.image for one in pool if one.unit.isdisjoint(record.images)][:MAX_CONTROLS]
    controls = [resize(with_channels(image, channels)[None], spec.height, spec.width)[0] for image in others]
    return RealImages(
        np.stack([levels[-1][:channels] for levels in pyramids]),
        np.stack(controls) if controls else np.zeros((0, channels, spec.height, spec.width), np.float32),
        tuple(
            RealContent(spec.id, (pair.image, *pair.masks.values()), tuple(levels))
            for pair, levels in zip(pairs, pyramids, strict=True)
        ),
    )


def node_units(node: Node) -> list[Unit]:
    """Every unit of the node, of the images that may be compared with."""
    return [frozenset(unit) for unit in readable_units(node, node.ledger.iterate(*CONTROLS))]


def control_pool(node: Node, seed: int, sources: int) -> list[Control]:
    """One picture each of a random choice of the node's units; unreadable ones are left out.

    It holds `MAX_CONTROLS` pictures, plus as many as a generator with `sources` images may remove.
    """
    found = readable_units(node, node.ledger.iterate(*CONTROLS))
    chosen = np.random.default_rng(seed).permutation(len(found))[: MAX_CONTROLS + sources]
    first = {found[number][0]: frozenset(found[number]) for number in chosen}
    return [
        Control(first[name], reduced(image[None], CONTROL_SIDE)[0]) for name, image in _read(node, [*first])
    ]


def further_frames(node: Node, images: Sequence[str], units: Sequence[Unit]) -> list[Array]:
    """Further images of the units that `images` belong to, each `(C, H, W)`; unreadable ones are left out."""
    further = units_of(images, units).difference(images)
    return [image for _, image in _read(node, sorted(further)[:MAX_FRAMES])]


def units_of(images: Sequence[str], units: Sequence[Unit]) -> Unit:
    """Identifiers of every image of the units that these images belong to."""
    return frozenset(images).union(*(unit for unit in units if not unit.isdisjoint(images)))


def _read(node: Node, images: Sequence[str]) -> Iterator[tuple[str, Array]]:
    for image in images:
        # An image that cannot be read is reported by its own audit.
        with contextlib.suppress(SharekitError):
            yield image, pixels_to_tensor(node.load_pair(image).image)
