"""True-pixel histograms of the training masks, real against synthetic (the paper's Figure 10)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from sharekit.experiment.cells import Store
from sharekit.experiment.stages import Cell
from sharekit.experiment.tasks import RealImages, Task
from sharekit.pictures.decode import decode
from sharekit.pictures.folder import MASKS, is_picture, list_files, read_file
from sharekit.pictures.mask_statistics import coverage, coverage_histogram
from sharekit.pictures.masks import USABLE, read_mask


@dataclass(frozen=True)
class Histogram:
    """Counts of masks by their share of true pixels, in 5 % bins. Law: `from_json(to_json(x)) == x`."""

    images: int | None
    """R, the number of real images of the arm."""
    real: tuple[int, ...]
    synthetic: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Histogram:
        return Histogram(value["images"], tuple(value["real"]), tuple(value["synthetic"]))


def histograms(cells: Sequence[Cell], store: Store) -> tuple[Histogram, ...]:
    """For each R, count the masks of all data sets that finished cells trained on, each data set once.

    An R is skipped if somebody has deleted one of its data sets to make room.
    """
    folders: dict[int | None, tuple[dict[str, Path], dict[str, Path]]] = {}
    for cell in cells:
        real, synthetic = folders.setdefault(cell.arm.images, ({}, {}))
        for each in _training_sets(cell.task):
            if isinstance(each, RealImages):
                real[each.digest] = store.path(each)
            else:
                # Style transfer does not change masks.
                source = next((one for one in each.inputs if isinstance(one, Task)), each)
                synthetic[source.key] = store.path(source)
    return tuple(
        Histogram(images, _counted(real.values()), _counted(synthetic.values()))
        for images, (real, synthetic) in folders.items()
        if real and synthetic and all(path.is_dir() for path in (*real.values(), *synthetic.values()))
    )


def _training_sets(task: Task) -> list[Task | RealImages]:
    until = task.arguments.index("--validation")
    return [each for each in task.arguments[:until] if isinstance(each, Task | RealImages)]


def _counted(folders: Any) -> tuple[int, ...]:
    values = [value for folder in folders for value in _coverages(folder)]
    return tuple(coverage_histogram(values).tolist())


@cache
def _coverages(folder: Path) -> tuple[float, ...]:
    """Coverage of each mask in a data-set folder. Safe to cache: the path contains the content's digest."""
    paths = (path for path in list_files(folder).files if path.startswith(f"{MASKS}/") and is_picture(path))
    return tuple(_coverage(folder, path) for path in paths)


def _coverage(folder: Path, path: str) -> float:
    reading = read_mask(decode(read_file(folder, path), folder / path))
    if reading.kind not in USABLE:
        raise reading.refusal(folder / path)
    return coverage(reading.mask)
