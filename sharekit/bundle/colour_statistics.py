"""Protected colours of the real images: few numbers with so little noise that they are of use.

Each picture has the mean of its L*, a* and b*, and their deviation within the picture. A bundle holds the
average of these over at least `MIN_UNITS` patients, with noise. Gram matrices have 100,000 numbers. The noise
that differential privacy asks for grows with the numbers, and would drown them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharekit.pictures.lab import to_lab

MIN_UNITS = 100
"""Fewest patients, or distinct pictures, behind the averages."""
BOUNDS: Mapping[str, tuple[float, float]] = {
    "mean L*": (10.0, 80.0),
    "mean a*": (-10.0, 50.0),
    "mean b*": (-25.0, 45.0),
    "deviation L*": (0.0, 40.0),
    "deviation a*": (0.0, 20.0),
    "deviation b*": (0.0, 20.0),
}
"""Each number with its bounds, to which a picture's own number is clipped. They are fixed here, wide enough
for endoscopy, stained tissue and grey pictures, and so tell nothing of a hospital's own pictures."""
SPACE = "CIE L*a*b*, D65"


@dataclass(frozen=True)
class ColourStatistics:
    """Protected averages of the numbers in `BOUNDS`. Law: `from_json(to_json(x)) == x`."""

    units: int  # patients, or distinct pictures; public
    values: Mapping[str, float]
    noise: Mapping[str, float]
    """Scale of the Laplace noise in each average."""
    protection: Mapping[str, Any]  # mechanism, library, neighbours, epsilon, l1_sensitivity, scale, …

    def to_json(self) -> dict[str, Any]:
        return {
            "units": self.units,
            "space": SPACE,
            "numbers": [
                {
                    "name": name,
                    "low": low,
                    "high": high,
                    "value": self.values[name],
                    "noise": self.noise[name],
                }
                for name, (low, high) in BOUNDS.items()
            ],
            "protection": dict(self.protection),
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> ColourStatistics:
        """Read the section `colours` of a `statistics.json` that fits its schema."""
        numbers = {one["name"]: one for one in value["numbers"]}
        return ColourStatistics(
            int(value["units"]),
            {name: float(numbers[name]["value"]) for name in BOUNDS},
            {name: float(numbers[name]["noise"]) for name in BOUNDS},
            dict(value["protection"]),
        )

    @property
    def in_words(self) -> str:
        """What they are and how exact, in one phrase."""
        return (
            f"six averages of colour over {self.units} patients or distinct pictures, with"
            f" {self.protection['mechanism']} noise (epsilon {self.protection['epsilon']:g}; scale"
            f" {self.noise['mean L*']:.2g} in the mean lightness, which goes to 100)"
        )


def picture_colours(image: NDArray[Any]) -> NDArray[np.float64]:
    """The six numbers of one picture in the order of `BOUNDS`, clipped to them.

    Args:
        image: `(C, H, W)` in [-1, 1], C 3 (RGB) or 1 (grey).
    """
    colour = np.broadcast_to(image, (3, *image.shape[1:]))
    lab = to_lab(colour).reshape(3, -1)
    low, high = np.array(list(BOUNDS.values())).T
    found: NDArray[np.float64] = np.clip(np.concatenate([lab.mean(axis=1), lab.std(axis=1)]), low, high)
    return found
