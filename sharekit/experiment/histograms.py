"""True-pixel histograms of the masks that were trained on, real against synthetic (the paper's Figure 10)."""

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
    """Masks by the share of true pixels, in 5 % bins. Law: `from_json(to_json(x)) == x`."""

    images: int | None
    """R, as in an arm."""
    real: tuple[int, ...]
    synthetic: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Histogram:
        return Histogram(value["images"], tuple(value["real"]), tuple(value["synthetic"]))


def histograms(cells: Sequence[Cell], store: Store) -> tuple[Histogram, ...]:
    """For every R the masks of all data sets, each counted once, that finished cells were trained on.

    An R of which somebody removed a data set to make room is left out.
    """
    folders: dict[int | None, tuple[dict[str, Path], dict[str, Path]]] = {}
    for cell in cells:
        real, synthetic = folders.setdefault(cell.arm.images, ({}, {}))
        for each in _training_sets(cell.task):
            if isinstance(each, RealImages):
                real[each.digest] = store.path(each)
            else:
                # Style leaves masks as they are.
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
    """Of every mask of a data-set folder; its path holds its content's digest, so that it is read once."""
    paths = (path for path in list_files(folder).files if path.startswith(f"{MASKS}/") and is_picture(path))
    return tuple(_coverage(folder, path) for path in paths)


def _coverage(folder: Path, path: str) -> float:
    reading = read_mask(decode(read_file(folder, path), folder / path))
    if reading.kind not in USABLE:
        raise reading.refusal(folder / path)
    return coverage(reading.mask)
