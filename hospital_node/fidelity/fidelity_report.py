"""What a measurement of fidelity found: the file that the node's report reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from hospital_node.fidelity.fidelity_settings import FidelitySettings
from sharekit.intervals import Interval

NAME = "fidelity.json"
"""File name in the node's reports folder, which never leaves."""


class Better(StrEnum):
    """Which way a figure is better."""

    LOWER = "lower"
    HIGHER = "higher"


@dataclass(frozen=True)
class Comparison:
    """One figure of samples against real images, and the same figure of real images against real images.

    The intervals' `count` is the number of pictures on each side of each of the random halves.
    """

    name: str
    better: Better
    floor: Interval  # one half of the real images against the other
    samples: Interval  # samples of the first half's generators against the second real half
    difference: Interval  # samples - floor, for the same halves
    whole: float  # all samples against all real images; larger sets, so not comparable with the floor
    real_count: int  # behind `whole`
    sample_count: int
    p: float | None = None  # p value of no difference, where a test exists: one sample per generator

    @property
    def worse(self) -> bool:
        """Samples are worse than real images, beyond the interval."""
        return self.difference.low > 0 if self.better is Better.LOWER else self.difference.high < 0

    @property
    def beats_real(self) -> bool:
        """Samples do better than real images do, beyond the interval."""
        return self.difference.high < 0 if self.better is Better.LOWER else self.difference.low > 0

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"better": str(self.better)}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Comparison:
        return Comparison(
            str(value["name"]),
            Better(value["better"]),
            Interval.from_json(value["floor"]),
            Interval.from_json(value["samples"]),
            Interval.from_json(value["difference"]),
            float(value["whole"]),
            int(value["real_count"]),
            int(value["sample_count"]),
            None if value["p"] is None else float(value["p"]),
        )


@dataclass(frozen=True)
class GeneratorFidelity:
    """One generator against its own sources."""

    generator_id: str
    candidate_sha256: str  # of the ONNX bytes that drew the samples, hexadecimal
    sifid: (
        Interval | None
    )  # 64-d, to the nearest source, mean over samples; None if there was no feature network
    sifid_others: float | None  # the same of other real images, their median
    pixel_std: Interval  # spread of the samples, [-1, 1]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> GeneratorFidelity:
        return GeneratorFidelity(
            str(value["generator_id"]),
            str(value["candidate_sha256"]),
            None if value["sifid"] is None else Interval.from_json(value["sifid"]),
            None if value["sifid_others"] is None else float(value["sifid_others"]),
            Interval.from_json(value["pixel_std"]),
        )


@dataclass(frozen=True)
class Figure:
    """A mean over generators, and what it is compared with."""

    name: str
    value: Interval  # over generators
    reference: Interval | None
    compared_with: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Figure:
        return Figure(
            str(value["name"]),
            Interval.from_json(value["value"]),
            None if value["reference"] is None else Interval.from_json(value["reference"]),
            str(value["compared_with"]),
        )


@dataclass(frozen=True)
class FidelityReport:
    """All figures of a node. Law: `from_json(to_json(x)) == x`."""

    settings: FidelitySettings
    feature_sha256: str | None  # digest of the feature network's file
    comparisons: tuple[Comparison, ...]
    figures: tuple[Figure, ...]
    generators: tuple[GeneratorFidelity, ...]
    missing: tuple[str, ...]  # figures that could not be computed, and how to get them
    left_out: Mapping[str, str]  # generator to the reason

    def to_json(self) -> dict[str, Any]:
        return {
            "settings": self.settings.to_json(),
            "feature_sha256": self.feature_sha256,
            "comparisons": [found.to_json() for found in self.comparisons],
            "figures": [found.to_json() for found in self.figures],
            "generators": [found.to_json() for found in self.generators],
            "missing": list(self.missing),
            "left_out": dict(self.left_out),
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> FidelityReport:
        return FidelityReport(
            FidelitySettings.from_json(value["settings"]),
            None if value["feature_sha256"] is None else str(value["feature_sha256"]),
            tuple(Comparison.from_json(found) for found in value["comparisons"]),
            tuple(Figure.from_json(found) for found in value["figures"]),
            tuple(GeneratorFidelity.from_json(found) for found in value["generators"]),
            tuple(str(line) for line in value["missing"]),
            {str(name): str(reason) for name, reason in value["left_out"].items()},
        )
