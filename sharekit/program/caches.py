"""What dependencies would keep below the user's home folder is kept in a temporary one."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def caches_removed() -> Iterator[None]:
    """Keep what dependencies cache below the home folder in a temporary one, for the length of the block."""
    if "MPLCONFIGDIR" in os.environ:
        yield
        return
    # matplotlib makes the folder when it is loaded, and keeps a list of the machine's fonts there.
    folder = _temporary_folder() / f"sharekit-{secrets.token_hex(8)}"
    os.environ["MPLCONFIGDIR"] = str(folder)
    try:
        yield
    finally:
        del os.environ["MPLCONFIGDIR"]
        shutil.rmtree(folder, ignore_errors=True)


def _temporary_folder() -> Path:
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:
        # Nothing can be written anywhere; a command that only reads goes on.
        return Path(os.devnull)
