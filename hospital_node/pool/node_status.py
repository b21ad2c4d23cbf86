"""A node's status: images and generators by state, reasons for trouble, and progress of training."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from hospital_node.ledger.states import GeneratorRecord, GeneratorState, ImageRecord, ImageState
from hospital_node.node.node import Node
from hospital_node.pool import live

SHOWN = 20
"""Most records of one state that are named, unless all of them are."""
NAMED_IMAGES = (ImageState.REFUSED,)
NAMED_GENERATORS = (
    GeneratorState.TRAINING,
    GeneratorState.WITHHELD,
    GeneratorState.QUARANTINED,
    GeneratorState.FAILED,
)
"""States whose records are named; failures come last, where a reader's eye ends."""


@dataclass(frozen=True)
class GeneratorStatus:
    """One generator, with the hospital's names of the images behind it."""

    record: GeneratorRecord
    sources: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        record = self.record
        return {
            "id": record.id,
            "state": str(record.state),
            "reason": record.reason,
            "images": list(record.images),
            "releases": list(record.releases),
            "sources": list(self.sources),
            "attempts": record.attempts,
            "profile": record.profile,
            "settings": json.loads(record.settings) if record.settings else None,
            "created": record.created,
            "updated": record.updated,
        }


@dataclass(frozen=True)
class NodeStatus:
    """A node at one moment. It names files: it is for the hospital alone."""

    node: str
    images: Mapping[ImageState, int]
    generators: Mapping[GeneratorState, int]
    images_behind: Mapping[GeneratorState, int]
    """Images behind the generators of each state; one image may stand behind several."""
    training: live.Found | None
    named_images: tuple[ImageRecord, ...]
    named_generators: tuple[GeneratorStatus, ...]
    left_out: Mapping[str, int]
    """State to the number of its records that the status does not name."""

    def to_json(self) -> dict[str, Any]:
        return {
            "node": self.node,
            "images": {str(state): count for state, count in self.images.items()},
            "generators": {str(state): count for state, count in self.generators.items()},
            "images_behind": {str(state): count for state, count in self.images_behind.items()},
            "training": None if self.training is None else self.training.to_json(),
            "named_images": [record.to_json() for record in self.named_images],
            "named_generators": [generator.to_json() for generator in self.named_generators],
            "left_out": dict(self.left_out),
        }


def node_status(node: Node, *, every: bool = False) -> NodeStatus:
    """Read a node's status, also while another process works on it.

    Args:
        node: read, not changed.
        every: name every image and generator, not only the first `SHOWN` in training or in trouble.

    Raises:
        NodeStateError: the ledger, or the status file of a run, is damaged.
    """
    ledger = node.ledger
    images, generators = ledger.counts(), ledger.generators.counts()
    if every:
        named_images = ledger.records()
        named = ledger.generators.records()
        sources = {record.id: record.source for record in named_images}
        left_out: dict[str, int] = {}
    else:
        named_images = [one for state in NAMED_IMAGES for one in islice(ledger.iterate(state), SHOWN)]
        named = [one for state in NAMED_GENERATORS for one in islice(ledger.generators.iterate(state), SHOWN)]
        sources = {image: ledger.get(image).source for one in named for image in one.images}
        counts = {
            **{str(state): images[state] for state in NAMED_IMAGES},
            **{str(state): generators[state] for state in NAMED_GENERATORS},
        }
        left_out = {state: count - SHOWN for state, count in counts.items() if count > SHOWN}
    return NodeStatus(
        str(node.root),
        images,
        generators,
        ledger.generators.images_behind(),
        live.look(node.root / live.NAME),
        tuple(named_images),
        tuple(GeneratorStatus(one, tuple(sources[image] for image in one.images)) for one in named),
        left_out,
    )
