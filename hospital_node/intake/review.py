"""A person decides about pictures that intake is unsure about."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hospital_node.dicom.read_dicom import is_dicom, read_dicom
from hospital_node.intake.source_files import FRAME
from hospital_node.ledger.states import ImageRecord, ImageState
from hospital_node.node import history
from hospital_node.node.node import Node
from hospital_node.overlays.outcome import Overlays, Ruling
from sharekit.pictures.decode import decode, plain_pixels
from sharekit.pictures.folder import read_file


@dataclass(frozen=True)
class Waiting:
    """A picture that waits for a person, or that a person has decided about."""

    record: ImageRecord
    overlays: Overlays


def waiting(node: Node) -> list[Waiting]:
    """The pictures in review, oldest first."""
    return [
        Waiting(record, Overlays.from_text(record.overlays))
        for record in node.ledger.iterate(ImageState.REVIEW)
    ]


def decide_review(node: Node, images: list[str], ruling: Ruling | None) -> None:
    """Record a decision about pictures in review; the next ingest of their folder takes them.

    Args:
        node: its write lock is taken.
        images: identifiers.
        ruling: paint over what is doubtful, or keep it; None refuses the pictures.

    Raises:
        InputError: the node has no such image.
        NodeStateError: an image is not in review, or another process writes the node.
    """
    with node.write_lock():
        for image in images:
            overlays = Overlays.from_text(node.ledger.get(image).overlays)
            state = ImageState.REFUSED if ruling is None else ImageState.REVIEW
            words = "refused at the review" if ruling is None else f"reviewed: {ruling}"
            decided = dataclasses.replace(overlays, ruling=ruling)
            node.ledger.rule(image, state, f"{words} by {history.operator()}", decided.to_text())
            history.record(node, history.Action.INTAKE, review=image, decision=str(ruling or "refuse"))


def picture_before(record: ImageRecord) -> NDArray[np.uint8]:
    """`(H, W, C)` uint8: a picture as the hospital's folder has it.

    It is not turned by EXIF, so that regions may lie elsewhere in a picture that intake turned.

    Raises:
        InputError: the file is gone, or cannot be decoded.
        DependencyError: it is DICOM, and the extra `dicom` is missing.
    """
    path, _, frame = record.source_image.partition(FRAME)
    data = read_file(Path(record.data_dir), path)
    if is_dicom(data):
        return read_dicom(data, path).frames[int(frame or 1) - 1]
    return plain_pixels(decode(data, path), path)
