"""Limit the cost of a request: memory and arithmetic follow from a generator's file before it is loaded."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace

from consumer.sampling.request import Size
from sharekit.bundle.manifest import GeneratorEntry
from sharekit.generator.cost import FILE_LIMITS, Computation, Cost, check_request

BATCH_LIMITS = FILE_LIMITS
"""Limits of one batch; a larger request is drawn in smaller batches."""
PATIENCE = 60.0  # seconds that even a batch without arithmetic may take
SLOWEST = 2 * 10**8  # multiply-adds a second: a hundredth of what one processor core does


class Bounds:
    """Limits for requests to the generators of a bundle."""

    def __init__(self, computations: Mapping[str, Computation]) -> None:
        self._computations = computations
        # Asked for every batch; the key of the cache below takes longer to hash.
        self._cost = functools.lru_cache(maxsize=4096)(self._cost_of)

    def check(self, entry: GeneratorEntry, size: Size | None) -> None:
        """Refuse a size at which a single sample costs more than a batch may.

        Raises:
            UsageError: it costs more; the error names the generator and the limit.
        """
        # Verification has already refused a bundle whose trained sizes cost too much.
        if size is not None and BATCH_LIMITS.excess(self._cost(entry.file, size, 1)):
            check_request(self._computations[entry.file], (size.height, size.width), 1, BATCH_LIMITS)

    def batch_size(self, entry: GeneratorEntry, size: Size | None, wanted: int) -> int:
        """The largest batch size up to `wanted`, by halving, whose cost is within the limits."""
        while wanted > 1 and BATCH_LIMITS.excess(self._cost(entry.file, size, wanted)):
            wanted = (wanted + 1) // 2
        return wanted

    def seconds(self, entry: GeneratorEntry, size: Size | None, batch: int) -> float:
        """Seconds to wait for a batch; see `patience`."""
        return patience(self._cost(entry.file, size, batch).multiply_adds)

    def _cost_of(self, file: str, size: Size | None, batch: int) -> Cost:
        computation = self._computations[file]
        # Generators of one shape cost the same.
        anonymous = replace(computation, spec=replace(computation.spec, id=""))
        return _cost(anonymous, None if size is None else (size.height, size.width), batch)


def patience(multiply_adds: int) -> float:
    """Seconds after which a batch of this much arithmetic counts as hung."""
    return PATIENCE + multiply_adds / SLOWEST


@functools.lru_cache(maxsize=1024)
def _cost(computation: Computation, size: tuple[int, int] | None, batch: int) -> Cost:
    return computation.cost(size, batch)
