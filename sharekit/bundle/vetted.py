"""The list of samples that the hospital has looked at and found good, for one generator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

MAX_CANDIDATES = 8192
"""Most samples of one generator that a list can speak of: 2,048 characters in the manifest."""


@dataclass(frozen=True)
class Vetted:
    """The good ones among the samples 0 to `candidates - 1` of a seed. Law: `from_json(to_json(x)) == x`.

    The others were dropped for a defect, for nearness to a real image, or by chance; the list does not say
    which, so that a dropped sample does not mark what it resembles.
    """

    seed: int
    candidates: int
    good: tuple[int, ...]
    """Indices, ascending."""

    @cached_property
    def indices(self) -> frozenset[int]:
        """`good`, to look up an index."""
        return frozenset(self.good)

    def to_json(self) -> dict[str, Any]:
        bits = np.zeros(self.candidates, np.uint8)
        bits[list(self.good)] = 1
        return {
            "seed": self.seed,
            "candidates": self.candidates,
            "good": np.packbits(bits, bitorder="little").tobytes().hex(),
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Vetted:
        """Read what the schema allows.

        Raises:
            ValueError: `good` has another length than `candidates` asks for, or names an index beyond them.
        """
        packed, candidates = bytes.fromhex(value["good"]), int(value["candidates"])
        bits = np.unpackbits(np.frombuffer(packed, np.uint8), bitorder="little")
        if len(packed) != -(-candidates // 8) or bits[candidates:].any():
            raise ValueError(f"a list of {len(bits)} bits for {candidates} samples")
        return Vetted(int(value["seed"]), candidates, tuple(np.flatnonzero(bits).tolist()))
