"""ONNX Runtime without its telemetry; every other module takes it from here, and a test keeps that so."""

from __future__ import annotations

import onnxruntime

# Windows has telemetry of its own, which the variable that `silence` sets does not reach.
onnxruntime.disable_telemetry_events()

__all__ = ["onnxruntime"]
