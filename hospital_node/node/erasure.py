"""Erase images for good: pixels, names, and every generator that learnt from them.

The history says which releases hold one of these generators, so that they can be withdrawn, and no more.
First the ledger forgets the images, in one transaction that lists their files. Then the files go. Whoever
opens the node after a kill finishes the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hospital_node.ledger.states import GeneratorRecord, ImageRecord
from hospital_node.node import history
from hospital_node.node.left_files import finish_erasure
from hospital_node.node.node import Node


@dataclass(frozen=True)
class Erasure:
    """What an erasure removed. Law: the history holds exactly its `to_json`."""

    images: int
    generators: tuple[str, ...]  # identifiers of generators that learnt from them
    releases: tuple[int, ...]  # releases that hold one of these generators: they are outside
    released: tuple[str, ...]  # those of the generators that are in a release

    def to_json(self) -> dict[str, Any]:
        return {
            "images": self.images,
            "generators": len(self.generators),
            "releases": list(self.releases),
            "released_generators": list(self.released),
        }


def erase(
    node: Node,
    images: Sequence[ImageRecord],
    *,
    confirm: Callable[[Sequence[GeneratorRecord]], None] | None = None,
) -> Erasure:
    """Erase images from the node.

    Args:
        node: its write lock is taken.
        images: their records, in any state.
        confirm: shows a person the generators that go with the images; an exception stops the erasure.

    Raises:
        NodeStateError: another process writes the node, or reads its ledger.
    """
    with node.write_lock():
        table = node.ledger.generators
        behind = {record.id: record for image in images for record in table.of_image(image.id)}
        if confirm is not None:
            confirm(tuple(behind.values()))
        done = Erasure(
            images=len(images),
            generators=tuple(behind),
            releases=tuple(sorted({number for record in behind.values() for number in record.releases})),
            released=tuple(record.id for record in behind.values() if record.releases),
        )
        entry = history.new_entry(history.Action.ERASURE, **done.to_json())
        node.ledger.erasures.begin(images, done.generators, entry, history.authenticator(node))
        history.keep_head(node)
        finish_erasure(node.root, node.ledger)
    return done
