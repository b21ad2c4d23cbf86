"""A request for samples, checked against the limits in the hospital's signed manifest."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from consumer.sampling import checked
from consumer.sampling.checked import refusal
from consumer.sampling.refinement import MAX_DRAWS_JUDGED, UNREFINED, Refinement
from sharekit.generator.noise import MAX_SEED

if TYPE_CHECKING:
    from consumer.sampling.judge import Judge
    from consumer.sampling.sample import Sample
    from sharekit.bundle.manifest import Limits

BATCH_SIZE = 8
"""Default number of samples in a batch."""


class Size(NamedTuple):
    """Width and height of an image in pixels, always in this order: `--size 320x240` is `Size(320, 240)`."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"

    @staticmethod
    def of(value: object) -> Size:
        """A `Size` from a pair (width, height) or from a text such as 320x240.

        Raises:
            UsageError: it is neither.
        """
        if isinstance(value, str):
            match = re.fullmatch(r"([1-9][0-9]{0,5})[xX]([1-9][0-9]{0,5})", value)
            if match is not None:
                return Size(int(match[1]), int(match[2]))
        elif isinstance(value, tuple | list) and len(value) == 2:
            return Size(*(checked.whole("size", side) for side in value))
        raise refusal("size", "a pair Size(width, height), or a text like 320x240", checked.shown(value))


@dataclass(frozen=True)
class Request:
    """Everything that a request says about its samples, except their numbers.

    Raises:
        UsageError: an argument has a wrong type.
    """

    seed: int = 0
    """0 to 2**63 - 1."""
    generator: str | None = None
    """Identifier of the only generator to draw from; None spreads samples evenly over all."""
    size: Size | None = None
    """Size of every sample; None takes each generator's trained size."""
    batch_size: int | None = None
    """Samples that go through a generator at once; changes only the speed. None: see `batch_within`."""
    probabilities: bool = False
    """Whether to keep the mask probabilities as well."""
    refinement: Refinement = UNREFINED
    layout: str | None = None
    """Name of the only channel layout to draw, such as `rgb-polyp`; see `consumer.sampling.layout_names`."""
    vetted_only: bool = False
    """Whether to draw only samples that the hospital vetted."""
    judge: Judge | None = None
    """A segmenter. A sample whose masks it disagrees with is drawn again, up to `MAX_DRAWS_JUDGED` times. If
    it agrees with no draw, the one that it agrees with most is kept."""

    def __post_init__(self) -> None:
        set_field = object.__setattr__  # the dataclass is frozen
        set_field(self, "seed", checked.whole("seed", self.seed))
        if self.batch_size is not None:
            set_field(self, "batch_size", checked.whole("batch size", self.batch_size))
        if self.size is not None:
            set_field(self, "size", Size.of(self.size))
        for name, value in (("generator", self.generator), ("layout", self.layout)):
            if value is not None:
                checked.text(name, value)
        checked.truth("probabilities", self.probabilities)
        checked.truth("vetted only", self.vetted_only)
        if not isinstance(self.refinement, Refinement):
            raise refusal("refinement", "a Refinement", checked.shown(self.refinement))
        if self.judge is not None and not hasattr(self.judge, "agreement"):
            raise refusal("judge", "a Judge; Judge.open reads one", checked.shown(self.judge))

    @property
    def redraws(self) -> bool:
        """Whether a sample may be drawn again."""
        return self.refinement.redraws or self.judge is not None

    @property
    def draws(self) -> int:
        """Largest number of draws of one sample."""
        return max(self.refinement.draws, 1 if self.judge is None else MAX_DRAWS_JUDGED)

    def miss(self, sample: Sample) -> float:
        """How far a sample is from what is wanted; 0 if it need not be drawn again."""
        miss = self.refinement.miss(sample.coverage)
        if self.judge is None or sample.agreement is None:
            return miss
        return max(miss, self.judge.miss(sample.agreement))

    def prefers(self, later: float, earlier: float) -> bool:
        """Whether a later draw with this miss replaces an earlier one."""
        return later < earlier if self.judge is not None else self.refinement.prefers(later, earlier)

    def batch_within(self, limits: Limits) -> int:
        """The requested batch size; by default `BATCH_SIZE`, or the bundle's limit where that is smaller."""
        return min(BATCH_SIZE, limits.max_batch) if self.batch_size is None else self.batch_size

    def check(self, limits: Limits) -> None:
        """Refuse what the noise or the bundle's limits do not allow.

        Raises:
            UsageError: an option is out of range; the error names it.
        """
        if not 0 <= self.seed <= MAX_SEED:
            raise refusal("seed", f"0 to {MAX_SEED}", str(self.seed))
        if not 1 <= self.batch_within(limits) <= limits.max_batch:
            raise refusal("batch size", f"1 to {limits.max_batch}, the bundle's limit", str(self.batch_size))
        self.refinement.check()
        if self.size is not None and not all(1 <= side <= limits.max_side for side in self.size):
            raise refusal("size", f"sides of 1 to {limits.max_side} px, the bundle's limit", str(self.size))
