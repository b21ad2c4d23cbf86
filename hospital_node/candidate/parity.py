"""How far an exported file is from the trained network: the figures that an audit keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sharekit.bundle import manifest

TOLERANCE = 1e-4
"""Largest allowed difference of any output value in [-1, 1]: a hundredth of one 8-bit step."""


@dataclass(frozen=True)
class ParityCase:
    """One comparison. Law: `from_json(to_json(x)) == x`."""

    height: int  # pixels
    width: int  # pixels
    batch: int  # samples
    max_abs_difference: float  # largest over all output values, which lie in [-1, 1]

    def to_json(self) -> dict[str, Any]:
        return {
            "height": self.height,
            "width": self.width,
            "batch": self.batch,
            "max_abs_difference": self.max_abs_difference,
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> ParityCase:
        return ParityCase(
            int(value["height"]), int(value["width"]), int(value["batch"]), float(value["max_abs_difference"])
        )


@dataclass(frozen=True)
class Parity:
    """How far the ONNX file is from the trained network. Law: `from_json(to_json(x)) == x`."""

    cases: tuple[ParityCase, ...]
    tolerance: float
    opset: int
    onnxruntime: str  # version

    @property
    def max_abs_difference(self) -> float:
        return max(case.max_abs_difference for case in self.cases)

    @property
    def samples(self) -> int:
        return sum(case.batch for case in self.cases)

    @property
    def stated(self) -> manifest.Parity:
        """What the bundle's manifest says about it."""
        return manifest.Parity(self.max_abs_difference, self.opset)

    def to_json(self) -> dict[str, Any]:
        return {
            "cases": [case.to_json() for case in self.cases],
            "tolerance": self.tolerance,
            "opset": self.opset,
            "onnxruntime": self.onnxruntime,
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Parity:
        return Parity(
            tuple(ParityCase.from_json(case) for case in value["cases"]),
            float(value["tolerance"]),
            int(value["opset"]),
            str(value["onnxruntime"]),
        )
