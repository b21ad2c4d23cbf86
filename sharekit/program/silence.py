"""Switches off what dependencies would send or keep at home.

`sharekit/__init__.py` calls `silence` before any of them is loaded.

A dependency reads its switch when it is loaded or started, so a call afterwards comes too late. Child
processes and Ray's workers inherit the environment. See docs/adr/0028-nobody-is-contacted.md.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

SWITCHES: Mapping[str, str] = {
    # ONNX Runtime sends events, and keeps a device id below ~/.cache, from 1.29 on.
    "ORT_DISABLE_TELEMETRY": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    # segmentation-models-pytorch brings the library that sends them.
    "HF_HUB_DISABLE_TELEMETRY": "1",
    # The convention of everybody else.
    "DO_NOT_TRACK": "1",
}
"""Environment variables, whatever the user's environment says of them."""


def silence() -> None:
    """Set every switch in this process's environment."""
    os.environ.update(SWITCHES)


def loud() -> tuple[str, ...]:
    """The switches that are not set in this process's environment, sorted."""
    return tuple(sorted(name for name, value in SWITCHES.items() if os.environ.get(name) != value))


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
