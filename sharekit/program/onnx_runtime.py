"""ONNX Runtime without its telemetry. Every other module imports it from here, which a test checks."""

from __future__ import annotations

import onnxruntime

# On Windows the variable that `silence` sets does not switch telemetry off.
onnxruntime.disable_telemetry_events()

__all__ = ["onnxruntime"]
