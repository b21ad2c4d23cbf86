"""What of a node must not be found in anything that leaves it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hospital_node.leaks.search import RealContent, digests_of
from hospital_node.ledger.ledger import ImageRecord
from hospital_node.node.node import Node
from hospital_node.singan.pyramid import build_pyramid
from hospital_node.singan.trained import TrainedGenerator


def node_content(node: Node, leaving: Sequence[tuple[ImageRecord, TrainedGenerator]]) -> list[RealContent]:
    """Everything of the images behind a release, and the names of all others.

    Args:
        leaving: every image behind the release with its generator.
    """
    found = [real_content(node, record, generator) for record, generator in leaving]
    known = {record.id for record, _ in leaving}
    others = [record for record in node.ledger.iterate() if record.id not in known]
    return [
        *found,
        *(RealContent(record.id, names=_names(record), places=_places(node, record)) for record in others),
    ]


def real_content(node: Node, record: ImageRecord, generator: TrainedGenerator) -> RealContent:
    """Everything of one image: pixels, pyramid, names, and unkeyed digests of its files."""
    pair = node.load_pair(record.id)
    originals = [Path(record.data_dir) / source for source in _sources(record)]
    stored = sorted(node.image_dir(record.id).glob("*.png"))
    digests: list[bytes] = []
    for path in (*originals, *stored):
        try:
            digests += digests_of(path.read_bytes())
        except OSError:
            continue  # the hospital may have moved its originals
    return RealContent(
        record.id,
        (pair.image, *pair.masks.values()),
        tuple(build_pyramid(pair.tensor(), generator.config)),
        names=_names(record),
        places=_places(node, record),
        digests=tuple(digests),
    )


def _sources(record: ImageRecord) -> list[str]:
    return [source for source in (record.source_image, *record.source_masks) if source]


def _names(record: ImageRecord) -> tuple[str, ...]:
    return (*_sources(record), record.id)


def _places(node: Node, record: ImageRecord) -> tuple[str, ...]:
    # A relative path is one ordinary word or two; the file names below it are searched anyway.
    return tuple(place for place in (record.data_dir, str(node.root.resolve())) if Path(place).is_absolute())
