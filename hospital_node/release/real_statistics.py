"""What a release says of the real images: mask histograms, and Gram matrices or protected colours."""

from __future__ import annotations

from collections.abc import Sequence
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


def publish_statistics(
    node: Node, units: Sequence[RealUnit], images: Sequence[str], policy: Policy, features_path: Path | None
) -> Statistics:
    """The statistics of one release; the ledger records them before they are shown.

    Args:
        node: holds the images.
        units: those behind the release.
        images: the distinct images behind it.
        policy: with `style_epsilon`, protected colours leave in place of Gram matrices.
        features_path: file of the feature network; None looks for one.

    Raises:
        PolicyError: the histograms would spend more than the privacy budget.
    """
    commitment = data_set_commitment(node, images)
    masks = publish_coverage(
        _coverages(node, units),
        image_count=len(units),
        commitment=commitment,
        ledger=node.ledger,
        earlier=node.root / PUBLISHED_NAME,
        epsilon=policy.epsilon,
        max_total_epsilon=policy.max_total_epsilon,
    )
    if not policy.style_epsilon:
        return masks, *publish_style(node, units, policy.limits.k, features_path)
    colours, text = ColoursAsked(node, policy, units, commitment).publish()
    if colours is not None:
        masks = masks.with_colours(colours, spent(node.ledger))
    return masks, None, text


def statistics_to_come(
    node: Node, units: Sequence[RealUnit], images: Sequence[str], policy: Policy, features_path: Path | None
) -> Statistics:
    """What `publish_statistics` would give, perhaps with another draw of the noise.

    It spends no epsilon, records nothing, and must stay inside.
    """
    commitment = data_set_commitment(node, images)
    masks = coverage_before_release(
        _coverages(node, units),
        image_count=len(units),
        commitment=commitment,
        ledger=node.ledger,
        epsilon=policy.epsilon,
    )
    if not policy.style_epsilon:
        return masks, *style_of(node, units, policy.limits.k, features_path)
    known = published_coverage(node.ledger, commitment, policy.epsilon) is not None
    asked = ColoursAsked(node, policy, units, commitment)
    colours, text = asked.before_release(0.0 if known else policy.epsilon)
    if colours is not None:
        masks = masks.with_colours(colours, spent(node.ledger) + policy.style_epsilon)
    return masks, None, text


def data_set_commitment(node: Node, images: Sequence[str]) -> str:
    """Keyed commitment to the stored pixels of every image, in any order."""
    parts = []
    for image in images:
        pair = node.load_pair(image)
        shape = f"{pair.image.shape} {list(pair.masks)}".encode()
        pixels = b"".join([pair.image.tobytes(), *(mask.tobytes() for mask in pair.masks.values())])
        parts.append(node.commit(shape + pixels))
    return node.commit("\n".join(sorted(parts)).encode())


def _coverages(node: Node, units: Sequence[RealUnit]) -> dict[str, list[float]]:
    """Class to the mean coverage of each unit's images, in [0, 1]."""
    coverages: dict[str, list[float]] = {}
    for unit in units:
        for name, mean in _mean_coverages(node, unit).items():
            coverages.setdefault(name, []).append(mean)
    return coverages


def _mean_coverages(node: Node, unit: RealUnit) -> dict[str, float]:
    """Class to the mean coverage in [0, 1] over the images of one unit, which so counts once."""
    found: dict[str, list[float]] = {}
    for image in unit.behind:
        for name, mask in node.load_pair(image).masks.items():
            found.setdefault(name, []).append(coverage(mask))
    return {name: sum(values) / len(values) for name, values in found.items()}
