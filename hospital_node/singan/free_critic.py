"""One update's gradients of the critic by autograd: for several pictures at once, or a critic without norms.

`critic` has them written out for one picture and a norm in every layer, where autograd takes twice as long. A
critic without norms has no second derivative to speak of, and costs the same either way.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hospital_node.singan.critic import CriticLosses
from hospital_node.singan.networks import Discriminator


def autograd_gradients(
    discriminator: Discriminator,
    real: Tensor,
    fake: Tensor,
    mix: Tensor,
    penalty_weight: float,
    precision: torch.dtype,
) -> CriticLosses:
    """Set the gradients of `critic.critic_gradients`, averaged over the N pictures.

    Args:
        real, fake: `(N, lanes * C, H, W)` in [-1, 1], without a graph.
        mix: `(N, lanes * C or 1, 1, 1)` in [0, 1]: the point between is `mix * real + (1 - mix) * fake`.
        penalty_weight: 0 leaves the penalty out, and its work with it; it is then reported as 0.
        precision: of the convolutions.
    """
    count = len(real)
    between = torch.lerp(fake, real, mix).requires_grad_(True)
    pictures = [real, fake, between][: 3 if penalty_weight else 2]
    discriminator.requires_grad_(True).zero_grad(set_to_none=True)
    with torch.autocast(real.device.type, precision, enabled=precision != torch.float32):
        scores = discriminator(torch.cat(pictures)).float()
    means = scores.mean(dim=(2, 3)).split(count)
    critic = (means[1] - means[0]).mean(dim=0)
    penalty = torch.zeros_like(critic)
    if penalty_weight:
        (slope,) = torch.autograd.grad(scores[2 * count :].sum(), between, create_graph=True)
        norm = slope.unflatten(1, (discriminator.lanes, -1)).norm(2, dim=2)
        penalty = (norm - 1).square().mean(dim=(0, 2, 3))
    # Not `autograd.grad`: the fused Adam needs gradients in the parameters' own memory layout, as here.
    (critic + penalty_weight * penalty).sum().backward()
    discriminator.requires_grad_(False)
    return CriticLosses(critic.detach(), penalty.detach())
