"""The page of overlays: pictures before and after, for the person who reviews them. It stays in the node.

The pictures before are read from the hospital's own folder: the node does not keep them, but in this page.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from hospital_node.intake.review import picture_before
from hospital_node.ledger.states import ImageRecord, ImageState
from hospital_node.node.node import Node
from hospital_node.node.reports_folder import reports_folder
from hospital_node.overlays.outcome import Overlays, Treatment
from hospital_node.overlays.region import Region
from hospital_node.report import WARNING
from sharekit.errors import SharekitError
from sharekit.page.shell import Embedded, render
from sharekit.storage import files

NAME = "overlays.html"
MAX_PICTURED = 200
"""Pictures on the page; those in review come first."""
SIDE = 480
"""Long side of a picture on the page, pixels."""
_PAINTED, _DOUBTFUL = (0, 220, 0), (255, 220, 0)


@dataclass(frozen=True)
class Reviewed:
    """One picture before and after."""

    name: str
    """Its file in the hospital's folder."""
    id: str
    words: str
    before: Embedded | None
    """With the regions drawn: green is painted over, yellow is doubtful."""
    after: Embedded | None
    """As the node has it; None: it is in review."""


@dataclass(frozen=True)
class OverlayPage:
    """Everything that the page shows."""

    hospital: str
    waiting: int
    painted: int
    kept: int
    unknown: int
    pictures: tuple[Reviewed, ...]
    left_out: int
    warning: str = WARNING


def write_overlay_page(node: Node) -> tuple[Path, OverlayPage]:
    """Write the page into the node's reports folder.

    Raises:
        PolicyError: the reports folder leads out of the node.
    """
    folder = reports_folder(node)
    found = sorted(
        ((record, Overlays.from_text(record.overlays)) for record in _records(node)),
        key=lambda one: one[1].treatment is not Treatment.WAITING,
    )
    shown = [one for one in found if one[1].painted or one[1].doubtful]
    counts = {treatment: sum(one[1].treatment is treatment for one in found) for treatment in Treatment}
    page = OverlayPage(
        node.hospital,
        counts[Treatment.WAITING],
        sum(bool(one[1].painted) and one[0].state is not ImageState.REVIEW for one in found),
        counts[Treatment.KEPT],
        counts[Treatment.UNKNOWN],
        tuple(_reviewed(node, *one) for one in shown[:MAX_PICTURED]),
        max(0, len(shown) - MAX_PICTURED),
    )
    path = folder / NAME
    files.write_text(path, render("hospital_node.report", "overlays.html", page), mode=0o600)
    return path, page


def _records(node: Node) -> Iterator[ImageRecord]:
    yield from node.ledger.iterate(ImageState.REVIEW, ImageState.INGESTED, ImageState.HELD_OUT)


def _reviewed(node: Node, record: ImageRecord, overlays: Overlays) -> Reviewed:
    words = record.reason or f"{len(overlays.painted)} regions painted over"
    try:
        before = _embedded(_marked(record, overlays), f"{record.source} before")
    except SharekitError as error:
        before, words = None, f"{words}; no picture before: {error.found}"
    after = None
    if record.state is not ImageState.REVIEW:
        after = _embedded(node.load_pair(record.id).image, f"{record.source} after")
    return Reviewed(record.source, record.id, words, before, after)


def _marked(record: ImageRecord, overlays: Overlays) -> NDArray[np.uint8]:
    """The picture in the hospital's folder with its regions drawn."""
    pixels = picture_before(record)
    picture = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0]).convert("RGB")
    drawing = ImageDraw.Draw(picture)
    for regions, colour in ((overlays.painted, _PAINTED), (overlays.doubtful, _DOUBTFUL)):
        for region in regions:
            drawing.rectangle(_box(region), outline=colour, width=2)
    return np.asarray(picture)


def _box(region: Region) -> tuple[int, int, int, int]:
    return region.left, region.top, max(region.left, region.right - 1), max(region.top, region.bottom - 1)


def _embedded(pixels: NDArray[np.uint8], words: str) -> Embedded:
    picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    picture.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return Embedded(buffer.getvalue(), "image/png", words)
