"""Switches off what dependencies would send; `sharekit/__init__.py` calls it before any of them is loaded.

A dependency reads its switch when it is loaded or started, so a call afterwards comes too late. Child
processes and Ray's workers inherit the environment. See docs/adr/0028-nobody-is-contacted.md.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

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


def switch_off() -> None:
    """Set every switch in this process's environment."""
    os.environ.update(SWITCHES)


def loud() -> tuple[str, ...]:
    """The switches that are not set in this process's environment, sorted."""
    return tuple(sorted(name for name, value in SWITCHES.items() if os.environ.get(name) != value))
