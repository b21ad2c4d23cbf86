"""From finished cells to rows: means with intervals over folds and seeds, and paired comparisons.

Cells of one fold share their images, so that a bootstrap over all cells as if they were independent would be
too sure of itself: folds are drawn first, then seeds within each drawn fold (the nested bootstrap of Davison
and Hinkley, Bootstrap Methods and their Application, 1997, section 3.8). With one fold the interval is over
seeds alone. With three of each it is a rough one, and the number of cells stands beside it.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharekit.experiment import published
from sharekit.experiment.stages import Cell
from sharekit.intervals import DRAWS, LEVEL, Interval
from sharekit.segmentation_metrics import METRICS

REAL = "real"
"""The arm that the others are compared with, of the same R, fold and seed."""
IOU = "iou"


@dataclass(frozen=True)
class Observation:
    """A finished cell. Law: `from_json(to_json(x)) == x`."""

    table: str
    arm: str
    images: int | None
    """R; None where all real images are trained on."""
    held: str
    seed: int
    real_images: int
    synthetic_images: int
    key: str
    best: Mapping[str, float]
    """Scores on the fold that is held out, of the weights with the best IoU there: the paper's rule."""
    last: Mapping[str, float]
    """Scores of the last weights, which that fold did not choose."""

    @staticmethod
    def of(cell: Cell, result: Mapping[str, Any]) -> Observation:
        """From what `consumer train` printed."""
        best, last = (
            {name: float(result[which]["metrics"][name]["mean"]) for name in METRICS}
            for which in ("best", "last")
        )
        return Observation(
            cell.table,
            cell.arm.name,
            cell.arm.images,
            cell.held,
            cell.seed,
            cell.real_images,
            cell.synthetic_images,
            cell.task.key,
            best,
            last,
        )

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Observation:
        return Observation(**value)


@dataclass(frozen=True)
class Row:
    """An arm over all of its finished cells. Law: `from_json(to_json(x)) == x`."""

    arm: str
    images: int | None
    cells: int
    real_images: float  # mean over cells
    synthetic_images: float
    best: Mapping[str, Interval]
    last: Mapping[str, Interval]
    pairs: int
    """Cells whose fold and seed the real arm has, too."""
    ratio: Interval | None
    """Mean best IoU / that of the real arm, over the pairs; None for the real arm and without a pair."""
    difference: Interval | None
    """Mean of best IoU - that of the real arm, over the pairs."""
    last_difference: Interval | None
    """The same of the last weights."""
    paper: float | None
    """The published IoU, where it is known."""

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Row:
        def interval(name: str) -> Interval | None:
            return None if value[name] is None else Interval.from_json(value[name])

        scores = {
            which: {name: Interval.from_json(each) for name, each in value[which].items()}
            for which in ("best", "last")
        }
        compared = {name: interval(name) for name in ("ratio", "difference", "last_difference")}
        return Row(**{**value, **scores, **compared})


def summarise(table: str, observations: Iterable[Observation]) -> tuple[Row, ...]:
    """A row for every arm and R that has a cell, in the order of their first cells."""
    groups: dict[tuple[str, int | None], list[Observation]] = defaultdict(list)
    for each in observations:
        groups[each.arm, each.images].append(each)
    return tuple(
        _row(table, arm, images, cells, groups.get((REAL, images), ()))
        for (arm, images), cells in groups.items()
    )


def _row(
    table: str,
    arm: str,
    images: int | None,
    cells: Sequence[Observation],
    real: Sequence[Observation],
) -> Row:
    weights = nested_weights([cell.held for cell in cells])
    scores = {
        which: _means(weights, [[getattr(cell, which)[name] for name in METRICS] for cell in cells])
        for which in ("best", "last")
    }
    beside = {(cell.held, cell.seed): cell for cell in real}
    pairs = [(cell, beside[cell.held, cell.seed]) for cell in cells if (cell.held, cell.seed) in beside]
    ratio = difference = last_difference = None
    if arm != REAL and pairs:
        ratio, difference, last_difference = _compared(pairs)
    return Row(
        arm,
        images,
        len(cells),
        float(np.mean([cell.real_images for cell in cells])),
        float(np.mean([cell.synthetic_images for cell in cells])),
        scores["best"],
        scores["last"],
        0 if arm == REAL else len(pairs),
        ratio,
        difference,
        last_difference,
        published.IOU.get((table, arm, images)),
    )


def _means(weights: NDArray[np.float64], values: Sequence[Sequence[float]]) -> dict[str, Interval]:
    """An interval for every metric of `(cells, metrics)`."""
    array = np.asarray(values, np.float64)
    drawn = weights @ array
    return {
        name: _interval(float(array[:, column].mean()), drawn[:, column], len(array))
        for column, name in enumerate(METRICS)
    }


def _compared(
    pairs: Sequence[tuple[Observation, Observation]],
) -> tuple[Interval, Interval, Interval]:
    """Ratio and difference of best IoU, and difference of last IoU."""
    weights = nested_weights([cell.held for cell, _ in pairs])
    best = np.array([[cell.best[IOU], real.best[IOU]] for cell, real in pairs])
    last = np.array([cell.last[IOU] - real.last[IOU] for cell, real in pairs])
    # A segmenter that found nothing at all has IoU 0, of which there is no ratio.
    least = np.finfo(np.float64).tiny
    mean, drawn = best.mean(axis=0), weights @ best
    ratio = _interval(
        float(mean[0] / max(mean[1], least)), drawn[:, 0] / np.maximum(drawn[:, 1], least), len(pairs)
    )
    difference = _interval(float(mean[0] - mean[1]), drawn[:, 0] - drawn[:, 1], len(pairs))
    return ratio, difference, _interval(float(last.mean()), weights @ last, len(pairs))


def nested_weights(folds: Sequence[str], *, seed: int = 0, draws: int = DRAWS) -> NDArray[np.float64]:
    """How much every cell weighs in each resample: `(draws, cells)`, rows of sum 1.

    As many folds as there are, are drawn with replacement, and in every drawn fold as many of its cells as
    there are.

    Args:
        folds: of every cell.
    """
    rng = np.random.default_rng(seed)
    labels, fold_of, sizes = np.unique(folds, return_inverse=True, return_counts=True)
    drawn = rng.multinomial(len(labels), np.full(len(labels), 1 / len(labels)), size=draws)
    counts = np.zeros((draws, len(folds)))
    for number, size in enumerate(sizes):
        counts[:, fold_of == number] = rng.multinomial(drawn[:, number] * size, np.full(size, 1 / size))
    return counts / counts.sum(axis=1, keepdims=True)


def _interval(mean: float, drawn: NDArray[np.float64], count: int) -> Interval:
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(mean, float(low), float(high), count)
