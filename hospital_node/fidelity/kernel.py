"""Kernel Inception distance: an unbiased estimate, so that small sets may be compared with large ones."""

from __future__ import annotations

import numpy as np
from sklearn.metrics.pairwise import polynomial_kernel

from hospital_node.fidelity.frechet import Features


def kernel_distance(a: Features, b: Features) -> float:
    """Squared maximum mean discrepancy of `(n, d)` and `(m, d)`, n and m at least 2; the KID on Inception's.

    Kernel (x·y / d + 1)³, without the diagonal (Bińkowski et al., ICLR 2018). Around 0 for sets of one
    distribution, and as often below as above it.
    """
    between = polynomial_kernel(a, b, degree=3, coef0=1).mean()
    return float(_within(a) + _within(b) - 2 * between)


def _within(values: Features) -> float:
    """Mean of the kernel over all pairs of different rows."""
    kernel = polynomial_kernel(values, degree=3, coef0=1)
    count = len(values)
    return float((kernel.sum() - np.trace(kernel)) / (count * (count - 1)))
