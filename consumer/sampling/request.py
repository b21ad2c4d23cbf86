"""What a consumer asks a bundle for, checked against the limits that the hospital vouches for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from consumer.sampling.refinement import UNREFINED, Refinement
from sharekit.errors import UsageError
from sharekit.generator.noise import MAX_SEED

if TYPE_CHECKING:
    from sharekit.bundle.manifest import Limits

BATCH_SIZE = 8


@dataclass(frozen=True)
class Request:
    """Everything about samples but their numbers."""

    seed: int = 0
    """0 to 2**63 - 1."""
    generator: str | None = None
    """Identifier of the only generator to draw from; None spreads samples evenly over all."""
    size: tuple[int, int] | None = None
    """`(height, width)` in pixels; None is each generator's trained size."""
    batch_size: int = BATCH_SIZE
    """Samples that go through a generator at once; it changes the speed alone."""
    probabilities: bool = False
    """Keep the mask probabilities, too."""
    refinement: Refinement = UNREFINED

    def check(self, limits: Limits) -> None:
        """Refuse what the noise or the bundle's limits do not allow.

        Raises:
            UsageError: naming the option.
        """
        if not 0 <= self.seed <= MAX_SEED:
            raise refusal("seed", f"0 to {MAX_SEED}", str(self.seed))
        if not 1 <= self.batch_size <= limits.max_batch:
            raise refusal("batch size", f"1 to {limits.max_batch}, the bundle's limit", str(self.batch_size))
        if not 0 < self.refinement.temperature <= 2:
            raise refusal("temperature", "above 0, at most 2", str(self.refinement.temperature))
        if not 0 < self.refinement.mask_threshold < 1:
            raise refusal("mask threshold", "between 0 and 1", str(self.refinement.mask_threshold))
        if not 0 <= self.refinement.redraw_below < 1:
            raise refusal("redraw below", "a share from 0 to below 1", str(self.refinement.redraw_below))
        if self.size is not None and not all(1 <= side <= limits.max_side for side in self.size):
            height, width = self.size
            raise refusal(
                "size", f"sides of 1 to {limits.max_side} px, the bundle's limit", f"{width}x{height}"
            )


def refusal(option: str, expected: str, found: str) -> UsageError:
    """The error for an option outside its range."""
    return UsageError(option, expected=expected, found=found, next_step="choose another value")
