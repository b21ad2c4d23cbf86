"""Remove the files of erased images and generators, also those that an interrupted erasure left."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from pathlib import Path

from hospital_node.ledger.ledger import Ledger
from hospital_node.node.write_lock import write_lock
from sharekit.errors import NodeStateError

_IDENTIFIER = re.compile(r"[0-9a-f]{32}")
_ABOUT_ALL = ("reports/*", "kept/*", "outgoing-*", "training.json", "*/.*.tmp", ".*.tmp")
"""Pages, kept results, staged releases and half-written files: any image may be in them, and they can be
made again."""


def finish_interrupted_erasure(root: Path, ledger: Ledger) -> None:
    """Finish an erasure that was killed; leave it to the process that erases now, if there is one."""
    if not ledger.erasures.pending():
        return
    with contextlib.suppress(NodeStateError), write_lock(root):
        finish_erasure(root, ledger)


def finish_erasure(root: Path, ledger: Ledger) -> None:
    """Remove every file that an erased identifier names, then every trace in the ledger's file.

    Args:
        root: the node's folder; its write lock is held.
        ledger: its ledger.

    Raises:
        NodeStateError: another process reads the ledger.
    """
    erased = ledger.erasures.pending()
    for path in [*root.rglob("*"), *(path for pattern in _ABOUT_ALL for path in root.glob(pattern))]:
        about_all = any(path.relative_to(root).match(pattern) for pattern in _ABOUT_ALL)
        if about_all or not erased.isdisjoint(_IDENTIFIER.findall(path.name)):
            _remove(path)
    # Before the list of them goes, so that a power cut brings none back.
    os.sync()
    ledger.erasures.finish()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
