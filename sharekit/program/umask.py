"""Permissions of new files: private inside the node, the user's own umask for files that leave it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

PRIVATE = 0o077
users: int | None = None
"""The user's umask, once `make_private` has replaced it."""


def make_private() -> None:
    """Make all files that this process writes from now on unreadable for other users."""
    global users
    before = os.umask(PRIVATE)
    users = before if users is None else users


@contextlib.contextmanager
def users_umask() -> Iterator[None]:
    """Inside the block, new files get the permissions of the user's own umask."""
    if users is None:
        yield
        return
    before = os.umask(users)
    try:
        yield
    finally:
        os.umask(before)
