"""The losses of WGAN-GP and of the reconstruction."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from hospital_node.singan.networks import Discriminator


def gradient_penalty(discriminator: Discriminator, real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
    """How far the critic's gradient is from norm one on a line between real and fake.

    Gulrajani et al., "Improved Training of Wasserstein GANs", NeurIPS 2017, in SinGAN's form: the norm is
    taken over the channels of every pixel, and its squared distance from one averaged over the pixels.

    Args:
        real, fake: `(1, C, H, W)` in [-1, 1].
        mix: `(1, 1, 1, 1)`, uniform in [0, 1), the place on the line.
    """
    between = (mix * real + (1 - mix) * fake).requires_grad_(True)
    (gradient,) = torch.autograd.grad(discriminator(between).sum(), between, create_graph=True)
    return ((gradient.norm(2, dim=1) - 1) ** 2).mean()


def critic_loss(discriminator: Discriminator, real: Tensor, fake: Tensor) -> Tensor:
    """`mean D(fake) - mean D(real)`, both `(1, C, H, W)`, in one pass."""
    scores = discriminator(torch.cat([real, fake])).mean(dim=(1, 2, 3))
    return scores[1] - scores[0]


def reconstruction_loss(reconstruction: Tensor, real: Tensor) -> Tensor:
    """Mean squared error in [-1, 1] over pixels and channels."""
    return F.mse_loss(reconstruction, real)


def rmse(a: Tensor, b: Tensor) -> float:
    """Root mean squared error over everything."""
    return float(F.mse_loss(a, b).sqrt())
