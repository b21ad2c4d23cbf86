"""Collecting a node's report and writing it into the node, and nowhere else."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hospital_node.audit.audited import ASKING, Asking, read_asking
from hospital_node.candidate.draw import draw
from hospital_node.ledger.states import GeneratorRecord, GeneratorState, ImageRecord
from hospital_node.node.node import Node
from hospital_node.node.pair import Pair
from hospital_node.node.reports_folder import reports_folder
from hospital_node.release.release_policy import Policy, load_policy
from hospital_node.report.audit_plots import distances_svg, linkage_svg
from hospital_node.report.fidelity_section import fidelity_section
from hospital_node.report.node_page import ImageSection, Picture, render
from sharekit.errors import PolicyError, UsageError
from sharekit.generator.tensors import mask_probability, probability_to_mask, tensor_to_pixels
from sharekit.storage import files

MAX_PICTURED = 200  # sections with pictures; a page must still open
SAMPLES = 4  # beside the sources of a generator
SOURCES = 4  # pictured, of the images behind a generator
THUMBNAIL = 220  # pixels, long side

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\.html")


def write_report(node: Node, name: str = "report.html", *, seed: int = 0) -> Path:
    """Write the page into the node's reports folder.

    Args:
        node: read; only its reports folder is written.
        name: file name of the page.
        seed: of the samples that are shown.

    Raises:
        UsageError: a name that would lead out of the reports folder.
        PolicyError: the reports folder leads out of the node.
    """
    path = _inside(node, name)
    asking, _ = read_asking(node)
    by_generator = {item.record.id: item for item in asking}
    images = {image.id: image for image in node.ledger.iterate()}
    generators = node.ledger.generators.records()
    trained = [record for record in generators if record.state in ASKING]
    sections = [
        _section(node, record, images, by_generator.get(record.id), seed, pictured=number < MAX_PICTURED)
        for number, record in enumerate(trained)
    ]
    sections += [
        ImageSection(_title(record, images), record.state, record.reason, (), None)
        for record in generators
        if record.state not in ASKING
    ]
    behind = {image for record in generators for image in record.images}
    sections += [
        ImageSection(f"{image.id[:8]}  {image.source}", image.state, image.reason, (), None)
        for image in images.values()
        if image.id not in behind
    ]
    audits = [section.audit for section in sections if section.audit is not None]
    plots = (
        {
            "How near do samples come to their source?": distances_svg(audits, _limit(node)),
            "Which real image is each sample nearest to?": linkage_svg(audits),
        }
        if audits
        else {}
    )
    fidelity = fidelity_section(node, {item.record.id: item.candidate.sha256 for item in asking})
    counts = {f"{state} images": count for state, count in node.ledger.counts().items()}
    counts |= {f"{state} generators": count for state, count in node.ledger.generators.counts().items()}
    page = render(node.hospital, counts, sections, plots, fidelity, _unpictured(len(trained)))
    files.write_text(path, page, mode=0o600)
    return path


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


def _title(record: GeneratorRecord, images: Mapping[str, ImageRecord]) -> str:
    """Identifier, number of images, and their names."""
    names = ", ".join(images[image].source for image in record.images)
    count = len(record.images)
    return f"{record.id[:8]}  {names}" if count == 1 else f"{record.id[:8]}  {count} images: {names}"


def _unpictured(count: int) -> str:
    """What the page says where not every trained generator has its pictures."""
    if count <= MAX_PICTURED:
        return ""
    return (
        f"Pictures of the first {MAX_PICTURED:,} of {count:,} generators only; audits and plots are of all."
    )


def _section(
    node: Node,
    record: GeneratorRecord,
    images: Mapping[str, ImageRecord],
    asking: Asking | None,
    seed: int,
    *,
    pictured: bool,
) -> ImageSection:
    """The audit is there whether or not there are pictures: the approver reads it here."""
    reason, pictures = record.reason, list[Picture]()
    if pictured:
        try:
            pictures = _pictures(node, record, asking, seed)
        except Exception as error:
            reason = f"{record.reason}; no pictures: {error}"
    audit = asking.candidate.audit if asking else None
    return ImageSection(_title(record, images), record.state, reason, tuple(pictures), audit)


def _pictures(node: Node, record: GeneratorRecord, asking: Asking | None, seed: int) -> list[Picture]:
    pictures = [
        picture for image in record.images[:SOURCES] for picture in _source_pictures(node.load_pair(image))
    ]
    if asking is None or record.state is GeneratorState.TRAINED or asking.candidate.sha256 is None:
        return pictures
    spec = asking.generator.spec
    drawn = draw(node.candidate_path(record.id).read_bytes(), spec, seed, range(SAMPLES))
    channels = spec.layout.image_channels
    for number, sample in enumerate(drawn):
        pictures.append(Picture(f"sample {number}", _png(tensor_to_pixels(sample[:channels])), real=False))
        mask = probability_to_mask(mask_probability(sample[channels]))
        pictures.append(Picture(f"its mask {spec.layout.mask_classes[0]}", _png(mask), real=False))
    return pictures


def _source_pictures(pair: Pair) -> Iterator[Picture]:
    yield Picture("source (real)", _png(pair.image), real=True)
    for name, mask in pair.masks.items():
        yield Picture(f"mask {name} (real)", _png(mask), real=True)


def _png(pixels: NDArray[np.uint8]) -> bytes:
    """`(H, W)`, `(H, W, 1)` or `(H, W, 3)` uint8 as a PNG of at most `THUMBNAIL` pixels."""
    image = Image.fromarray(pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels)
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()
