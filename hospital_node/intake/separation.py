"""Training images and hold-out stay apart: no picture, and no near duplicate of one, is in both.

A segmenter trained on samples of a generator has seen, in a way, the image behind it; on that image, or the
next frame of the same recording, its scores would say nothing.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hospital_node.ledger.ledger import ImageRecord, ImageState
from hospital_node.node.node import Node
from sharekit.errors import InputError
from sharekit.pictures.similarity import HASH_BITS, NEAR_BITS, difference_hash

_TRAINING = tuple(state for state in ImageState if state not in (ImageState.REFUSED, ImageState.HELD_OUT))


def side_of(state: ImageState) -> str:
    """What a person calls the side that an image is on."""
    return "hold-out" if state is ImageState.HELD_OUT else "training images"


class OtherSide:
    """The images that a new one must not resemble; they are read when the first one is compared."""

    def __init__(self, node: Node, *, hold_out: bool) -> None:
        self._node = node
        self._states = _TRAINING if hold_out else (ImageState.HELD_OUT,)

    def check_known(self, record: ImageRecord, item: object) -> None:
        """Refuse files that the node has already, on the other side.

        Raises:
            InputError: naming `item`.
        """
        if record.state in self._states:
            raise _refusal(item, record, "the same files")

    def check_unlike(self, pixels: NDArray[np.uint8], item: object) -> None:
        """Refuse an image `(H, W, C)` that nearly equals one on the other side.

        Raises:
            InputError: naming `item`.
        """
        records, hashes = self._others
        if not records:
            return
        distances = np.count_nonzero(hashes != _hash(pixels), axis=1)
        nearest = int(distances.argmin())
        if distances[nearest] <= NEAR_BITS:
            found = f"a near duplicate: {distances[nearest]} of {HASH_BITS} bits of their hashes differ"
            raise _refusal(item, records[nearest], found)

    @cached_property
    def _others(self) -> tuple[list[ImageRecord], NDArray[np.bool_]]:
        records = self._node.ledger.records(*self._states)
        hashes = [_hash(self._node.load_pair(record.id).image) for record in records]
        return records, np.array(hashes, np.bool_).reshape(len(records), HASH_BITS)


def _hash(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return difference_hash(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def _refusal(item: object, other: ImageRecord, found: str) -> InputError:
    return InputError(
        item,
        expected=f"a picture unlike all of the {side_of(other.state)}",
        found=f"{found} ({other.source_image})",
        next_step="leave it where it is: an image is either trained on or held out, for good",
    )
