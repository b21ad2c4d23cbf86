"""How a node's fidelity is measured; free of heavy imports, for the command's options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class FidelitySettings:
    """Law: `from_json(to_json(x)) == x`."""

    samples: int = 10
    """Samples drawn from each generator, as many as Thambawita et al. draw for each image."""
    seed: int = 0
    """Seed of samples, halves and bootstrap."""
    halves: int = 100
    """Random splits of the real images."""

    def to_json(self) -> dict[str, int]:
        return asdict(self)

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> FidelitySettings:
        return FidelitySettings(int(value["samples"]), int(value["seed"]), int(value["halves"]))
