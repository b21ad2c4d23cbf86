"""Options of the LPIPS comparison: which images, and which weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from consumer.sampling.checked import refusal
from sharekit.generator.noise import MAX_SEED

MAX_IMAGES = 200
"""Largest number of images of one generator; they make 19,900 pairs, which take some minutes."""


@dataclass(frozen=True)
class LpipsOptions:
    """How LPIPS compares the images of a data set.

    Raises:
        UsageError: an option is out of its range.
    """

    weights: Path | None = None  # file or folder; None: see `lpips_weights.find`
    images: int = 12  # random images per generator, in all pairs; below 2, no comparison
    threads: int | None = None  # None: the CPUs of this process
    seed: int = 0  # seed of the choice of images

    def __post_init__(self) -> None:
        if not 0 <= self.images <= MAX_IMAGES:
            raise refusal("--lpips-images", f"0 to {MAX_IMAGES}", str(self.images))
        if self.threads is not None and self.threads < 1:
            raise refusal("--threads", "at least one thread", str(self.threads))
        if not 0 <= self.seed <= MAX_SEED:
            raise refusal("--seed", f"0 to {MAX_SEED}", str(self.seed))
