"""Ledgers and a node as earlier releases wrote them, each with its own code, and how to lay them out.

`ledger-1.sql`, `ledger-2.sql` and `ledger-3.sql` are dumps of schemas 1 to 3 with images in every state.
`node-2` is a node of schema 2: its first image is audited and approved, its second withheld, and the
training of its third was interrupted.
"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

_HERE = Path(__file__).parent


def write_ledger(version: int, path: Path) -> Path:
    """The ledger of a schema version at `path`, a new file."""
    return _restore(_HERE / f"ledger-{version}.sql", path)


def write_node(root: Path) -> Path:
    """The node of schema 2 at `root`, a new folder, private as a node is."""
    shutil.copytree(_HERE / "node-2", root)
    # Git keeps no empty folder.
    (root / "reports").mkdir(exist_ok=True)
    for path in (root, *root.rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)
    _restore(root / "ledger.sql", root / "ledger.sqlite")
    (root / "ledger.sql").unlink()
    return root


def _restore(dump: Path, path: Path) -> Path:
    path.touch(mode=0o600)
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.executescript(dump.read_text(encoding="utf-8"))
    return path
