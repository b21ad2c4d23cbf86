"""Group images by whom they may tell about: the patient, or the distinct picture where patients are unknown.

Wherever a number protects somebody, count units, not images.
"""

from __future__ import annotations

import contextlib
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence

from hospital_node.ledger.ledger import ImageRecord
from hospital_node.node.fingerprints import fingerprint_of
from hospital_node.node.node import Node
from sharekit.errors import SharekitError
from sharekit.pictures.similarity import distinct_pictures


def patient_unit(node: Node, patient: str) -> str:
    """The keyed digest that stands for a patient in the ledger, 64 hexadecimal digits.

    Args:
        node: its secret is the key, so that nobody can try identifiers without the node.
        patient: the hospital's identifier of the patient; spaces around it do not count.
    """
    name = unicodedata.normalize("NFC", patient.strip())
    return node.commit(b"sharekit: unit of a patient, version 1\0" + name.encode())


def units(node: Node, records: Sequence[ImageRecord]) -> tuple[tuple[ImageRecord, ...], ...]:
    """Groups of images of one patient, or that show one picture: equal, re-encoded, mirrored, the next frame.

    Both count: a copy that is listed under another patient does not make two units.

    Raises:
        InputError, NodeStateError: a stored image is missing or damaged.
    """
    groups = join(records, distinct_pictures([fingerprint_of(node, record.id) for record in records]))
    return tuple(tuple(records[index] for index in group) for group in groups)


def readable_units(node: Node, records: Iterable[ImageRecord]) -> list[tuple[str, ...]]:
    """Identifiers of the images of each unit, in order; unreadable images are left out."""
    readable, fingerprints = [], []
    for record in records:
        with contextlib.suppress(SharekitError):
            fingerprints.append(fingerprint_of(node, record.id))
            readable.append(record)
    found = join(readable, distinct_pictures(fingerprints))
    return [tuple(readable[index].id for index in group) for group in found]


def count_units(node: Node, images: Sequence[str]) -> int:
    """Count the units behind these images, such as those of one generator.

    Args:
        node: holds the images.
        images: their identifiers.

    Raises:
        InputError, NodeStateError: an image is missing or damaged.
    """
    if len(images) == 1:
        return 1
    return len(units(node, [node.ledger.get(image) for image in images]))


def join(records: Sequence[ImageRecord], pictures: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    """Indices of the images of each unit, in order. Pure.

    Args:
        records: images.
        pictures: indices of those that show one picture, as `distinct_pictures` gives them.
    """
    unit_of: dict[int, frozenset[int]] = {}
    by_patient = defaultdict(set)
    for index, record in enumerate(records):
        by_patient[record.unit].add(index)
    by_patient.pop("", None)
    for group in (*pictures, *by_patient.values()):
        whole = frozenset(group).union(*(unit_of.get(index, ()) for index in group))
        unit_of |= dict.fromkeys(whole, whole)
    return tuple(sorted(tuple(sorted(unit)) for unit in set(unit_of.values())))
