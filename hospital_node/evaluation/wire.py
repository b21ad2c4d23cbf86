"""What the node and the process that runs a stranger's model say to each other, byte by byte.

    process  its active `Layer`s, one byte
    node     contract and model: `LENGTHS`, the contract as JSON, the ONNX file
    process  a verdict on the model: one `Status`; after REFUSED a text of `TEXT_BYTES`, padded with zeros
    node     one image, float32 `(1, C, h, w)`, little endian          ┐ for every image
    process  one `Status`; after DONE float32 `(1, K, h, w)`           ┘

The process writes the text before it has seen any image. From then on it can send only a `Status` and a fixed
number of floats, which the node treats as predictions and nothing else.
"""

from __future__ import annotations

import struct
from enum import IntEnum

LENGTHS = struct.Struct("<QQ")  # lengths of the contract and of the model, bytes
TEXT_BYTES = 1000
SEPARATOR = "\n"
"""Separator of what was expected and what was found, in the text of a refusal."""


class Status(IntEnum):
    """How a step went."""

    DONE = 1
    REFUSED = 2
    """The policy refuses the model; a text follows."""
    FAILED = 3
    """ONNX Runtime could not load or run it."""
    OUT_OF_MEMORY = 4
    OTHER_SHAPE = 5
    """Its output does not have the shape or type of the contract."""


def encode_text(text: str) -> bytes:
    """ASCII, cut or padded to `TEXT_BYTES`."""
    return text.encode("ascii", "replace")[:TEXT_BYTES].ljust(TEXT_BYTES, b"\0")
