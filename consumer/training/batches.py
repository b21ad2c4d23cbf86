"""Choose the images of each batch from the settings and the update's number alone; nothing is saved."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consumer.training.training_settings import TrainingSettings


@dataclass(frozen=True)
class Batches:
    """The batches of one training."""

    synthetic: NDArray[np.bool_]
    """`(N,)`: whether a generator drew the image."""
    settings: TrainingSettings
    updates: int

    def indices(self, update: int) -> list[int]:
        """The `batch_size` images in the batch of an update, counted from 0."""
        size, seed = self.settings.batch_size, self.settings.seed
        real, drawn = np.flatnonzero(~self.synthetic), np.flatnonzero(self.synthetic)
        if not (len(real) and len(drawn)):
            return endless(np.arange(len(self.synthetic)), update * size, size, (seed,))
        share, last = self.settings.real_share, round(self.settings.real_finish * self.updates)
        mixed = min(update, self.updates - last)
        reals = 0 if share is None else min(size - 1, max(1, round(share * size)))
        if update >= self.updates - last:
            return endless(real, mixed * reals + (update - mixed) * size, size, (seed, 1))
        if share is None:
            return endless(np.arange(len(self.synthetic)), update * size, size, (seed,))
        return [
            *endless(real, update * reals, reals, (seed, 1)),
            *endless(drawn, update * (size - reals), size - reals, (seed, 2)),
        ]


def endless(items: NDArray[np.intp], start: int, count: int, seed: tuple[int, ...]) -> list[int]:
    """Items `start` to `start + count - 1` of an endless sequence of seeded permutations of `items`.

    Every item appears `n` times before any item appears `n + 1` times.
    """
    positions = range(start, start + count)
    length = len(items)
    orders = {
        epoch: np.random.default_rng((seed[0], epoch, *seed[1:])).permutation(items)
        for epoch in {position // length for position in positions}
    }
    return [int(orders[position // length][position % length]) for position in positions]
