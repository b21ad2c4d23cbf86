"""What a release says of the real images: mask histograms, and Gram matrices or protected colours."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hospital_node.node.node import Node
from hospital_node.release.release_policy import Policy
from hospital_node.release.released_colours import ColoursAsked
from hospital_node.release.released_style import publish_style, style_of
from hospital_node.release.units_behind import RealUnit
from hospital_node.statistics.epsilon_budget import spent
from hospital_node.statistics.protected_coverage import (
    CoverageStatistics,
    coverage_before_release,
    publish_coverage,
    published_coverage,
)
from sharekit.bundle.style_statistics import StyleStatistics
from sharekit.pictures.mask_statistics import coverage

PUBLISHED_NAME = "published-statistics.json"
"""File in which earlier releases kept what the ledger holds now."""

Statistics = tuple[CoverageStatistics, StyleStatistics | None, str]
"""Histograms, with the protected colours if any; Gram matrices if any; the style statistics in words."""


@dataclass(frozen=True)
class StatisticsAsked:
    """The statistics that one release says of the real images behind it."""

    node: Node
    policy: Policy
    """With `style_epsilon`, protected colours leave in place of Gram matrices."""
    units: Sequence[RealUnit]
    """Those behind the release."""
    images: Sequence[str]
    """The distinct images behind it."""
    features_path: Path | None
    """File of the feature network; None looks for one."""

    def publish(self) -> Statistics:
        """The statistics; the ledger records them before they are shown.

        Raises:
            PolicyError: the histograms would spend more than the privacy budget.
        """
        node, policy = self.node, self.policy
        masks = publish_coverage(
            self._coverages,
            image_count=len(self.units),
            commitment=self._commitment,
            ledger=node.ledger,
            earlier=node.root / PUBLISHED_NAME,
            epsilon=policy.epsilon,
            max_total_epsilon=policy.max_total_epsilon,
        )
        if not policy.style_epsilon:
            return masks, *publish_style(node, self.units, policy.limits.k, self.features_path)
        colours, text = self._colours.publish()
        if colours is not None:
            masks = masks.with_colours(colours, spent(node.ledger))
        return masks, None, text

    def before_release(self) -> Statistics:
        """What `publish` would give, perhaps with another draw of the noise.

        It spends no epsilon, records nothing, and must stay inside.
        """
        node, policy = self.node, self.policy
        masks = coverage_before_release(
            self._coverages,
            image_count=len(self.units),
            commitment=self._commitment,
            ledger=node.ledger,
            epsilon=policy.epsilon,
        )
        if not policy.style_epsilon:
            return masks, *style_of(node, self.units, policy.limits.k, self.features_path)
        known = published_coverage(node.ledger, self._commitment, policy.epsilon) is not None
        colours, text = self._colours.before_release(0.0 if known else policy.epsilon)
        if colours is not None:
            masks = masks.with_colours(colours, spent(node.ledger) + policy.style_epsilon)
        return masks, None, text

    @functools.cached_property
    def _commitment(self) -> str:
        return data_set_commitment(self.node, self.images)

    @property
    def _colours(self) -> ColoursAsked:
        return ColoursAsked(self.node, self.policy, self.units, self._commitment)

    @property
    def _coverages(self) -> dict[str, list[float]]:
        """Class to the mean coverage of each unit's images, in [0, 1]."""
        coverages: dict[str, list[float]] = {}
        for unit in self.units:
            for name, mean in mean_coverages(self.node, unit.behind).items():
                coverages.setdefault(name, []).append(mean)
        return coverages


def data_set_commitment(node: Node, images: Sequence[str]) -> str:
    """Keyed commitment to the stored pixels of every image, in any order."""
    parts = []
    for image in images:
        pair = node.load_pair(image)
        shape = f"{pair.image.shape} {list(pair.masks)}".encode()
        pixels = b"".join([pair.image.tobytes(), *(mask.tobytes() for mask in pair.masks.values())])
        parts.append(node.commit(shape + pixels))
    return node.commit("\n".join(sorted(parts)).encode())


def mean_coverages(node: Node, images: Sequence[str]) -> dict[str, float]:
    """Class to the mean coverage in [0, 1] over the images of one unit, which so counts once."""
    found: dict[str, list[float]] = {}
    for image in images:
        for name, mask in node.load_pair(image).masks.items():
            found.setdefault(name, []).append(coverage(mask))
    return {name: sum(values) / len(values) for name, values in found.items()}
