"""The losses that training and its reports share; the critic's are in `critic`."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def reconstruction_loss(reconstruction: Tensor, real: Tensor) -> Tensor:
    """Mean squared error in [-1, 1] over pixels and channels."""
    return F.mse_loss(reconstruction, real)


def rmse(a: Tensor, b: Tensor) -> float:
    """Root mean squared error over everything."""
    return float(F.mse_loss(a, b).sqrt())
