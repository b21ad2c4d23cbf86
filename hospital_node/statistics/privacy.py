"""Differentially private counts: discrete Laplace noise, drawn by OpenDP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

# Not `opendp.prelude`, which imports scikit-learn where it is installed: two seconds at every start.
from opendp.domains import atom_domain, vector_domain
from opendp.measurements import make_laplace
from opendp.metrics import l1_distance
from opendp.mod import enable_features

# Public count, bounded neighbours: replacing one unit (patient or picture) moves it from one bin to another,
# in every class. It counts once, by the mean of its images, however many it has.
L1_SENSITIVITY_PER_HISTOGRAM = 2
NEIGHBOURS = "one patient, or picture of an unknown one, replaced by another; their number is public"

enable_features("contrib")


@dataclass(frozen=True)
class Protection:
    """How published counts or averages are protected. Law: `from_json(to_json(x)) == x`."""

    mechanism: str
    library: str
    neighbours: str
    epsilon: float
    l1_sensitivity: int
    scale: float  # scale of the noise
    post_processing: str

    def to_json(self) -> dict[str, Any]:
        return {
            "mechanism": self.mechanism,
            "library": self.library,
            "neighbours": self.neighbours,
            "epsilon": self.epsilon,
            "l1_sensitivity": self.l1_sensitivity,
            "scale": self.scale,
            "post_processing": self.post_processing,
        }

    @staticmethod
    def by_laplace(epsilon: float, l1_sensitivity: int, post_processing: str) -> Protection:
        """By `add_noise` with the scale of this epsilon (pure differential privacy)."""
        return Protection(
            mechanism="discrete Laplace (geometric)",
            library=f"opendp {version('opendp')}",
            neighbours=NEIGHBOURS,
            epsilon=epsilon,
            l1_sensitivity=l1_sensitivity,
            scale=l1_sensitivity / epsilon,
            post_processing=post_processing,
        )

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Protection:
        return Protection(**value)


def add_noise(counts: Sequence[int], scale: float) -> list[int]:
    """Integers with discrete Laplace noise of this scale on each, drawn from the system's random numbers."""
    space = vector_domain(atom_domain(T=int)), l1_distance(T=int)
    mechanism = make_laplace(*space, scale=scale)
    return [int(count) for count in mechanism([int(count) for count in counts])]


def protect(
    histograms: Mapping[str, Sequence[int]], epsilon: float
) -> tuple[dict[str, list[int]], Protection]:
    """Noised histograms, and how they were protected.

    Args:
        histograms: class to counts of units (patients or distinct pictures) in each bin; each counts at
            most once per class.
        epsilon: privacy parameter of all of them together (pure differential privacy).

    The discrete Laplace (two-sided geometric) mechanism: Ghosh, Roughgarden and Sundararajan, STOC 2009. The
    number of units is public: a bundle says it.
    """
    sensitivity = L1_SENSITIVITY_PER_HISTOGRAM * max(len(histograms), 1)
    protection = Protection.by_laplace(epsilon, sensitivity, "negative counts set to 0")
    noised = {
        name: [max(0, count) for count in add_noise(counts, protection.scale)]
        for name, counts in histograms.items()
    }
    return noised, protection
