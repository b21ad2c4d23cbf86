"""Measure a data set's files in one pass; each image is read once, and only small figures are kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from consumer.datasets.reader import DatasetFolder, Entry, Problem, UnusablePairError
from consumer.validation import edges
from consumer.validation.diversity import thumbnail
from consumer.validation.mask_checks import MaskFacts, mask_facts
from consumer.validation.validation_report import Missing
from sharekit.generator.spec import GENERATOR_ID, short_id
from sharekit.pictures import mask_statistics
from sharekit.pictures.mask_statistics import MaskMoments
from sharekit.pictures.similarity import difference_hash, pixel_digest
from sharekit.program.progress import Progress, ProgressCallback, ignore

WHOLE = "all"
"""The group of images whose generator is not known."""
MAX_NAME = 12  # characters of a generator's name in plots, tables and sentences
MASK_GRID = 128  # pixels, long side of a generator's mean mask


def short(name: str) -> str:
    """A generator's short name for plots, tables and sentences.

    It is the first 8 digits of an identifier, or both ends of another long name.
    """
    if name == WHOLE:
        return "all images"
    if GENERATOR_ID.fullmatch(name):
        return short_id(name)
    return name if len(name) <= MAX_NAME else f"{name[:5]}…{name[-6:]}"


class MaskMap:
    """Mean and standard deviation of a generator's masks, all classes together, on one small grid."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        scale = min(1.0, MASK_GRID / max(shape))
        self._grid = max(1, round(shape[1] * scale)), max(1, round(shape[0] * scale))
        self.moments = MaskMoments()

    def add(self, foreground: NDArray[np.bool_]) -> None:
        """Add a mask `(H, W)` of any size."""
        image = Image.fromarray(foreground.astype(np.float32))
        self.moments.add(np.asarray(image.resize(self._grid, Image.Resampling.BOX)) > 0.5)


@dataclass(frozen=True)
class ImageFacts:
    """Measurements of one pair."""

    entry: Entry
    group: str
    size: tuple[int, int]  # width, height
    masks: Mapping[str, MaskFacts]
    coverage: float  # all classes together, 0 to 1
    edges: float | None  # agreement of the masks' outlines with the image's edges, where it can be measured
    flat: bool  # every pixel has the same colour
    digest: bytes
    hash: NDArray[np.bool_]
    thumbnail: NDArray[np.uint8]


@dataclass(frozen=True)
class Measurements:
    """All measurements behind the report and its figures."""

    images: tuple[ImageFacts, ...]
    failures: tuple[Problem, ...]
    """Files that could not be used."""
    mask_maps: Mapping[str, MaskMap]
    """The mean mask of each group, by name, in order of appearance."""

    without_edges: Missing | None = None
    """Why the agreement with edges was not measured; None when it was."""

    def group(self, name: str) -> list[ImageFacts]:
        return [image for image in self.images if image.group == name]


def measure(folder: DatasetFolder, on_progress: ProgressCallback = ignore) -> Measurements:
    """Measure every pair; record a broken pair as a failure and continue."""
    images: list[ImageFacts] = []
    failures: list[Problem] = []
    maps: dict[str, MaskMap] = {}
    no_edges = edges.missing()
    for number, entry in enumerate(folder.entries, start=1):
        facts = _measure_pair(folder, entry, maps, failures, with_edges=no_edges is None)
        if facts is not None:
            images.append(facts)
        on_progress(Progress(number, len(folder.entries)))
    without_edges = None if no_edges is None else Missing.of("agreement with edges", no_edges)
    return Measurements(tuple(images), tuple(failures), maps, without_edges)


def _measure_pair(
    folder: DatasetFolder,
    entry: Entry,
    maps: dict[str, MaskMap],
    failures: list[Problem],
    *,
    with_edges: bool,
) -> ImageFacts | None:
    try:
        pixels, readings = folder.read_pair(entry)
    except UnusablePairError as error:
        failures.append(error.problem)
        return None
    masks = {label: mask_facts(reading) for label, reading in readings.items()}
    marked = [mask_statistics.foreground(reading.mask) for reading in readings.values()]
    foreground = np.logical_or.reduce(marked)
    group = entry.generator or WHOLE
    maps.setdefault(group, MaskMap(pixels.shape[:2])).add(foreground)
    return ImageFacts(
        entry,
        group,
        (pixels.shape[1], pixels.shape[0]),
        masks,
        float(foreground.mean()),
        edges.edge_agreement(pixels, marked) if with_edges else None,
        bool((pixels == pixels[0, 0]).all()),
        pixel_digest(pixels),
        difference_hash(pixels),
        thumbnail(pixels),
    )
