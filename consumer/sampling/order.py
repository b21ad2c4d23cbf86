"""Order of drawing: a generator draws several samples at a time, and all are handed out in order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

from consumer.sampling.sample import assign

Drawn = TypeVar("Drawn")


def in_order(
    numbers: Iterable[int],
    generators: int,
    batch_size: int,
    window: int,
    draw: Callable[[int, Sequence[int]], Sequence[Drawn]],
) -> Iterator[Drawn]:
    """The samples `numbers`, in this order.

    A generator draws when one of its samples is needed, and then its next `batch_size` samples of the window.
    So the first sample waits for one batch alone, and a generator is needed once in `batch_size` rounds.

    Args:
        numbers: without end, if need be.
        generators: how many there are; sample number i comes from generator i modulo their number.
        batch_size: samples that a generator draws at once.
        window: numbers that are planned together: at most so many samples are in memory.
        draw: from the position of a generator and indices to their samples, in the same order.
    """
    remaining = iter(numbers)
    while planned := list(islice(remaining, window)):
        waiting: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
        for place, number in enumerate(planned):
            position, index = assign(number, generators)
            waiting[position].append((place, index))
        drawn: dict[int, Drawn] = {}
        for place, number in enumerate(planned):
            if place not in drawn:
                position, _ = assign(number, generators)
                batch, waiting[position] = waiting[position][:batch_size], waiting[position][batch_size:]
                samples = draw(position, [index for _, index in batch])
                drawn.update(zip((place for place, _ in batch), samples, strict=True))
            yield drawn.pop(place)
