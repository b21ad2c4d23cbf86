"""Style statistics of a release: neither they nor their differences describe fewer than k units."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from hospital_node.ledger.publications import Published
from hospital_node.ledger.states import GeneratorState
from hospital_node.node.node import Node
from hospital_node.release.units_behind import RealUnit, keyed_units, noun_of, units_behind
from hospital_node.statistics.gram_matrices import load_torch, style_statistics
from hospital_node.statistics.style_differences import smallest_part
from sharekit.bundle import features
from sharekit.bundle.style_statistics import StyleStatistics
from sharekit.generator.tensors import pixels_to_tensor
from sharekit.program.phrases import counted


def publish_style(
    node: Node, units: Sequence[RealUnit], k: int, features_path: Path | None
) -> tuple[StyleStatistics | None, str]:
    """Style statistics of the units behind a bundle, one picture each, and a sentence about them.

    Args:
        node: holds the images; its ledger keeps the pictures behind published statistics.
        units: those behind the bundle's generators.
        k: fewest units that may be averaged, and that a difference of averages may describe.
        features_path: file of the feature network; None looks for one.
    """
    # First: it may read the log, which cannot distinguish releases with and without style statistics.
    published = _published(node, k)
    noun = noun_of(units)
    images = sum(len(unit.behind) for unit in units)
    if len(units) < k:
        shown = f"{images} images"
        if images > len(units):
            shown += f" show {counted(len(units), f'distinct {noun}')} and"
        return None, f"none, because {shown} are fewer than k = {k}"
    path = features_path or features.find()
    if path is None:
        return None, "none, because no file of a feature network was found (`--features FILE`)"
    wanted = keyed_units(node, units)
    small = smallest_part(published, wanted, k)
    if small is not None:
        return None, (
            "none, because their difference from published ones would tell of"
            f" {counted(small, noun)}, fewer than k = {k}; release the same {noun}s as before, or at"
            f" least {k} new ones at once"
        )
    tensors = (pixels_to_tensor(node.load_pair(unit.first).image) for unit in units)
    style = style_statistics(tensors, load_torch(path), k=k)
    if wanted not in published:
        # Written before anything is shown: an interrupted export may have shown it.
        node.ledger.publications.append(Published.STYLE, [{"pictures": sorted(wanted)}])
    return style, f"Gram matrices of {style.network}, averaged over {style.image_count} images (k = {k})"


def _published(node: Node, k: int) -> set[frozenset[str]]:
    table = node.ledger.publications
    # Every export of this version leaves a row of coverage.
    if not table.all(Published.STYLE) and not table.all(Published.COVERAGE):
        table.append(Published.STYLE, [{"pictures": sorted(one)} for one in _logged(node, k)])
    return {frozenset(entry["pictures"]) for entry in table.all(Published.STYLE)}


def _logged(node: Node, k: int) -> list[frozenset[str]]:
    """The pictures behind each release of earlier versions, which kept no record of style statistics."""
    releases: dict[str, list[str]] = defaultdict(list)
    for event in node.ledger.events():
        if event.after is GeneratorState.RELEASED:
            releases[event.reason] += [image.id for image in node.ledger.images_of(event.id)]
    sets = [set(images) for images in releases.values()]
    return [keyed_units(node, units_behind(node, sorted(one))) for one in sets if len(one) >= k]
