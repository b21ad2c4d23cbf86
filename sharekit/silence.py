"""Switches off the telemetry of dependencies; `sharekit/__init__.py` calls it before any of them is loaded.

A dependency reads its switch when it is loaded or started, so a later call has no effect. Child
processes and Ray's workers inherit the environment. See docs/adr/0028-nobody-is-contacted.md.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

SWITCHES: Mapping[str, str] = {
    # From 1.29 on, ONNX Runtime sends events and keeps a device ID below ~/.cache.
    "ORT_DISABLE_TELEMETRY": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    # segmentation-models-pytorch depends on huggingface_hub, which has telemetry.
    "HF_HUB_DISABLE_TELEMETRY": "1",
    # The common convention of other programs.
    "DO_NOT_TRACK": "1",
}
"""Environment variables to set; they override the user's environment."""


def switch_off() -> None:
    """Set every switch in this process's environment."""
    os.environ.update(SWITCHES)


def loud() -> tuple[str, ...]:
    """Names of the switches that this process's environment does not set, sorted."""
    return tuple(sorted(name for name, value in SWITCHES.items() if os.environ.get(name) != value))
