"""How far two pictures are apart."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def rmse(a: Tensor, b: Tensor) -> float:
    """Root mean squared error over everything."""
    return float(F.mse_loss(a, b).sqrt())
