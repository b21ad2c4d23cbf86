"""Where Sharekit keeps what a user trusts and has pulled: one folder, private to the user.

    HOME/trust/<hospital>.json     the keys that the user trusts
    HOME/repositories/<digest>/    per repository: its metadata, and what the last pull saw
    HOME/bundles/<sha256>.zip      pulled bundles by the digest of the file
    HOME/sheets/<sha256>.png       their contact sheets
    HOME/pulled/<manifest>.json    which release a pulled bundle is
    HOME/withdrawn/<manifest>.json releases that their hospital has withdrawn
    HOME/drawn/<manifest>.jsonl    data sets drawn from pulled bundles
    HOME/locks/                    which process downloads what

The variable `SHAREKIT_HOME` names the folder; without it, it is `~/.sharekit`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

VARIABLE = "SHAREKIT_HOME"


def home() -> Path:
    """The folder; it may not exist yet."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else Path.home() / ".sharekit"


def made(path: Path) -> Path:
    """Make a folder below `home`, private to the user, and return it."""
    for folder in (*reversed([one for one in path.parents if one.is_relative_to(home())]), path):
        folder.mkdir(mode=0o700, parents=folder == home(), exist_ok=True)
    return path


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one process at a time into the block for `path`, where the system has file locks."""
    made(path.parent)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        with contextlib.suppress(ImportError, OSError):  # Windows, or a file system without locks
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
