"""Summarises finished cells as rows: means with intervals over folds and seeds, and paired comparisons.

Cells of one fold share their images, so intervals that treat all cells as independent would be too narrow.
The intervals of scores and ratios are nested bootstraps: folds are drawn first, then seeds within each drawn
fold (Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 3.8). With three of each
they are rough, so the tables also show the number of cells.

Verdicts rest on paired differences, whose intervals must not be too narrow. They are Student's t intervals
over independent units: the held-out folds if there are at least two, otherwise the draws of real images, or
the seeds if there is one draw.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharekit.experiment import published
from sharekit.experiment.stages import Cell
from sharekit.intervals import DRAWS, LEVEL, Interval, middle, student_mean
from sharekit.segmenter.metrics import METRICS, Metric

REAL = "real"
"""The arm to which others with the same R, fold and seed are compared."""
IOU = Metric.IOU

Where = tuple[str, int, int]
"""The fold that is held out, the draw of real images, and the seed."""


@dataclass(frozen=True)
class Observation:
    """A finished cell. Law: `from_json(to_json(x)) == x`."""

    table: str
    arm: str
    images: int | None
    """R; None if the arm trains on all real images."""
    held: str
    seed: int
    real_images: int
    synthetic_images: int
    key: str
    best: Mapping[Metric, float]
    """Scores of the weights with the best IoU on the held-out fold, on that fold: the paper's rule."""
    last: Mapping[Metric, float]
    """Scores of the last weights on the same fold, which did not choose them."""
    draw: int = 0
    """Number of the draw of real images, where draws and seeds are counted apart."""
    validation: float | None = None
    """IoU of the best weights on the images that chose them, where those are not the scored ones."""
    parts: Mapping[str, float] = field(default_factory=dict)
    """IoU of the best weights on a part of the scored images, or on other images."""

    @property
    def where(self) -> Where:
        return self.held, self.draw, self.seed

    @staticmethod
    def of(cell: Cell, result: Mapping[str, Any]) -> Observation:
        """Read the scores in the output of `consumer train`, or those of one of its test sets."""
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
        best, last = (
            {Metric(name): float(score) for name, score in value[which].items()} for which in ("best", "last")
        )
        return Observation(**{**value, "best": best, "last": last})


@dataclass(frozen=True)
class Row:
    """The summary of an arm's finished cells. Law: `from_json(to_json(x)) == x`."""

    arm: str
    images: int | None
    cells: int
    real_images: float  # mean over cells
    synthetic_images: float
    best: Mapping[Metric, Interval]
    last: Mapping[Metric, Interval]
    pairs: int
    """Number of cells for whose fold and seed the real arm has a cell too."""
    ratio: Interval | None
    """Mean best IoU / that of the real arm, over the pairs; None for the real arm, without pairs, or if the
    real arm's IoU is too close to 0."""
    difference: Interval | None
    """Mean of best IoU minus that of the real arm, over `count` folds, draws or seeds; see `paired`."""
    last_difference: Interval | None
    """The same difference for the last weights."""
    paper: float | None
    """The published IoU, if known."""

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Row:
        def interval(name: str) -> Interval | None:
            return None if value[name] is None else Interval.from_json(value[name])

        scores = {
            which: {Metric(name): Interval.from_json(each) for name, each in value[which].items()}
            for which in ("best", "last")
        }
        compared = {name: interval(name) for name in ("ratio", "difference", "last_difference")}
        return Row(**{**value, **scores, **compared})


def summarise(table: str, observations: Iterable[Observation]) -> tuple[Row, ...]:
    """Make a row for each arm and R with a cell, in the order of their first cells."""
    groups = _grouped(observations)
    return tuple(
        _row(table, arm, images, cells, groups.get((REAL, images), ()))
        for (arm, images), cells in groups.items()
    )


@dataclass(frozen=True)
class Overall:
    """One figure that compares an arm with the real one over several R."""

    images: tuple[int | None, ...]
    """The R with the most pairs, over which the mean is taken."""
    pairs: int
    """Number of pairs for each of these R."""
    difference: Interval
    """Mean of best IoU minus that of the real arm."""


def overall(arm: str, observations: Iterable[Observation]) -> Overall | None:
    """Average the differences from the real arm over R; None if there is no pair."""
    groups = _grouped(observations)
    return averaged(
        {
            images: _differences(_pairs(cells, groups.get((REAL, images), ())), "best")
            for (name, images), cells in groups.items()
            if name == arm
        }
    )


def averaged(differences: Mapping[int | None, Mapping[Where, float]]) -> Overall | None:
    """Average paired differences over R; None if there is no pair.

    Args:
        differences: R to the difference of every pair.
    """
    most = max(map(len, differences.values()), default=0)
    whole = {images: of for images, of in differences.items() if len(of) == most}
    # Use only pairs that all of these R have, so that every mean is over the same R.
    shared = [where for where in next(iter(whole.values()), ()) if all(where in of for of in whole.values())]
    if not shared:
        return None
    means = {where: float(np.mean([of[where] for of in whole.values()])) for where in shared}
    return Overall(tuple(whole), len(shared), paired(means))


def _grouped(observations: Iterable[Observation]) -> dict[tuple[str, int | None], list[Observation]]:
    """The cells of every arm and R."""
    groups: dict[tuple[str, int | None], list[Observation]] = defaultdict(list)
    for each in observations:
        groups[each.arm, each.images].append(each)
    return groups


def _row(
    table: str,
    arm: str,
    images: int | None,
    cells: Sequence[Observation],
    real: Sequence[Observation],
) -> Row:
    weights = nested_weights(_clusters(cells))
    scores = {
        which: _means(weights, [[getattr(cell, which)[name] for name in METRICS] for cell in cells])
        for which in ("best", "last")
    }
    pairs = [] if arm == REAL else _pairs(cells, real)
    return Row(
        arm,
        images,
        len(cells),
        float(np.mean([cell.real_images for cell in cells])),
        float(np.mean([cell.synthetic_images for cell in cells])),
        scores["best"],
        scores["last"],
        len(pairs),
        _ratio(pairs) if pairs else None,
        paired(_differences(pairs, "best")) if pairs else None,
        paired(_differences(pairs, "last")) if pairs else None,
        published.IOU.get((table, arm, images)),
    )


def _means(weights: NDArray[np.float64], values: Sequence[Sequence[float]]) -> dict[Metric, Interval]:
    """The interval of each metric, from values `(cells, metrics)`."""
    array = np.asarray(values, np.float64)
    drawn = weights @ array
    return {
        name: middle(float(array[:, column].mean()), drawn[:, column], len(array))
        for column, name in enumerate(METRICS)
    }


def _pairs(
    cells: Iterable[Observation], real: Iterable[Observation]
) -> list[tuple[Observation, Observation]]:
    """Pair each cell with the real cell of the same fold, draw and seed, if it exists."""
    beside = {cell.where: cell for cell in real}
    return [(cell, beside[cell.where]) for cell in cells if cell.where in beside]


def _differences(pairs: Iterable[tuple[Observation, Observation]], which: str) -> dict[Where, float]:
    """IoU minus that of the real cell, for the `best` or the `last` weights."""
    return {cell.where: getattr(cell, which)[IOU] - getattr(real, which)[IOU] for cell, real in pairs}


def paired(differences: Mapping[Where, float]) -> Interval:
    """Student's interval over independent units: the means of the folds, or of the draws of a single fold, or
    the seeds of a single draw.

    Raises:
        ValueError: there is no difference.
    """
    for depth in range(1, 4):
        units: dict[tuple[object, ...], list[float]] = defaultdict(list)
        for where, difference in differences.items():
            units[where[:depth]].append(difference)
        if len(units) > 1:
            break
    return student_mean([float(np.mean(of)) for of in units.values()])


def _clusters(cells: Sequence[Observation]) -> list[str]:
    """What the bootstrap draws first: the fold of each cell, or its draw if all have one fold."""
    folds = [cell.held for cell in cells]
    return folds if len(set(folds)) > 1 else [str(cell.draw) for cell in cells]


def _ratio(pairs: Sequence[tuple[Observation, Observation]]) -> Interval | None:
    """Mean best IoU divided by that of the real cells.

    A segmenter that finds nothing has IoU 0, which cannot be a divisor. So the ratio is None if the real
    cells' mean is 0 in more resamples than the interval omits at one end.
    """
    best = np.array([[cell.best[IOU], real.best[IOU]] for cell, real in pairs])
    drawn = nested_weights(_clusters([cell for cell, _ in pairs])) @ best
    some = drawn[:, 1] > 0
    if np.mean(~some) > (1 - LEVEL) / 2:
        return None
    ours, reals = best.mean(axis=0)
    return middle(float(ours / reals), drawn[some, 0] / drawn[some, 1], len(pairs))


def nested_weights(folds: Sequence[str], *, seed: int = 0, draws: int = DRAWS) -> NDArray[np.float64]:
    """The weight of each cell in each resample: `(draws, cells)`; each row sums to 1.

    Each resample draws as many folds as given, with replacement, and then as many cells of each as it has.

    Args:
        folds: the fold of each cell.
    """
    rng = np.random.default_rng(seed)
    labels, fold_of, sizes = np.unique(folds, return_inverse=True, return_counts=True)
    drawn = rng.multinomial(len(labels), np.full(len(labels), 1 / len(labels)), size=draws)
    counts = np.zeros((draws, len(folds)))
    for number, size in enumerate(sizes):
        counts[:, fold_of == number] = rng.multinomial(drawn[:, number] * size, np.full(size, 1 / size))
    return counts / counts.sum(axis=1, keepdims=True)
