"""What an attack on a generator receives and returns."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hospital_node.leaks.search import RealContent
from sharekit.intervals import Interval

Array = NDArray[np.float32]
MIN_CONTROLS = 2
"""Least number of other real images that give an attack a control."""
RESAMPLES = 200
"""Bootstrap resamples behind the interval of a figure."""


@dataclass(frozen=True)
class AuditLimits:
    """What the policy tolerates. Law: `from_json(to_json(x)) == x`."""

    k: int = 5  # least number of real images behind a generator that may be called a group
    min_distance_ratio: float = 0.2
    """To the source, as a share of its contrast or of the median distance between real images."""
    min_samples: int = 16  # that an audit must have drawn

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> AuditLimits:
        return AuditLimits(
            int(value["k"]),
            float(value["min_distance_ratio"]),
            int(value["min_samples"]),
        )


@dataclass(frozen=True)
class AttackContext:
    """What an attacker knows who holds the sources and the hospital's other images.

    Everything is in [-1, 1], image channels only. `samples`, `sources` and `controls` have one size: the
    finest scale of the generator.
    """

    generator_id: str
    candidate: bytes  # the ONNX file that would be released
    samples: Array  # (N, C, H, W), drawn from `candidate`
    sources: Array  # (k, C, H, W), the k >= 1 real images behind the generator, at the finest scale
    units: int  # patients or distinct pictures among the sources: copies of one picture count once
    controls: Array  # (M, C, H, W), other real images of the node; M may be 0
    real: tuple[RealContent, ...]  # pixels and pyramids of the sources, as the static search looks for them
    limits: AuditLimits
    seed: int

    @property
    def has_controls(self) -> bool:
        return len(self.controls) >= MIN_CONTROLS


class Space(StrEnum):
    """The size at which an attack compares images."""

    THUMBNAIL = "thumbnail"
    FULL = "full"


@dataclass(frozen=True)
class Quantity:
    """What an attack measures in each space. The module of the attack lists its quantities."""

    attack: str
    name: str


@dataclass(frozen=True)
class Measure:
    """One figure with its interval and what it is compared with. Law: `from_json(to_json(x)) == x`."""

    space: Space
    quantity: str  # `Quantity.name`
    value: float
    low: float
    high: float
    method: str  # method of the interval
    baseline: float | None = None  # what no leak at all would give
    control: float | None = None  # the same attack with other real images in the sources' place

    @staticmethod
    def of(
        space: Space,
        quantity: Quantity,
        interval: Interval,
        method: str,
        *,
        baseline: float | None = None,
        control: float | None = None,
    ) -> Measure:
        value, low, high = interval.mean, interval.low, interval.high
        return Measure(space, quantity.name, value, low, high, method, baseline, control)

    @property
    def name(self) -> str:
        """As the audit's JSON writes it: `full.rank`."""
        return f"{self.space}.{self.quantity}"

    def to_json(self) -> dict[str, Any]:
        value = dataclasses.asdict(self)
        del value["space"], value["quantity"]
        return {"name": self.name, **value}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Measure:
        space, _, quantity = value["name"].partition(".")
        return Measure(Space(space), quantity, **{key: value[key] for key in value if key != "name"})


@dataclass(frozen=True)
class AttackResult:
    """What one attack found. Law: `from_json(to_json(x)) == x`."""

    attack: str
    description: str
    samples: int
    controls: int
    measures: tuple[Measure, ...]
    at_chance: bool | None
    """No better than guessing; None where controls are missing or the attack cannot tell."""
    objections: tuple[str, ...] = ()
    """Why this result forbids the release under the limits; empty: it does not."""

    def measure(self, space: Space, quantity: Quantity) -> Measure | None:
        """What this attack found for `quantity`; None: nothing, or the quantity belongs to another attack."""
        if quantity.attack != self.attack:
            return None
        found = (item for item in self.measures if (item.space, item.quantity) == (space, quantity.name))
        return next(found, None)

    def to_json(self) -> dict[str, Any]:
        return {
            "attack": self.attack,
            "description": self.description,
            "samples": self.samples,
            "controls": self.controls,
            "measures": [measure.to_json() for measure in self.measures],
            "at_chance": self.at_chance,
            "objections": list(self.objections),
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> AttackResult:
        return AttackResult(
            value["attack"],
            value["description"],
            int(value["samples"]),
            int(value["controls"]),
            tuple(Measure.from_json(measure) for measure in value["measures"]),
            value["at_chance"],
            tuple(value["objections"]),
        )


class Attack(Protocol):
    """One way of learning about the sources. A new attack is one more object in `generator_audit.ATTACKS`."""

    @property
    def name(self) -> str: ...

    def run(self, context: AttackContext) -> AttackResult: ...
