"""Keeps inside the node, under its seal, what takes long to compute; an erasure removes all of it."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

from hospital_node.node.node import Node, private_directory
from hospital_node.node.seals import Sealed, is_sealed, seal
from sharekit.errors import InputError
from sharekit.storage import files

FOLDER = "kept"
MOST = 16
"""Files in the folder; the oldest ones make room."""
_SEAL = 64  # characters before the content


def read_kept(node: Node, name: str, max_bytes: int = files.MAX_JSON_BYTES) -> bytes | None:
    """What `keep` stored under this name; None: nothing, or somebody changed it."""
    with contextlib.suppress(InputError, UnicodeDecodeError):
        stored = files.read_bytes(_path(node, name), max_bytes=max_bytes + _SEAL)
        data = stored[_SEAL:]
        if is_sealed(node, stored[:_SEAL].decode("ascii"), Sealed.KEPT, name.encode(), data):
            return data
    return None


def keep(node: Node, name: str, data: bytes) -> None:
    """Store `data` under a name that says everything that it depends on."""
    path = _path(node, name)
    private_directory(path.parent)
    sealed = seal(node, Sealed.KEPT, name.encode(), data).encode() + data
    files.write_bytes(path, sealed, mode=0o600)
    for oldest in sorted(path.parent.iterdir(), key=lambda one: one.stat().st_mtime)[:-MOST]:
        oldest.unlink(missing_ok=True)


def _path(node: Node, name: str) -> Path:
    return node.root / FOLDER / hashlib.sha256(name.encode()).hexdigest()
