"""Seals on files that a node writes and reads back: a change without the node's secret is noticed."""

from __future__ import annotations

import hashlib
import hmac
from enum import StrEnum

from hospital_node.node.node import Node


class Sealed(StrEnum):
    """Kinds of sealed content. A seal on one kind is not valid for another."""

    AUDIT = "audit"
    PICTURE = "picture"
    HISTORY = "history"
    HISTORY_END = "end of the history"
    KEPT = "kept"


def seal(node: Node, kind: Sealed, *parts: bytes) -> str:
    """HMAC-SHA256 of `parts` in their order, 64 hexadecimal digits.

    The key is derived from the node's secret, so that no commitment in a bundle can serve as a seal.
    """
    key = bytes.fromhex(node.commit(b"sharekit: key of seals, version 1"))
    # Each part comes with its length: no two lists of parts give the same bytes.
    framed = b"".join(len(part).to_bytes(8, "big") + part for part in (kind.encode(), *parts))
    return hmac.new(key, framed, hashlib.sha256).hexdigest()


def is_sealed(node: Node, found: str, kind: Sealed, *parts: bytes) -> bool:
    """Whether `found` is the node's own seal on these parts."""
    return hmac.compare_digest(found.encode(), seal(node, kind, *parts).encode())
