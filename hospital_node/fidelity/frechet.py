"""Fréchet distance between Gaussians fitted to two sets of features (Heusel et al., NeurIPS 2017)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Gaussian:
    """Mean `(d,)` and a factor `(r, d)` of the covariance, `factor.T @ factor`, r at most d."""

    mean: NDArray[np.float64]
    factor: NDArray[np.float64]

    @staticmethod
    def fit(features: Features) -> Gaussian:
        """The Gaussian of `(n, d)`, with the unbiased covariance, which is zero for one row."""
        values = np.asarray(features, np.float64)
        mean = values.mean(axis=0)
        scaled = (values - mean) / np.sqrt(max(len(values) - 1, 1))
        return Gaussian(mean, np.asarray(np.linalg.qr(scaled, mode="r")))

    def distance(self, other: Gaussian) -> float:
        """|m1 - m2|² + tr(S1 + S2 - 2 (S1 S2)^½), at least 0.

        With S = RᵀR the trace of (S1 S2)^½ is the sum of the singular values of R1 R2ᵀ: no root of a matrix
        is taken, so that fewer rows than dimensions, whose covariance is singular, are no special case.
        """
        crossed = np.linalg.svd(self.factor @ other.factor.T, compute_uv=False).sum()
        spread = (self.factor**2).sum() + (other.factor**2).sum() - 2 * crossed
        return max(float(((self.mean - other.mean) ** 2).sum() + spread), 0.0)


def frechet_distance(a: Features, b: Features) -> float:
    """Distance between `(n, d)` and `(m, d)`; on Inception features the FID.

    It is biased: the fewer rows, the larger. Only distances between sets of equal sizes can be compared.
    """
    return Gaussian.fit(a).distance(Gaussian.fit(b))
