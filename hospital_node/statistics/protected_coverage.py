"""`statistics.json`: how much of an image the real masks cover, in 5 % bins, protected.

Noise that is drawn again for every bundle would average out. The ledger therefore keeps what was published.
The same images at the same epsilon get the same histogram again. The policy limits the sum of all epsilons.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hospital_node.ledger.ledger import Ledger
from hospital_node.ledger.publications import Published
from hospital_node.ledger.states import GeneratorState
from hospital_node.statistics.epsilon_budget import require_budget, spent
from hospital_node.statistics.privacy import Protection, protect
from sharekit.bundle.colour_statistics import ColourStatistics
from sharekit.errors import NodeStateError, SharekitError
from sharekit.pictures.mask_statistics import BINS, coverage_histogram
from sharekit.storage import files

SCHEMA_VERSION = 1
BIN_EDGES = tuple(100 * edge // BINS for edge in range(BINS + 1))
"""Percent of an image's pixels; a bin includes its lower edge, the last bin both edges."""


@dataclass(frozen=True)
class CoverageStatistics:
    """Protected histograms of mask coverage. Law: `from_json(to_json(x)) == x`."""

    image_count: int  # distinct pictures behind the bundle's generators; public: a bundle says it
    histograms: Mapping[str, tuple[int, ...]]  # class to protected counts, one per bin
    protection: Protection
    total_epsilon: float  # sum over everything that this node has published
    colours: ColourStatistics | None = None  # left out unless the policy asks for them

    def with_colours(self, colours: ColourStatistics, total_epsilon: float) -> CoverageStatistics:
        """The same histograms, and protected colours with what the node has spent on everything."""
        return dataclasses.replace(self, colours=colours, total_epsilon=total_epsilon)

    def to_json(self) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "image_count": self.image_count,
            "coverage": {
                "bin_edges_percent": list(BIN_EDGES),
                "histograms": {name: list(counts) for name, counts in self.histograms.items()},
            },
            "protection": self.protection.to_json(),
            "total_epsilon": self.total_epsilon,
            **({} if self.colours is None else {"colours": self.colours.to_json()}),
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> CoverageStatistics:
        return CoverageStatistics(
            int(value["image_count"]),
            {name: tuple(counts) for name, counts in value["coverage"]["histograms"].items()},
            Protection.from_json(value["protection"]),
            float(value["total_epsilon"]),
            ColourStatistics.from_json(value["colours"]) if "colours" in value else None,
        )


def coverage_histograms(coverages: Mapping[str, Sequence[float]]) -> dict[str, list[int]]:
    """Class to counts in `BIN_EDGES`, from class to coverages in [0, 1]."""
    return {name: coverage_histogram(values).tolist() for name, values in coverages.items()}


def publish_coverage(
    coverages: Mapping[str, Sequence[float]],
    *,
    image_count: int,
    commitment: str,
    ledger: Ledger,
    earlier: Path,
    epsilon: float,
    max_total_epsilon: float,
) -> CoverageStatistics:
    """Protected histograms of these images: the ones published before, or new ones that spend epsilon.

    Args:
        coverages: class to the share of foreground pixels of every picture, in [0, 1]; a picture counts once.
        image_count: distinct pictures behind these coverages; public.
        commitment: keyed commitment to the set of images, which identifies a repetition.
        ledger: keeps everything published.
        earlier: file where earlier releases kept it; brought into the ledger once, then removed.
        epsilon: privacy parameter of a new set of histograms.
        max_total_epsilon: limit of the sum over everything that this node ever publishes.

    Raises:
        PolicyError: a new histogram would spend more than the policy allows.
        NodeStateError: `earlier` cannot be read, or is missing though bundles left the node.
    """
    _bring_in(ledger, earlier)
    published = published_coverage(ledger, commitment, epsilon)
    if published is not None:
        return published
    require_budget(ledger, "statistics.json", epsilon, max_total_epsilon)
    before = spent(ledger)
    histograms, protection = protect(coverage_histograms(coverages), epsilon)
    statistics = CoverageStatistics(
        image_count=image_count,
        histograms={name: tuple(counts) for name, counts in histograms.items()},
        protection=protection,
        total_epsilon=before + epsilon,
    )
    # Written before anything is shown: an interrupted export must not draw again.
    entry = {"commitment": commitment, "statistics": statistics.to_json()}
    ledger.publications.append(Published.COVERAGE, [entry])
    return statistics


def coverage_before_release(
    coverages: Mapping[str, Sequence[float]],
    *,
    image_count: int,
    commitment: str,
    ledger: Ledger,
    epsilon: float,
) -> CoverageStatistics:
    """What `publish_coverage` would publish: the same histogram, or one with another draw of the noise.

    Nothing is spent, so this never leaves the node.
    """
    published = published_coverage(ledger, commitment, epsilon)
    if published is not None:
        return published
    histograms, protection = protect(coverage_histograms(coverages), epsilon)
    counts = {name: tuple(counts) for name, counts in histograms.items()}
    return CoverageStatistics(image_count, counts, protection, epsilon)


def published_coverage(ledger: Ledger, commitment: str, epsilon: float) -> CoverageStatistics | None:
    """What was published of this set of images at this epsilon; None: nothing yet."""
    for entry in ledger.publications.all(Published.COVERAGE):
        if entry["commitment"] == commitment and entry["statistics"]["protection"]["epsilon"] == epsilon:
            return CoverageStatistics.from_json(entry["statistics"])
    return None


def _bring_in(ledger: Ledger, earlier: Path) -> None:
    """Move the record of earlier releases into the ledger, once."""
    history = ledger.publications.all(Published.COVERAGE)
    if not history:
        history = _read(earlier)
        if not history and ledger.last_event(GeneratorState.RELEASED) is not None:
            raise _unknown_budget(earlier, "no such file, though this node released a bundle")
        ledger.publications.append(Published.COVERAGE, history)
    earlier.unlink(missing_ok=True)


def _read(path: Path) -> list[Any]:
    if not path.exists():
        return []
    try:
        history = list(files.parse_json(files.read_bytes(path, max_bytes=files.MAX_JSON_BYTES), path))
        for entry in history:
            float(entry["statistics"]["protection"]["epsilon"])
            str(entry["commitment"])
    except (SharekitError, KeyError, TypeError, ValueError) as error:
        raise _unknown_budget(path, f"{type(error).__name__}: {error}") from error
    return history


def _unknown_budget(path: Path, found: str) -> NodeStateError:
    return NodeStateError(
        path,
        expected="the record of what this node has published",
        found=found,
        next_step="restore the file from a backup: without it the privacy budget is unknown",
    )
