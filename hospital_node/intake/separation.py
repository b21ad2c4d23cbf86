"""Training images and hold-out stay apart: no patient, no picture and no near duplicate of one is in both.

A segmenter trained on samples of a generator has indirectly seen the image behind it. On that image, or the
next frame of the same recording, its scores would mean nothing.
"""

from __future__ import annotations

from functools import cached_property

from hospital_node.ledger.ledger import ImageRecord, ImageState
from hospital_node.node.fingerprints import fingerprint_of
from hospital_node.node.node import Node
from sharekit.errors import InputError
from sharekit.pictures.similarity import Fingerprint, Pictures

TRAINING = tuple(
    state for state in ImageState if state not in (ImageState.REFUSED, ImageState.REVIEW, ImageState.HELD_OUT)
)


def side_of(state: ImageState) -> str:
    """The name, for messages, of the side that an image is on."""
    return "hold-out" if state is ImageState.HELD_OUT else "training images"


class OtherSide:
    """The images that a new one must not resemble; they are read for the first comparison."""

    def __init__(self, node: Node, *, hold_out: bool) -> None:
        self._node = node
        self._states = TRAINING if hold_out else (ImageState.HELD_OUT,)

    def check_known(self, record: ImageRecord, item: object) -> None:
        """Refuse files that the node already has on the other side.

        Raises:
            InputError: naming `item`.
        """
        if record.state in self._states:
            raise _refusal(item, record, "the same files")

    def check_unlike(self, found: Fingerprint, item: object) -> None:
        """Refuse a picture that is a copy, or a near copy, of one on the other side.

        Raises:
            InputError: naming `item`.
        """
        records, pictures = self._others
        copies = pictures.copies(found)
        if len(copies):
            raise _refusal(item, records[copies[0]], "a near duplicate")

    def check_patient(self, unit: str, item: object) -> None:
        """Refuse an image of a patient with images on the other side.

        Args:
            unit: as in `ImageRecord.unit`; an unknown patient is on no side.

        Raises:
            InputError: naming `item`.
        """
        other = next((one for one in self._node.ledger.of_unit(unit) if one.state in self._states), None)
        if other is not None:
            raise InputError(
                item,
                expected=f"an image of a patient who has none among the {side_of(other.state)}",
                found=f"the patient of {other.source_image}",
                next_step="leave it where it is: a patient is either trained on or held out, for good",
            )

    @cached_property
    def _others(self) -> tuple[list[ImageRecord], Pictures]:
        records = self._node.ledger.records(*self._states)
        return records, Pictures([fingerprint_of(self._node, record.id) for record in records])


def _refusal(item: object, other: ImageRecord, found: str) -> InputError:
    return InputError(
        item,
        expected=f"a picture unlike all of the {side_of(other.state)}",
        found=f"{found} ({other.source_image})",
        next_step="leave it where it is: an image is either trained on or held out, for good",
    )
