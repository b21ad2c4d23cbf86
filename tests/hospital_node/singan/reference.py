"""One training iteration of SinGAN in float64, written to be read beside the papers, not to be fast.

Nothing here uses the engine: convolutions are sums over nine shifts, norms are means and variances, and the
only derivative rule is autograd's, applied twice for the gradient penalty.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

EPSILON = 1e-5
SLOPE = 0.2
PAD = 5


@dataclass(frozen=True)
class Network:
    """Five layers: `weights` (out, in, 3, 3), `biases` (out,); the first four `gammas`, `betas` or none."""

    weights: list[Tensor]
    biases: list[Tensor]
    gammas: list[Tensor]
    betas: list[Tensor]

    def parameters(self) -> list[Tensor]:
        return [*self.weights, *self.biases, *self.gammas, *self.betas]


def convolve(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Valid 3x3 convolution of one picture `(C, H, W)`."""
    height, width = x.shape[1] - 2, x.shape[2] - 2
    total = bias[:, None, None].expand(-1, height, width)
    for dy in range(3):
        for dx in range(3):
            shifted = x[:, dy : dy + height, dx : dx + width]
            total = total + torch.einsum("oc,chw->ohw", weight[:, :, dy, dx], shifted)
    return total


def stack(x: Tensor, network: Network) -> Tensor:
    """The five layers on one picture: norm over its own pixels, as batch norm over a batch of one."""
    for layer in range(5):
        x = convolve(x, network.weights[layer], network.biases[layer])
        if layer < 4 and network.gammas:
            mean = x.mean(dim=(1, 2), keepdim=True)
            variance = ((x - mean) ** 2).mean(dim=(1, 2), keepdim=True)
            x = (x - mean) / torch.sqrt(variance + EPSILON)
            x = x * network.gammas[layer][:, None, None] + network.betas[layer][:, None, None]
        if layer < 4:
            x = torch.where(x > 0, x, SLOPE * x)
    return x


def generate(noise: Tensor, previous: Tensor, network: Network) -> Tensor:
    """`previous + tanh(stack(padded noise + padded previous))`, all `(C, H, W)`."""
    padded = torch.zeros(
        noise.shape[0], noise.shape[1] + 2 * PAD, noise.shape[2] + 2 * PAD, dtype=noise.dtype
    )
    padded[:, PAD:-PAD, PAD:-PAD] = noise + previous
    return previous + torch.tanh(stack(padded, network))


def penalty(real: Tensor, fake: Tensor, mix: float, network: Network) -> Tensor:
    """Mean over pixels of (norm over channels of dD/dx - 1)^2, at a point between real and fake."""
    between = (mix * real + (1 - mix) * fake).detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(stack(between, network).sum(), between, create_graph=True)
    return ((torch.sqrt((gradient**2).sum(dim=0)) - 1) ** 2).mean()


def critic_objective(
    real: Tensor, fake: Tensor, mix: float, network: Network, weight: float
) -> tuple[Tensor, list[Tensor]]:
    """WGAN-GP's critic loss and its gradient with respect to every parameter."""
    loss = stack(fake, network).mean() - stack(real, network).mean()
    loss = loss + weight * penalty(real, fake, mix, network)
    return loss, list(torch.autograd.grad(loss, network.parameters()))


def generator_objective(
    noise: Tensor,
    previous: Tensor,
    z_star: Tensor,
    previous_reconstruction: Tensor,
    real: Tensor,
    generator: Network,
    critic: Network,
    weight: float,
) -> tuple[Tensor, list[Tensor]]:
    """Minus the critic's score of a sample plus the weighted reconstruction error, and the gradient."""
    adversarial = -stack(generate(noise, previous, generator), critic).mean()
    reconstruction = ((generate(z_star, previous_reconstruction, generator) - real) ** 2).mean()
    loss = adversarial + weight * reconstruction
    return loss, list(torch.autograd.grad(loss, generator.parameters()))


def noise_amplitude(real: Tensor, previous_reconstruction: Tensor, factor: float) -> float:
    """`factor` times the RMSE of the upsampled reconstruction."""
    return factor * float(torch.sqrt(((real - previous_reconstruction) ** 2).mean()))


def cubic(x: Tensor, a: float) -> Tensor:
    """Keys' cubic kernel (1981) with parameter `a`."""
    x = x.abs()
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
    return torch.where(x <= 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


def resize_line(x: Tensor, size: int, a: float, *, antialias: bool) -> Tensor:
    """The last dimension to `size`: centres at half-integers, edges repeated or, antialiased, left out."""
    length = x.shape[-1]
    ratio = length / size
    stretch = max(ratio, 1.0) if antialias else 1.0
    centres = (torch.arange(size, dtype=torch.float64) + 0.5) * ratio - 0.5
    columns = []
    for centre in centres.tolist():
        taps = torch.arange(int(centre - 2 * stretch) - 2, int(centre + 2 * stretch) + 3)
        weights = cubic((taps.double() - centre) / stretch, a)
        if antialias:
            inside = (taps >= 0) & (taps < length)
            taps, weights = taps[inside], weights[inside]
            weights = weights / weights.sum()
        columns.append((x[..., taps.clamp(0, length - 1)] * weights).sum(dim=-1))
    return torch.stack(columns, dim=-1)


def resize_picture(x: Tensor, height: int, width: int, a: float, *, antialias: bool) -> Tensor:
    """`(C, H, W)` to `(C, height, width)`, rows and columns one after the other."""
    wide = resize_line(x, width, a, antialias=antialias)
    return resize_line(wide.transpose(1, 2), height, a, antialias=antialias).transpose(1, 2)
