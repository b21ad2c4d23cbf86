"""Draw samples in batches per generator, and hand them out in the order of their numbers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

Drawn = TypeVar("Drawn")


def in_order(
    numbers: Iterable[int],
    assigned: Callable[[int], tuple[int, int]],
    batch_size: int,
    window: int,
    draw: Callable[[int, Sequence[int]], Sequence[Drawn]],
) -> Iterator[Drawn]:
    """Yield the samples `numbers`, in this order.

    When one of its samples is needed, a generator draws its next `batch_size` samples of the window. The
    first sample therefore waits for a single batch, and each generator runs once in `batch_size` rounds.

    Args:
        numbers: numbers of the samples; may be endless.
        assigned: the position of a sample's generator, and the sample's index within it, for its number.
        batch_size: samples that a generator draws at once.
        window: numbers to plan together, which is also the largest number of samples in memory.
        draw: draws the samples at the given indices of the generator at a position, in the same order.
    """
    remaining = iter(numbers)
    while planned := list(islice(remaining, window)):
        waiting: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
        for place, number in enumerate(planned):
            position, index = assigned(number)
            waiting[position].append((place, index))
        drawn: dict[int, Drawn] = {}
        for place, number in enumerate(planned):
            if place not in drawn:
                position, _ = assigned(number)
                batch, waiting[position] = waiting[position][:batch_size], waiting[position][batch_size:]
                samples = draw(position, [index for _, index in batch])
                drawn.update(zip((place for place, _ in batch), samples, strict=True))
            yield drawn.pop(place)
