"""Describe one batch of one generator: noise goes in, raw values of image and mask come out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharekit.generator.spec import GeneratorSpec

Output = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Image `(N, c, H, W)` and mask `(N, k, H, W)`, float32; a sound generator gives values in [-1, 1]."""


@dataclass(frozen=True)
class Draw:
    """A batch of one generator. Law: `from_json(to_json(x)) == x`."""

    spec: GeneratorSpec
    """The generator's spec at the size to draw."""
    seed: int
    indices: tuple[int, ...]
    temperature: float = 1.0

    @property
    def shapes(self) -> tuple[tuple[int, int, int, int], tuple[int, int, int, int]]:
        """Shapes of image and mask."""
        layout, height, width = self.spec.layout, self.spec.height, self.spec.width
        count = len(self.indices)
        return (count, layout.image_channels, height, width), (count, len(layout.mask_classes), height, width)

    def noise(self) -> list[NDArray[np.float32]]:
        """Standard normal noise times the temperature, one `(N, c, h, w)` array per scale."""
        noise = self.spec.noise(self.seed, self.indices)
        return noise if self.temperature == 1 else [np.float32(self.temperature) * values for values in noise]

    def to_json(self) -> dict[str, Any]:
        return {
            "spec": self.spec.to_json(),
            "seed": self.seed,
            "indices": list(self.indices),
            "temperature": self.temperature,
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Draw:
        return Draw(
            GeneratorSpec.from_json(value["spec"]),
            int(value["seed"]),
            tuple(value["indices"]),
            float(value["temperature"]),
        )
