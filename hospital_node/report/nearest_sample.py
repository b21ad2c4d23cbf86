"""Show which sample of a generator is nearest to a real image, inside the node."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hospital_node.audit.attack import Space
from hospital_node.audit.attacks.nearest import DISTANCE_RATIO
from hospital_node.audit.audited import Asking, read_asking
from hospital_node.candidate.draw import draw
from hospital_node.node.find_generators import generator_named
from hospital_node.node.node import Node
from hospital_node.node.pair import encode_png
from hospital_node.node.reports_folder import reports_folder
from sharekit.errors import InputError
from sharekit.generator.spec import short_id
from sharekit.generator.tensors import tensor_to_pixels
from sharekit.storage import files

GAP = 4  # white pixels between the two pictures


@dataclass(frozen=True)
class NearestSample:
    """The sample of one generator that its audit found nearest to a source."""

    generator_id: str
    sample: int  # index of the sample under `seed`
    seed: int
    samples: int  # drawn by the audit
    source: str
    """Name of the source's file in the hospital's folder, which never leaves."""
    ratio: float | None
    """Distance to it / median distance between real images; None: there were too few other real images."""
    picture: Path
    """PNG inside the node: the source on the left, the sample on the right."""

    def to_json(self) -> dict[str, Any]:
        return {
            "generator": self.generator_id,
            "sample": self.sample,
            "seed": self.seed,
            "samples": self.samples,
            "source": self.source,
            "distance_ratio": self.ratio,
            "picture": str(self.picture),
        }


def nearest_sample_of(node: Node, name: str) -> NearestSample:
    """Draw a generator's nearest sample again, next to its source, into the node's reports folder.

    Args:
        node: only its reports folder is written.
        name: identifier of the generator, or the first digits of it.

    Raises:
        InputError: no generator, or more than one, has this name, or it has no audit of its candidate.
        PolicyError: the reports folder leads out of the node.
    """
    identifier = generator_named(node, name)
    asking, _ = read_asking(node)
    for item in asking:
        if item.record.id == identifier:
            return _show(node, item)
    raise InputError(
        name,
        expected="a trained generator that was neither rejected nor withdrawn",
        found=str(node.ledger.generators.get(identifier).state),
        next_step="see `hospital-node status --all` for the states",
    )


def _show(node: Node, item: Asking) -> NearestSample:
    audit, identifier = item.candidate.audit, item.record.id
    if audit is None or audit.candidate_sha256 != item.candidate.sha256:
        raise InputError(
            short_id(identifier),
            expected="a generator with an audit of its candidate",
            found=item.candidate.no_audit if audit is None else "an audit of other bytes",
            next_step="run `hospital-node audit` first",
        )
    spec, (number, source) = item.generator.spec, audit.nearest
    (sample,) = draw(node.candidate_path(identifier).read_bytes(), spec, audit.seed, [number])
    pixels = tensor_to_pixels(sample[: spec.layout.image_channels])
    real = node.load_sources(identifier)[source].resized(*pixels.shape[:2]).image
    gap = np.full((pixels.shape[0], GAP, pixels.shape[2]), 255, np.uint8)
    joined = np.concatenate([real, gap, pixels], axis=1)
    path = reports_folder(node) / f"nearest-{short_id(identifier)}.png"
    files.write_bytes(path, encode_png(joined[:, :, 0] if joined.shape[2] == 1 else joined), mode=0o600)
    ratio = audit.measure(Space.FULL, DISTANCE_RATIO)
    return NearestSample(
        identifier,
        number,
        audit.seed,
        audit.samples,
        node.ledger.get(item.record.images[source]).source,
        None if ratio is None else ratio.value,
        path,
    )
