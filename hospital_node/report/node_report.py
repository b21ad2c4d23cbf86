"""Collect a node's report and write it into the node, and nowhere else."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hospital_node.audit.audited import Asking, read_asking
from hospital_node.candidate.draw import draw
from hospital_node.ledger.states import ASKING, GeneratorRecord, GeneratorState, ImageRecord
from hospital_node.node.node import Node
from hospital_node.node.reports_folder import reports_folder
from hospital_node.release.release_policy import Policy, load_policy
from hospital_node.report.fidelity_section import fidelity_section
from hospital_node.report.node_page import (
    Count,
    GeneratorSection,
    ImageLine,
    NodePage,
    Picture,
    Source,
    State,
    Strip,
    render,
)
from hospital_node.report.risk import Risk
from sharekit.errors import PolicyError, UsageError
from sharekit.generator.tensors import (
    ChannelLayout,
    mask_probability,
    probability_to_mask,
    tensor_to_pixels,
)
from sharekit.storage import files

MAX_PICTURED = 200  # sections with pictures; a page must still open
SAMPLES = 3  # samples of every generator, and the nearest
SOURCES = 4  # pictured, of the images behind a generator
THUMBNAIL = 220  # pixels, long side

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\.html")


def write_report(node: Node, name: str = "report.html", *, seed: int = 0) -> Path:
    """Write the page into the node's reports folder.

    Args:
        node: read; only its reports folder is written.
        name: file name of the page.
        seed: seed of the samples that are shown.

    Raises:
        UsageError: a name that would lead out of the reports folder.
        PolicyError: the reports folder leads out of the node.
    """
    path = _inside(node, name)
    asking, _ = read_asking(node)
    by_generator = {item.record.id: item for item in asking}
    images = {image.id: image for image in node.ledger.iterate()}
    records = sorted(
        node.ledger.generators.records(),
        key=lambda record: (record.state not in ASKING, _risk(by_generator.get(record.id))),
    )
    trained = sum(record.state in ASKING for record in records)
    generators = [
        _section(
            node,
            record,
            images,
            by_generator.get(record.id),
            seed,
            pictured=number < min(trained, MAX_PICTURED),
        )
        for number, record in enumerate(records)
    ]
    behind = {image for record in records for image in record.images}
    lines = [
        ImageLine(image.source, State(str(image.state)), image.reason)
        for image in images.values()
        if image.id not in behind
    ]
    page = NodePage(
        node.hospital,
        tuple(_counts(node)),
        _limit(node),
        tuple(generators),
        min(trained, MAX_PICTURED),
        tuple(lines),
        fidelity_section(node, asking),
    )
    files.write_text(path, render(page), mode=0o600)
    return path


def _counts(node: Node) -> Iterator[Count]:
    ledger = node.ledger
    for unit, counts in (("images", ledger.counts()), ("generators", ledger.generators.counts())):
        yield from (Count(f"{unit} {state}", count) for state, count in counts.items() if count)


def _risk(asking: Asking | None) -> float:
    """Sort key of the page: the nearest sample first, generators without an audit last."""
    audit = asking.candidate.audit if asking else None
    distance = None if audit is None else Risk.of(audit).distance
    return math.inf if distance is None else distance


def _inside(node: Node, name: str) -> Path:
    """The path of the page, known to lie in the node."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            "--name",
            expected="a file name of letters, digits, '.', '_' and '-' that ends in .html",
            found=repr(name),
            next_step="name the file alone: the report stays in the node's reports folder",
        )
    return reports_folder(node) / name


def _limit(node: Node) -> float:
    try:
        return load_policy(node.policy_path).limits.min_distance_ratio
    except PolicyError:
        return Policy().limits.min_distance_ratio


def _section(
    node: Node,
    record: GeneratorRecord,
    images: Mapping[str, ImageRecord],
    asking: Asking | None,
    seed: int,
    *,
    pictured: bool,
) -> GeneratorSection:
    """The section has the audit even without pictures, because the approver reads it here."""
    reason, real, samples = record.reason, dict[str, Strip](), list[Strip]()
    if pictured:
        try:
            real = {image: _real_pictures(node, image) for image in record.images[:SOURCES]}
            samples = _sample_pictures(node, record, asking, seed)
        except Exception as error:
            reason = f"{record.reason}; no pictures: {error}"
    return GeneratorSection(
        record.id,
        State(str(record.state)),
        reason,
        tuple(Source(images[image].source, real.get(image, ())) for image in record.images),
        tuple(samples),
        asking.candidate.audit if asking else None,
    )


def _real_pictures(node: Node, image: str) -> Strip:
    pair = node.load_pair(image)
    masks = (Picture(f"mask {name} (real)", _png(mask), real=True) for name, mask in pair.masks.items())
    return (Picture("source (real)", _png(pair.image), real=True), *masks)


def _sample_pictures(node: Node, record: GeneratorRecord, asking: Asking | None, seed: int) -> list[Strip]:
    if asking is None or record.state is GeneratorState.TRAINED or asking.candidate.sha256 is None:
        return []
    strips = _nearest_pictures(node, asking)
    spec = asking.generator.spec
    drawn = draw(node.candidate_path(record.id).read_bytes(), spec, seed, range(SAMPLES))
    for number, sample in enumerate(drawn):
        strips.append(_sample_strip(f"sample {number}", sample, spec.layout))
    return strips


def _nearest_pictures(node: Node, asking: Asking) -> list[Strip]:
    """The audit's sample nearest to a source, next to that source."""
    audit = asking.candidate.audit
    if audit is None or asking.candidate.sha256 != audit.candidate_sha256:
        return []
    spec, (number, source) = asking.generator.spec, audit.nearest
    (sample,) = draw(node.candidate_path(asking.record.id).read_bytes(), spec, audit.seed, [number])
    pair = node.load_sources(asking.record.id)[source]
    return [
        (
            Picture("nearest source (real)", _png(pair.image), real=True),
            *_sample_strip(f"nearest of {audit.samples:,} samples: number {number}", sample, spec.layout),
        )
    ]


def _sample_strip(caption: str, sample: NDArray[np.float32], layout: ChannelLayout) -> Strip:
    channels = layout.image_channels
    mask = probability_to_mask(mask_probability(sample[channels]))
    return (
        Picture(caption, _png(tensor_to_pixels(sample[:channels])), real=False),
        Picture(f"its mask {layout.mask_classes[0]}", _png(mask), real=False),
    )


def _png(pixels: NDArray[np.uint8]) -> bytes:
    """`(H, W)`, `(H, W, 1)` or `(H, W, 3)` uint8 as a PNG of at most `THUMBNAIL` pixels."""
    image = Image.fromarray(pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels)
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()
