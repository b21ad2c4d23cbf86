"""Style statistics of a release: neither they nor their differences describe fewer than k units."""

from __future__ import annotations

import base64
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from hospital_node.ledger.publications import Published
from hospital_node.ledger.states import GeneratorState
from hospital_node.node.node import Node
from hospital_node.release.kept import keep, read_kept
from hospital_node.release.units_behind import RealUnit, keyed_units, noun_of, units_behind
from hospital_node.statistics.gram_matrices import load_torch, style_statistics
from hospital_node.statistics.style_differences import smallest_part
from sharekit.bundle import features
from sharekit.bundle.style_statistics import StyleStatistics
from sharekit.generator.tensors import pixels_to_tensor
from sharekit.program.phrases import counted
from sharekit.storage import files


def publish_style(
    node: Node, units: Sequence[RealUnit], k: int, features_path: Path | None
) -> tuple[StyleStatistics | None, str]:
    """`style_of`, with a record in the ledger of the pictures behind what is shown."""
    published = _published(node, k)
    # First: the log, from which earlier releases are read, knows no releases without style statistics.
    if published and not node.ledger.publications.all(Published.STYLE):
        _append(node, published)
    style, text = style_of(node, units, k, features_path)
    wanted = keyed_units(node, units)
    if style is not None and wanted not in published:
        # Written before anything is shown: an interrupted export may have shown it.
        _append(node, [wanted])
    return style, text


def style_of(
    node: Node, units: Sequence[RealUnit], k: int, features_path: Path | None
) -> tuple[StyleStatistics | None, str]:
    """Style statistics of the units behind a bundle, one picture each, and a sentence about them.

    Args:
        node: holds the images; its ledger keeps the pictures behind published statistics.
        units: those behind the bundle's generators.
        k: fewest units that may be averaged, and that a difference of averages may describe.
        features_path: file of the feature network; None looks for one.
    """
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
    style = _average(node, units, k, path, wanted)
    return style, f"Gram matrices of {style.network}, averaged over {style.image_count} images (k = {k})"


def _average(
    node: Node, units: Sequence[RealUnit], k: int, path: Path, wanted: frozenset[str]
) -> StyleStatistics:
    """The average over units, kept in the node: the approver's attack and the export need the same one."""
    first = [unit.first for unit in units]
    name = json.dumps(["style, version 1", first, sorted(wanted), k, files.sha256_of(path)])
    kept = read_kept(node, name)
    if kept is not None:
        contents = files.parse_json(kept, "kept style statistics")
        return StyleStatistics.from_files(
            {file: base64.b64decode(data) for file, data in contents.items()}, min_images=k
        )
    tensors = (pixels_to_tensor(node.load_pair(image).image) for image in first)
    style = style_statistics(tensors, load_torch(path), k=k)
    coded = {file: base64.b64encode(data).decode() for file, data in style.to_files().items()}
    keep(node, name, files.dump_json(coded))
    return style


def _append(node: Node, sets: Iterable[frozenset[str]]) -> None:
    node.ledger.publications.append(Published.STYLE, [{"pictures": sorted(one)} for one in sets])


def _published(node: Node, k: int) -> set[frozenset[str]]:
    table = node.ledger.publications
    # Every export of this version leaves a row of coverage.
    if not table.all(Published.STYLE) and not table.all(Published.COVERAGE):
        return set(_logged(node, k))
    return {frozenset(entry["pictures"]) for entry in table.all(Published.STYLE)}


def _logged(node: Node, k: int) -> list[frozenset[str]]:
    """The pictures behind each release of earlier versions, which kept no record of style statistics."""
    releases: dict[str, list[str]] = defaultdict(list)
    for event in node.ledger.events():
        if event.after is GeneratorState.RELEASED:
            releases[event.reason] += [image.id for image in node.ledger.images_of(event.id)]
    sets = [set(images) for images in releases.values()]
    return [keyed_units(node, units_behind(node, sorted(one))) for one in sets if len(one) >= k]
