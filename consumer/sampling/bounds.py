"""What a request may cost: memory and arithmetic are known from a generator's file, before it is loaded."""

from __future__ import annotations

from consumer.sampling.request import Size
from sharekit.bundle.bundle import VerifiedBundle
from sharekit.bundle.manifest import GeneratorEntry

DRAW_BYTES = 4 * 2**30


class Bounds:
    def __init__(self, verified: VerifiedBundle) -> None:
        self._verified = verified

    def check(self, entry: GeneratorEntry, size: Size | None) -> None:
        pass

    def batch_size(self, entry: GeneratorEntry, size: Size | None, wanted: int) -> int:
        return wanted

    def seconds(self, entry: GeneratorEntry, size: Size | None, batch: int) -> float:
        return 600.0
