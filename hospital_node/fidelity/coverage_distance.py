"""Are the masks as large as the real ones? Distances between distributions of true-pixel shares."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ks_2samp

from hospital_node.fidelity.frechet import Features
from sharekit.pictures.mask_statistics import coverage_histogram


class KolmogorovSmirnov(NamedTuple):
    statistic: float  # largest distance of the two distribution functions, 0 to 1
    p: float  # probability of at least this one if both had the same distribution


def kolmogorov_smirnov(real: Features, synthetic: Features) -> KolmogorovSmirnov:
    """Two-sample test of coverages `(n,)` and `(m,)`, which it takes to be independent of each other."""
    found = ks_2samp(np.ravel(real), np.ravel(synthetic))
    return KolmogorovSmirnov(float(found.statistic), float(found.pvalue))


def total_variation(real: Features, synthetic: Features) -> float:
    """Half the summed difference of the two histograms of 5 % bins, as shares: 0 (equal) to 1 (apart)."""
    return float(np.abs(_shares(real) - _shares(synthetic)).sum() / 2)


def _shares(coverages: Features) -> NDArray[np.float64]:
    counts = coverage_histogram(np.ravel(coverages))
    return counts / counts.sum()
