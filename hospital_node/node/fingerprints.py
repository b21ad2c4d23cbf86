"""Fingerprints of a node's pictures, stored next to their pixels."""

from __future__ import annotations

import contextlib
import hmac
from pathlib import Path

from hospital_node.node.node import Node
from sharekit.errors import InputError
from sharekit.pictures.similarity import Fingerprint, fingerprint
from sharekit.storage import files

FILE = "fingerprint"
_MAC_CHARACTERS = 64
_MAX_BYTES = 2**16


def store_fingerprint(node: Node, image_id: str, found: Fingerprint) -> None:
    """Store an image's fingerprint next to its pixels, so that comparing images needs no decoding."""
    data = found.to_bytes()
    files.write_bytes(_path(node, image_id), _mac(node, image_id, data) + data, mode=0o600)


def fingerprint_of(node: Node, image_id: str) -> Fingerprint:
    """An image's fingerprint: the stored one where its key fits, otherwise that of the stored pixels."""
    with contextlib.suppress(InputError, ValueError):
        stored = files.read_bytes(_path(node, image_id), max_bytes=_MAX_BYTES)
        mac, data = stored[:_MAC_CHARACTERS], stored[_MAC_CHARACTERS:]
        if hmac.compare_digest(mac, _mac(node, image_id, data)):
            return Fingerprint.from_bytes(data)
    return fingerprint(node.load_pair(image_id).image)


def _path(node: Node, image_id: str) -> Path:
    return node.image_dir(image_id) / FILE


def _mac(node: Node, image_id: str, data: bytes) -> bytes:
    return node.commit(b"fingerprint" + image_id.encode() + data).encode()
