"""What defines a generator apart from its weights: its scales, its channels and its noise."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharekit.generator.noise import standard_normal
from sharekit.generator.tensors import ChannelLayout

PADDING = 5
"""Zeros around noise and image before each scale: one pixel per unpadded 3x3 convolution of the scale."""

GENERATOR_ID = re.compile(r"[0-9a-f]{32}")
SHORT_ID = 8  # digits


def short_id(identifier: str) -> str:
    """The first digits of a generator's identifier, which pages, plots and tables show."""
    return identifier[:SHORT_ID]


@dataclass(frozen=True)
class Scale:
    """One level of the pyramid that a generator was trained on."""

    height: int  # pixels
    width: int  # pixels
    noise_channels: int  # 1 at scale 0, otherwise the number of image and mask channels

    @property
    def noise_shape(self) -> tuple[int, int, int]:
        return self.noise_channels, self.height, self.width

    def to_json(self) -> dict[str, int]:
        return {"height": self.height, "width": self.width, "noise_channels": self.noise_channels}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Scale:
        return Scale(int(value["height"]), int(value["width"]), int(value["noise_channels"]))


@dataclass(frozen=True)
class GeneratorSpec:
    """A generator's contract, coarsest scale first. Law: `from_json(to_json(x)) == x`."""

    id: str
    """Random identifier, 32 lower-case hexadecimal digits; it also keys the noise."""
    layout: ChannelLayout
    scales: tuple[Scale, ...]

    @property
    def height(self) -> int:
        return self.scales[-1].height

    @property
    def width(self) -> int:
        return self.scales[-1].width

    def resized(self, height: int, width: int) -> GeneratorSpec:
        """The spec for drawing at another size: all scales are stretched by the same two factors.

        SinGAN's arbitrary-size sampling (Shaham et al., ICCV 2019, section 4): the networks are fully
        convolutional, so only the noise maps change shape.
        """
        return GeneratorSpec(
            self.id,
            self.layout,
            tuple(
                Scale(
                    max(1, round(scale.height * height / self.height)),
                    max(1, round(scale.width * width / self.width)),
                    scale.noise_channels,
                )
                for scale in self.scales
            ),
        )

    def noise(self, seed: int, indices: Sequence[int]) -> list[NDArray[np.float32]]:
        """Noise for the samples `indices` under `seed`: one `(len(indices), c, h, w)` array per scale.

        Values are float32, standard normal. Sample i does not depend on the other indices.
        """
        return [
            np.stack([standard_normal(self.id, seed, index, number, scale.noise_shape) for index in indices])
            for number, scale in enumerate(self.scales)
        ]

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "layout": self.layout.to_json(),
            "scales": [scale.to_json() for scale in self.scales],
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> GeneratorSpec:
        return GeneratorSpec(
            str(value["id"]),
            ChannelLayout.from_json(value["layout"]),
            tuple(Scale.from_json(scale) for scale in value["scales"]),
        )
