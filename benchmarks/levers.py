"""Trainings with one thing changed that the product does not have, for `frontier.py`.

`average` gives a generator the moving average of its weights over a scale's updates. `batch statistics`
shows the critic how much the pictures of an update differ, as a map of its own (Karras et al., ICLR 2018).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from unittest import mock

import torch
from torch import Tensor

from hospital_node.singan import scale, training
from hospital_node.singan.lane import Lane
from hospital_node.singan.networks import Discriminator
from hospital_node.singan.scale import DivergedError, ScaleTraining

DECAY = 0.98
"""Weight of the average so far at each update: it looks back over some fifty, an eighth of a scale."""


class Averaged(ScaleTraining):
    """Freezes the average of the generator's weights and running statistics."""

    _average: dict[str, Tensor] | None = None

    def step(self) -> None:
        super().step()
        state = self.generator.state_dict()
        if self._average is None:
            self._average = {name: value.clone() for name, value in state.items()}
        for name, value in self._average.items():
            if value.is_floating_point():
                value.lerp_(state[name], 1 - DECAY)

    def freeze(self) -> dict[Lane, DivergedError]:
        if self._average is not None:
            self.generator.load_state_dict(self._average)
        return super().freeze()


class SpreadCritic(Discriminator):
    """A critic that gets the mean standard deviation over the pictures of a call as a further channel."""

    def __init__(self, image_channels: int, channels: int, lanes: int = 1, *, norm: bool = True) -> None:
        super().__init__(image_channels + 1, channels, lanes, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        # The critic's update joins real pictures, drawn ones and points between: each has its own spread.
        parts = x.split(self.batch) if len(x) % self.batch == 0 else (x,)
        return super().forward(torch.cat([self._with_spread(part) for part in parts]))

    batch = 1

    def _with_spread(self, pictures: Tensor) -> Tensor:
        own = pictures.unflatten(1, (self.lanes, -1))
        spread = (own.var(dim=0, correction=0) + 1e-8).sqrt().mean(dim=(1, 2, 3))
        channel = spread.view(1, -1, 1, 1, 1).expand(len(own), -1, 1, *own.shape[3:])
        return torch.cat([own, channel], dim=2).flatten(1, 2)


class WithSpread(ScaleTraining):
    """Trains against a `SpreadCritic`."""

    def _build_networks(self) -> None:
        with mock.patch.object(scale, "Discriminator", SpreadCritic):
            super()._build_networks()
        self.discriminator.batch = self.batch


LEVERS: Mapping[str, type[ScaleTraining]] = {
    "group average": Averaged,
    "group batch statistics": WithSpread,
}
"""Settings of `frontier.py` that train by one of these."""


@contextlib.contextmanager
def applied(setting: str) -> Iterator[None]:
    """Train by what belongs to a setting; as the product does, if nothing does."""
    with mock.patch.object(training, "ScaleTraining", LEVERS.get(setting, ScaleTraining)):
        yield
