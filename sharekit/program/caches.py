"""Redirects the caches of dependencies from the user's home folder to a temporary one."""

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
    """For the length of the block, give dependencies a temporary cache folder; remove it afterwards."""
    if "MPLCONFIGDIR" in os.environ:
        yield
        return
    # matplotlib creates the folder when it is loaded, for a list of the machine's fonts.
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
        # No temporary folder is writable; a command that only reads can still run.
        return Path(os.devnull)
