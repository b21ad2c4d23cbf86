"""The distinct real pictures behind a release: what its statistics count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hospital_node.ledger.states import ImageState
from hospital_node.node.fingerprints import fingerprint_of, readable_pictures
from hospital_node.node.node import Node
from hospital_node.node.seals import Sealed, seal


@dataclass(frozen=True)
class RealPicture:
    """One picture, however many images of the node show it."""

    first: str
    """The node's oldest image of it, in every release, so that no two copies' difference is published."""
    behind: tuple[str, ...]  # images that show it, of those behind the release


def pictures_behind(node: Node, images: Sequence[str]) -> tuple[RealPicture, ...]:
    """The distinct pictures that these images show, oldest first.

    Raises:
        InputError, NodeStateError: one of these images is missing or damaged.
    """
    for image in images:
        fingerprint_of(node, image)
    wanted = set(images)
    groups = readable_pictures(node, node.ledger.iterate(ImageState.INGESTED))
    found = ((group[0], tuple(image for image in group if image in wanted)) for group in groups)
    return tuple(RealPicture(first, behind) for first, behind in found if behind)


def keyed_pictures(node: Node, pictures: Sequence[RealPicture]) -> frozenset[str]:
    """A keyed commitment to each picture."""
    return frozenset(
        seal(node, Sealed.PICTURE, fingerprint_of(node, picture.first).digest) for picture in pictures
    )
