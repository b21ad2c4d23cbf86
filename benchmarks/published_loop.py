"""The published training loop, rewritten as the baseline of our measurements.

It trains one picture at a time. The critic sees the real picture, the fake and the point between them in
three passes, and autograd derives the gradient penalty. The lower generators run again for every critic step.
An iteration makes `generator_steps` passes of the generator but only one update, because the optimiser steps
outside the inner loop.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hospital_node.singan.config import TrainingConfig

PAD = 5


def _network(inputs: int, outputs: int, channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for number in range(4):
        layers += [
            nn.Conv2d(inputs if number == 0 else channels, channels, 3),
            nn.BatchNorm2d(channels),
            nn.LeakyReLU(0.2),
        ]
    return nn.Sequential(*layers, nn.Conv2d(channels, outputs, 3))


def _generate(network: nn.Module, noise: Tensor, previous: Tensor) -> Tensor:
    return previous + torch.tanh(network(F.pad(noise + previous, [PAD] * 4)))


class PublishedLoop:
    """One scale of the published loop.

    Args:
        sizes: `(height, width)` of every scale up to the one that trains.
        channels: channels of every scale's networks.
    """

    def __init__(self, sizes: list[tuple[int, int]], channels: list[int], config: TrainingConfig) -> None:
        self.sizes, self.config = sizes, config
        self.lower = [_network(4, 4, c).eval().requires_grad_(False) for c in channels[:-1]]
        self.generator, self.critic = _network(4, 4, channels[-1]), _network(4, 1, channels[-1])
        betas = (config.beta1, config.beta2)
        rate = config.learning_rate
        self.generator_optimiser = torch.optim.Adam(self.generator.parameters(), lr=rate, betas=betas)
        self.critic_optimiser = torch.optim.Adam(self.critic.parameters(), lr=rate, betas=betas)
        self.real = torch.rand(1, 4, *sizes[-1]) * 2 - 1
        self.rebuilt_from = torch.rand(1, 4, *sizes[-1]) * 2 - 1

    def _noise(self, scale: int) -> Tensor:
        height, width = self.sizes[scale]
        noise = torch.randn(1, 1 if scale == 0 else 4, height, width)
        return noise.expand(1, 4, -1, -1)

    def _previous(self) -> Tensor:
        picture = torch.zeros(1, 4, *self.sizes[0])
        for scale, network in enumerate(self.lower):
            picture = _generate(network, self._noise(scale), picture)
            picture = F.interpolate(picture, self.sizes[scale + 1], mode="bicubic", align_corners=False)
        return picture

    def _penalty(self, fake: Tensor) -> Tensor:
        mix = torch.rand(1, 1, 1, 1)
        between = (mix * self.real + (1 - mix) * fake).requires_grad_(True)
        scores = self.critic(between)
        (gradient,) = torch.autograd.grad(scores, between, torch.ones_like(scores), create_graph=True)
        return ((gradient.norm(2, dim=1) - 1) ** 2).mean()

    def step(self) -> None:
        """One iteration: `discriminator_steps` critic updates, one generator update."""
        for _ in range(self.config.discriminator_steps):
            self.critic.zero_grad()
            (-self.critic(self.real).mean()).backward(retain_graph=True)
            noise, previous = self._noise(len(self.sizes) - 1), self._previous()
            fake = _generate(self.generator, noise, previous)
            self.critic(fake.detach()).mean().backward()
            (self.config.gradient_penalty * self._penalty(fake.detach())).backward()
            self.critic_optimiser.step()
        for _ in range(self.config.generator_steps):
            self.generator.zero_grad()
            (-self.critic(fake).mean()).backward(retain_graph=True)
            rebuilt = _generate(self.generator, torch.zeros_like(self.real), self.rebuilt_from)
            (self.config.reconstruction_weight * F.mse_loss(rebuilt, self.real)).backward(retain_graph=True)
        self.generator_optimiser.step()
