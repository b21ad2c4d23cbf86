"""The content of a node that must not be found in anything that leaves it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hospital_node.leaks.search import RealContent, digests_of
from hospital_node.ledger.states import ImageRecord
from hospital_node.node.node import Node
from hospital_node.node.pair import Pair, common_size
from hospital_node.singan.pyramid import build_pyramid
from hospital_node.singan.trained import TrainedGenerator


def node_content(node: Node, leaving: Sequence[TrainedGenerator]) -> list[RealContent]:
    """Everything about the images behind a release, and the names of all others."""
    found = [content for generator in leaving for content in real_content(node, generator)]
    known = {content.label for content in found}
    others = [record for record in node.ledger.iterate() if record.id not in known]
    return [
        *found,
        *(RealContent(record.id, names=_names(record), places=_places(node, record)) for record in others),
    ]


def real_content(node: Node, generator: TrainedGenerator) -> list[RealContent]:
    """Everything about each image behind a generator: pixels, pyramid, names, unkeyed digests of its files.

    Pixels come at the image's own size, and at the size at which the generator saw them.
    """
    records = node.ledger.images_of(generator.spec.id)
    pairs = [node.load_pair(record.id) for record in records]
    size = common_size([pair.image.shape[:2] for pair in pairs])
    found = []
    for record, pair in zip(records, pairs, strict=True):
        seen = pair.resized(*size)
        found.append(
            RealContent(
                record.id,
                _pixels(pair) if seen is pair else (*_pixels(pair), *_pixels(seen)),
                tuple(build_pyramid(seen.tensor(), generator.config)),
                names=_names(record),
                places=_places(node, record),
                digests=_digests(node, record),
            )
        )
    return found


def _pixels(pair: Pair) -> tuple:
    return (pair.image, *pair.masks.values())


def _digests(node: Node, record: ImageRecord) -> tuple[bytes, ...]:
    originals = [Path(record.data_dir) / source for source in _sources(record)]
    stored = sorted(node.image_dir(record.id).glob("*.png"))
    digests: list[bytes] = []
    for path in (*originals, *stored):
        try:
            digests += digests_of(path.read_bytes())
        except OSError:
            continue  # the hospital may have moved its originals
    return tuple(digests)


def _sources(record: ImageRecord) -> list[str]:
    return [source for source in (record.source_image, *record.source_masks) if source]


def _names(record: ImageRecord) -> tuple[str, ...]:
    return (*_sources(record), record.id)


def _places(node: Node, record: ImageRecord) -> tuple[str, ...]:
    # A relative path is one ordinary word or two; the file names below it are searched anyway.
    return tuple(place for place in (record.data_dir, str(node.root.resolve())) if Path(place).is_absolute())
