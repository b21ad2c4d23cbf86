"""The lock that makes one process the only writer of a node."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from sharekit.errors import NodeStateError


@contextlib.contextmanager
def write_lock(root: Path) -> Iterator[None]:
    """Become the only process that writes the node at `root`; the lock ends with the process.

    Raises:
        NodeStateError: another process holds it.
    """
    descriptor = os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "r+") as file:
        os.fchmod(descriptor, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise NodeStateError(
                root,
                expected="a node that no other process is writing",
                found=f"process {file.read(20).strip() or 'unknown'} at work on it",
                next_step="wait until it has ended; `hospital-node status` shows how far it is",
            ) from None
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        yield
