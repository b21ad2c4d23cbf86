"""Which images the batch of an update holds: a function of settings and update alone; nothing is saved."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consumer.training.training_settings import TrainingSettings


@dataclass(frozen=True)
class Batches:
    """The batches of one training."""

    synthetic: NDArray[np.bool_]
    """`(N,)`: images that a generator drew."""
    settings: TrainingSettings
    updates: int

    def indices(self, update: int) -> list[int]:
        """The images of the batch of `update`, from 0: always `batch_size` of them."""
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
    """Items `start` to `start + count - 1` of an endless row of seeded permutations of `items`.

    No item comes an `n + 1`-th time before all others have come `n` times.
    """
    positions = range(start, start + count)
    length = len(items)
    orders = {
        epoch: np.random.default_rng((seed[0], epoch, *seed[1:])).permutation(items)
        for epoch in {position // length for position in positions}
    }
    return [int(orders[position // length][position % length]) for position in positions]
