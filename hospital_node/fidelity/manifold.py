"""Precision, recall, density and coverage of samples among real images, by nearest neighbours."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass

from prdc import compute_prdc

from hospital_node.fidelity.frechet import Features

NEIGHBOURS = 5


@dataclass(frozen=True)
class Manifold:
    """Naeem et al., ICML 2020; precision and recall as in Kynkäänniemi et al., NeurIPS 2019."""

    precision: float  # share of samples within reach of a real image: fidelity
    recall: float  # share of real images within reach of a sample: diversity
    density: float  # as precision, counting how many; 1 for equal distributions, may be above
    coverage: float  # share of real images that have a sample among their neighbours


def manifold(real: Features, samples: Features, neighbours: int = NEIGHBOURS) -> Manifold:
    """Figures of samples `(m, d)` among real images `(n, d)`, n and m at least 3.

    Within reach: nearer than the k-th neighbour. k is `neighbours`, or the smaller set's size less two, the
    most that the package accepts.
    """
    nearest = min(neighbours, len(real) - 2, len(samples) - 2)
    # The package prints the two counts.
    with contextlib.redirect_stdout(io.StringIO()):
        found = compute_prdc(real, samples, nearest)
    return Manifold(**{name: float(value) for name, value in found.items()})
