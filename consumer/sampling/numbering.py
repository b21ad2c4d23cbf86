"""Number the samples of several generators: those that the hospital vetted come first, then all others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from consumer.sampling.checked import refusal
from consumer.sampling.refinement import UNREFINED
from consumer.sampling.request import Request, Size
from consumer.sampling.sample import assign
from sharekit.bundle.manifest import GeneratorEntry
from sharekit.bundle.vetted import Vetted


@dataclass(frozen=True)
class Numbering:
    """Which generator draws which sample, and under which index.

    The listed samples take turns: the first of each generator, then the second of each, as far as its list
    goes. All generators take turns after that, each from the first index that its list does not speak of. So
    the samples of some of the generators are numbered in the same order as among all.
    """

    listed: tuple[tuple[int, int], ...]
    """Position of the generator and index, for each vetted sample."""
    begin: tuple[int, ...]
    """First index beyond the list, for each generator; 0 without a list."""

    @staticmethod
    def of(entries: Sequence[GeneratorEntry], request: Request) -> Numbering:
        """The numbers of the samples that a request draws from these generators."""
        lists = [applicable_list(entry, request) for entry in entries]
        turns = sorted(
            (turn, position, index)
            for position, vetted in enumerate(lists)
            if vetted is not None
            for turn, index in enumerate(vetted.good)
        )
        return Numbering(
            tuple((position, index) for _, position, index in turns),
            tuple(0 if vetted is None else vetted.candidates for vetted in lists),
        )

    @property
    def vetted(self) -> int:
        """Number of vetted samples; they have the numbers below it."""
        return len(self.listed)

    def __call__(self, number: int) -> tuple[int, int]:
        """Position of the generator that draws sample `number`, and the sample's index within it."""
        if number < len(self.listed):
            return self.listed[number]
        position, index = assign(number - len(self.listed), len(self.begin))
        return position, self.begin[position] + index

    def shares(self, count: int) -> list[int]:
        """How many of the samples 0 to `count - 1` each generator draws."""
        first = Counter(position for position, _ in self.listed[:count])
        others, generators = max(0, count - len(self.listed)), len(self.begin)
        return [first[position] + len(range(position, others, generators)) for position in range(generators)]

    def by_generator(self, count: int) -> list[list[int]]:
        """The numbers below `count` that each generator draws, ascending."""
        numbers: list[list[int]] = [[] for _ in self.begin]
        for number in range(count):
            numbers[self(number)[0]].append(number)
        return numbers

    def require(self, request: Request, end: int) -> None:
        """Refuse numbers below `end` that are not vetted, if the request wants vetted samples alone.

        Raises:
            UsageError: there are fewer, or samples may be drawn again.
        """
        if not request.vetted_only:
            return
        if request.redraws:
            found = "a limit, a range or a judge of the masks, by which they are"
            raise refusal("vetted only", "no samples that are drawn again", found)
        if end > self.vetted:
            expected = (
                f"at most {self.vetted} samples, the vetted ones of seed {request.seed} that these settings"
                " draw (`sharekit inspect` shows each list; it holds for its seed, the trained size, and the"
                " published temperature and mask threshold)"
            )
            raise refusal("vetted only", expected, str(end))


def applicable_list(entry: GeneratorEntry, request: Request) -> Vetted | None:
    """The generator's list, if the request draws exactly the samples that the hospital looked at."""
    trained = Size(entry.spec.width, entry.spec.height)
    changes = request.refinement
    same = (
        entry.vetted is not None
        and entry.vetted.seed == request.seed
        and request.size in (None, trained)
        and changes.temperature == UNREFINED.temperature
        and changes.mask_threshold == UNREFINED.mask_threshold
    )
    return entry.vetted if same else None
