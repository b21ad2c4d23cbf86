"""The units behind a release, patients or distinct pictures: what its statistics count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hospital_node.ledger.states import ImageState
from hospital_node.node.fingerprints import fingerprint_of
from hospital_node.node.node import Node
from hospital_node.node.seals import Sealed, seal
from hospital_node.node.units import readable_units


@dataclass(frozen=True)
class RealUnit:
    """One patient, or one picture where the patient is unknown, however many images of the node it has."""

    first: str
    """The node's oldest image of it, in every release, so that no two images' difference is published."""
    behind: tuple[str, ...]  # its images, of those behind the release
    patient_known: bool = False


def units_behind(node: Node, images: Sequence[str]) -> tuple[RealUnit, ...]:
    """The units behind these images, oldest first.

    Raises:
        InputError, NodeStateError: one of these images is missing or damaged.
    """
    for image in images:
        fingerprint_of(node, image)
    wanted = set(images)
    groups = readable_units(node, node.ledger.iterate(ImageState.INGESTED))
    found = ((group[0], tuple(image for image in group if image in wanted)) for group in groups)
    return tuple(
        RealUnit(first, behind, any(node.ledger.get(image).unit for image in behind))
        for first, behind in found
        if behind
    )


def noun_of(units: Sequence[RealUnit]) -> str:
    """The word for what is counted: "patient" where at least one of them is known."""
    return "patient" if any(unit.patient_known for unit in units) else "picture"


def keyed_units(node: Node, units: Sequence[RealUnit]) -> frozenset[str]:
    """A keyed commitment to the picture that stands for each unit."""
    return frozenset(seal(node, Sealed.PICTURE, fingerprint_of(node, unit.first).digest) for unit in units)
