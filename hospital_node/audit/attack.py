"""What an attack on a generator receives and returns."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hospital_node.leaks.search import RealContent
from sharekit.bundle.style_statistics import StyleStatistics
from sharekit.intervals import Interval

Array = NDArray[np.float32]
MIN_CONTROLS = 2
"""Least number of other real images that give an attack a control."""
MAX_TARGETS = 8
"""Sources, and other real images, that an expensive attack tries."""
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
class Compared:
    """Images of one size, in [-1, 1], image channels only: what an attack compares."""

    samples: Array  # (N, C, h, w), drawn from the candidate
    sources: Array  # (k, C, h, w), the k >= 1 real images behind the generator
    controls: Array  # (M, C, h, w), other real images of the node; M may be 0
    strangers: Array  # (S, C, h, w), drawn from a generator that never saw the sources; S may be 0

    @property
    def real(self) -> Array:
        """Sources, then controls: `(k + M, C, h, w)`."""
        return np.concatenate([self.sources, self.controls])

    def at(self, view: Callable[[Array], Array]) -> Compared:
        """The same images brought to another size, `(n, C, h, w)` to `(n, C, h', w')`."""
        return Compared(*(view(images) for images in self.each()))

    def each(self) -> tuple[Array, Array, Array, Array]:
        return self.samples, self.sources, self.controls, self.strangers


@dataclass(frozen=True)
class Details:
    """A few samples at the size of the finest scale, for attacks on small detail."""

    images: Compared
    inside: NDArray[np.bool_]
    """`(N, H, W)`: where each sample's own mask is foreground."""


@dataclass(frozen=True)
class AttackContext:
    """What an attacker knows who holds the sources and the hospital's other images.

    Everything is in [-1, 1], image channels only. `samples`, `sources`, `controls` and `strangers` have one
    size: the finest scale of the generator, reduced to `candidate_draws.COMPARED_SIDE` pixels.
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
    strangers: Array | None = None
    """`(S, C, H, W)`, drawn from a generator that never saw the sources; None: the node has none."""
    scales: tuple[Compared, ...] = ()
    """Outputs of the scales below the finest, coarsest first."""
    calm: Compared | None = None
    """Samples whose noise is zero above scale 0, and last one without any noise."""
    details: Details | None = None
    other_candidate: bytes | None = None  # the file that `strangers` were drawn from
    frames: Array | None = None
    """`(F, C, H, W)`: further images of the sources' patients, or of the same pictures, that it never saw."""
    canaries: tuple[Array, ...] = ()
    """Patterns `(C, h, w)` that were planted in the sources, at the finest scale."""
    style: StyleTarget | str = "the node would release no style statistics"
    """What samples are styled with, or why they are not, which begins in lower case."""

    @property
    def has_controls(self) -> bool:
        return len(self.controls) >= MIN_CONTROLS

    @property
    def compared(self) -> Compared:
        strangers = self.samples[:0] if self.strangers is None else self.strangers
        return Compared(self.samples, self.sources, self.controls, strangers)


@dataclass(frozen=True)
class StyleTarget:
    """Style statistics as the node would release them."""

    statistics: StyleStatistics
    features: Path  # file of the feature network


class Space(StrEnum):
    """What of the images an attack compares. Sizes of coarser scales are called `scale-0`, `scale-1`, …"""

    THUMBNAIL = "thumbnail"
    FULL = "full"


def scale_space(scale: int) -> str:
    """The space of the output of one scale."""
    return f"scale-{scale}"


@dataclass(frozen=True)
class Quantity:
    """What an attack measures in each space. The module of the attack lists its quantities."""

    attack: str
    name: str
    words: str = ""
    """The same for a person who decides: begins with a noun, in lower case."""
    lower_is_worse: bool = False
    """A small value points to a real image; of other quantities a large one does."""


@dataclass(frozen=True)
class Measure:
    """One figure with its interval and what it is compared with. Law: `from_json(to_json(x)) == x`."""

    space: str
    quantity: str  # `Quantity.name`
    value: float
    low: float
    high: float
    method: str  # method of the interval
    baseline: float | None = None  # value of this figure without any leak
    control: float | None = None
    """Member against member: the same attack with other real images of the node in the samples' place."""
    stranger: float | None = None
    """The same attack on the same sources with a generator that never saw them."""
    effect: float | None = None
    """How far the most exposed source stands out from the other real images, in their standard deviations."""

    @staticmethod
    def of(
        space: str, quantity: Quantity, interval: Interval, method: str, **compared: float | None
    ) -> Measure:
        """A measure from its interval; `compared` are `baseline`, `control`, `stranger` and `effect`."""
        value, low, high = interval.mean, interval.low, interval.high
        return Measure(space, quantity.name, value, low, high, method, **compared)

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
        return Measure(space, quantity, **{key: value[key] for key in value if key != "name"})


@dataclass(frozen=True)
class AttackResult:
    """What one attack found. Law: `from_json(to_json(x)) == x`."""

    attack: str
    description: str
    samples: int
    controls: int
    measures: tuple[Measure, ...]
    at_chance: bool | None
    """No better than guessing; None where controls are missing, or the attack could not be made."""
    objections: tuple[str, ...] = ()
    """Why this result forbids the release under the limits; empty: it does not."""

    @staticmethod
    def not_made(attack: str, why: str) -> AttackResult:
        """The result of an attack that this audit could not make; `why` begins in lower case."""
        return AttackResult(attack, f"not made: {why}", 0, 0, (), None)

    @property
    def succeeded(self) -> bool:
        """Whether the attack learnt more of the sources than of images that the generator never saw."""
        return self.at_chance is False or bool(self.objections)

    def measure(self, space: str, quantity: Quantity) -> Measure | None:
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


class Question(StrEnum):
    """The European Data Protection Board's two questions (Opinion 28/2024, on AI models, paragraph 43)."""

    EXTRACTION = "extraction"
    """Can real images be extracted from the generator itself?"""
    QUERY = "query"
    """Do single samples show or point to a real image?"""


class Attack(Protocol):
    """One way of learning about the sources. A new attack is one more object in `generator_audit.ATTACKS`."""

    @property
    def name(self) -> str: ...

    @property
    def question(self) -> Question:
        """The question that its figures help to answer."""
        ...

    def run(self, context: AttackContext) -> AttackResult: ...
