"""Permissions of new files: private inside the node, the user's own choice for what leaves it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

PRIVATE = 0o077
users: int | None = None
"""The user's umask, once `make_private` has replaced it."""


def make_private() -> None:
    """Whatever this process or a library writes from now on, nobody else on a shared machine can read."""
    global users
    before = os.umask(PRIVATE)
    users = before if users is None else users


@contextlib.contextmanager
def users_umask() -> Iterator[None]:
    """Files that are written in the block get the permissions of the user's own umask."""
    if users is None:
        yield
        return
    before = os.umask(users)
    try:
        yield
    finally:
        os.umask(before)
