"""Compares the arms of a fair comparison in pairs: with real images alone, with the best classical arm, and
each lever with the arm that it changes.

Paired means: the same held-out fold, the same draw of real and validation images, the same seed.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from sharekit.experiment.document import csv_text
from sharekit.experiment.fair_plan import FairArm, FairPlan, Role
from sharekit.experiment.stages import Cell
from sharekit.experiment.tables import IOU, REAL, Observation, Where, averaged, paired
from sharekit.intervals import Interval

CLASSICAL = Role.CLASSICAL.value
"""Names the best classical arm of each R, as something to compare with."""
BEST, LAST = "best weights", "last weights"
EXTERNAL = "external"

Value = Callable[[Observation], float | None]


def observe(cell: Cell, result: Mapping[str, Any], strata: Sequence[float]) -> Observation:
    """Read the output of `consumer train --test FOLD [--test EXTERNAL]`."""
    fold, *others = result["tests"]
    parts = {label: value for label, value in _by_size(fold, strata) if value is not None}
    if others:
        parts[EXTERNAL] = float(others[0]["best"]["metrics"][IOU]["mean"])
    return dataclasses.replace(
        Observation.of(cell, fold),
        draw=cell.draw,
        validation=float(result["best"]["metrics"][IOU]["mean"]),
        parts=parts,
    )


def stratum_labels(strata: Sequence[float]) -> tuple[str, ...]:
    """The names of the parts between and around the borders, from small to large lesions."""
    if not strata:
        return ()
    shares = [f"{100 * share:g}" for share in strata]
    between = (f"{low} to {high} %" for low, high in pairwise(shares))
    return (f"below {shares[0]} %", *between, f"from {shares[-1]} %")


def _by_size(fold: Mapping[str, Any], strata: Sequence[float]) -> Iterator[tuple[str, float | None]]:
    """The mean IoU of the images of each stratum; None for a stratum without images."""
    places = np.searchsorted(strata, fold["foreground"], side="right")
    scores = np.asarray(fold["best_iou"])
    for place, label in enumerate(stratum_labels(strata)):
        chosen = scores[places == place]
        yield label, float(chosen.mean()) if len(chosen) else None


@dataclass(frozen=True)
class Comparison:
    """One arm against another one at one R, or over all R."""

    arm: str
    images: int | None
    """R; None for the mean over the R."""
    against: str
    """`real`, `classical` for the best classical arm, or the name of the arm that a lever changes."""
    part: str
    """`best weights`, `last weights`, a stratum of lesion sizes, or `external`."""
    pairs: int
    """Pairs of cells for each R."""
    difference: Interval
    """IoU minus that of the other arm."""


@dataclass(frozen=True)
class Comparisons:
    """All comparisons that the finished cells allow."""

    best: Mapping[int, FairArm]
    """R to the best classical arm, chosen by the validation images."""
    found: tuple[Comparison, ...]

    def get(self, arm: str, images: int | None, against: str, part: str = BEST) -> Comparison | None:
        wanted = (arm, images, against, part)
        return next(
            (each for each in self.found if (each.arm, each.images, each.against, each.part) == wanted), None
        )


def best_classical(plan: FairPlan, cells: Iterable[Observation]) -> dict[int, FairArm]:
    """For each R, the classical arm with the highest mean IoU on the validation images; pure.

    The mean is over the draws and seeds that all classical arms have.
    """
    scores: dict[int, dict[str, dict[Where, float]]] = defaultdict(lambda: defaultdict(dict))
    for cell in cells:
        if cell.images is not None and cell.validation is not None:
            scores[cell.images][cell.arm][cell.where] = cell.validation
    found = {}
    for images, by_arm in scores.items():
        arms = [arm for arm in plan.of(Role.CLASSICAL) if arm.name in by_arm]
        shared = [] if not arms else sorted(set.intersection(*(set(by_arm[arm.name]) for arm in arms)))
        if shared:
            found[images] = max(
                arms, key=lambda arm: float(np.mean([by_arm[arm.name][where] for where in shared]))
            )
    return found


def compare(plan: FairPlan, cells: Sequence[Observation]) -> Comparisons:
    """Compare every arm, at every R and over all of them; pure."""
    best = best_classical(plan, cells)
    references = {
        REAL: [cell for cell in cells if cell.arm == REAL],
        CLASSICAL: [cell for cell in cells if cell.images in best and best[cell.images].name == cell.arm],
    }
    base = "" if plan.base is None else plan.base.name
    changed = {base: [cell for cell in cells if cell.arm == base]}
    found: list[Comparison] = []
    for arm in plan.arms:
        ours = [cell for cell in cells if cell.arm == arm.name]
        others = references | changed if arm.role is Role.LEVER else references
        for against, reference in others.items():
            for part, value in _values(plan).items():
                found += _compared(arm.name, against, part, _differences(ours, reference, value))
    return Comparisons(best, tuple(found))


def _values(plan: FairPlan) -> dict[str, Value]:
    parts: dict[str, Value] = {
        part: lambda cell, part=part: cell.parts.get(part)  # type: ignore[misc]
        for part in (*stratum_labels(plan.strata), EXTERNAL)
    }
    return {BEST: lambda cell: cell.best[IOU], LAST: lambda cell: cell.last[IOU], **parts}


def _differences(
    cells: Iterable[Observation], reference: Iterable[Observation], value: Value
) -> dict[int | None, dict[Where, float]]:
    """R to the differences of all pairs; a cell is never compared with itself."""
    others = {(cell.images, cell.where): cell for cell in reference}
    found: dict[int | None, dict[Where, float]] = defaultdict(dict)
    for cell in cells:
        other = others.get((cell.images, cell.where))
        if other is None or other.arm == cell.arm:
            continue
        ours, theirs = value(cell), value(other)
        if ours is not None and theirs is not None:
            found[cell.images][cell.where] = ours - theirs
    return found


def _compared(
    arm: str, against: str, part: str, differences: Mapping[int | None, Mapping[Where, float]]
) -> Iterator[Comparison]:
    for images, of in differences.items():
        yield Comparison(arm, images, against, part, len(of), paired(of))
    if (mean := averaged(differences)) is not None:
        yield Comparison(arm, None, against, part, mean.pairs, mean.difference)


def comparisons_csv(comparisons: Comparisons) -> str:
    """One line per comparison."""
    header = ["arm", "R", "against", "part", "pairs", "difference", "low", "high", "units"]
    lines = (
        [
            *(each.arm, "mean" if each.images is None else each.images, each.against, each.part, each.pairs),
            *(each.difference.mean, each.difference.low, each.difference.high, each.difference.count),
        ]
        for each in comparisons.found
    )
    return csv_text(header, lines)
