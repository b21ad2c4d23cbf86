"""What the experiments' page says about a fair comparison: every arm in one table, nulls next to wins."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from sharekit.experiment.answer import Answer, signed
from sharekit.experiment.document import Failure, FoldCounts, Table
from sharekit.experiment.fair_answer import fair_answer
from sharekit.experiment.fair_comparisons import (
    CLASSICAL,
    EXTERNAL,
    LAST,
    Comparison,
    Comparisons,
    compare,
    stratum_labels,
)
from sharekit.experiment.fair_plan import FairArm, FairPlan, Role, segmenter_of
from sharekit.experiment.tables import IOU, REAL, Row
from sharekit.intervals import Interval
from sharekit.page.mood import Mood
from sharekit.page.plots import BLUE, INK, MUTED, ORANGE, drawing, label_rows, svg
from sharekit.page.shell import Embedded
from sharekit.program.phrases import counted

TITLE = "Does synthetic data help, compared with what costs nothing?"


@dataclass(frozen=True)
class FairLine:
    """One arm at one R, or over all R, formatted for the page."""

    arm: str
    role: Role
    size: str
    score: Interval | None
    last: Interval | None
    against_real: str
    against_best: str
    """Difference from the best classical arm; then for the last weights, and for every part."""
    against_best_last: str
    against_base: str
    """Difference of a lever from the arm that it changes."""
    parts: tuple[str, ...]
    kind: str
    """What the arm is for, in words, where a line of another kind stands before it; otherwise empty."""
    primary: bool
    """Whether the verdict rests on this arm."""


@dataclass(frozen=True)
class FairGroup:
    """The lines of one R, or of the mean over R."""

    title: str
    best: str
    lines: tuple[FairLine, ...]
    against_best: bool
    """Whether the best that costs nothing is not plain real images, so that a column compares with it."""

    @property
    def scored(self) -> bool:
        """Whether the lines have an IoU: the mean over R has only differences."""
        return any(line.score is not None for line in self.lines)


@dataclass(frozen=True)
class FairSection:
    """The section of the page."""

    name: str
    title: str
    about: str
    progress: str
    mood: Mood
    answer: Answer
    figures: tuple[Embedded, ...]
    base: str
    """Name of the arm that levers change."""
    levers: bool
    parts: tuple[str, ...]
    groups: tuple[FairGroup, ...]
    failures: tuple[Failure, ...]
    folds: tuple[tuple[str, FoldCounts], ...]
    registered: tuple[tuple[str, str], ...]
    plan: str  # JSON
    settings: str  # JSON
    fair: ClassVar[bool] = True


def plan_of(table: Table) -> FairPlan:
    """The plan that the table's registration holds."""
    return FairPlan.from_json(table.settings["registration"]["plan"])


def fair_section(table: Table, progress: str) -> FairSection:
    """Format a table for the page."""
    plan, cells = plan_of(table), table.cells
    found, answer = compare(plan, cells), fair_answer(plan, cells)
    used = {each.part for each in found.found}
    parts = tuple(part for part in (*stratum_labels(plan.strata), EXTERNAL) if part in used)
    registration = table.settings["registration"]
    return FairSection(
        table.name,
        f"{TITLE} Segmenter: {segmenter}" if (segmenter := segmenter_of(table.name)) else TITLE,
        plan.question,
        progress,
        Mood.WARN if table.waiting else answer.mood,
        answer,
        tuple(_figures(plan, found)),
        "" if plan.base is None else plan.base.name,
        bool(plan.base and plan.of(Role.LEVER)),
        parts,
        tuple(_groups(plan, found, table.rows, parts)),
        table.failures,
        tuple(table.folds.items()),
        (
            ("registered", registration["registered"]),
            ("SHA-256 of the plan's file", registration["plan_sha256"]),
            ("SHA-256 of the plan and all other choices", registration["sha256"]),
            ("primary comparison", f"{plan.primary.arm} against the best classical arm, IoU, mean over R"),
            ("draws of the real images, seeds of each", f"{plan.draws}, {plan.seeds}"),
            *(("left out", rule) for rule in plan.exclusions),
        ),
        json.dumps(plan.to_json(), indent=2, ensure_ascii=False),
        json.dumps(
            {name: value for name, value in table.settings.items() if name != "registration"},
            indent=2,
            ensure_ascii=False,
        ),
    )


def _groups(
    plan: FairPlan, found: Comparisons, rows: Sequence[Row], parts: Sequence[str]
) -> Iterator[FairGroup]:
    by_arm = {(row.arm, row.images): row for row in rows}
    several: tuple[int | None, ...] = (None,) if len(plan.real) > 1 else ()
    for images in (*several, *plan.real):
        lines = tuple(_headed(plan, _lines(plan, found, by_arm, images, parts)))
        best = found.best.get(images) if images is not None else None
        name = "" if best is None else f"Best of what costs nothing, by the validation images: {best.name}."
        if lines:
            title = "Mean over R" if images is None else f"R = {images} real images"
            chosen = found.best.values() if best is None else [best]
            yield FairGroup(title, name, lines, any(each.name != REAL for each in chosen))


def _headed(plan: FairPlan, lines: Iterator[FairLine]) -> Iterator[FairLine]:
    """The lines by kind, the first of each with the kind's name."""
    kinds = {
        "costs nothing": (Role.CLASSICAL,),
        "the same images repeated: what chance does": (Role.CONTROL,),
        "with synthetic images": (Role.SYNTHETIC, Role.ON_BEST),
        f"levers: {'' if plan.base is None else plan.base.name} with one change": (Role.LEVER,),
    }
    every = list(lines)
    for kind, roles in kinds.items():
        ours = [line for line in every if line.role in roles]
        yield from (replace(line, kind=kind if place == 0 else "") for place, line in enumerate(ours))


def _lines(
    plan: FairPlan,
    found: Comparisons,
    rows: dict[tuple[str, int | None], Row],
    images: int | None,
    parts: Sequence[str],
) -> Iterator[FairLine]:
    for arm in plan.arms:
        row = rows.get((arm.name, images))
        against_real, against_best = (found.get(arm.name, images, of) for of in (REAL, CLASSICAL))
        if row is None and against_real is None and against_best is None:
            continue
        yield FairLine(
            arm.name,
            arm.role,
            "" if row is None else _size(row),
            None if row is None else row.best[IOU],
            None if row is None else row.last[IOU],
            _signed(against_real),
            _signed(against_best),
            _signed(found.get(arm.name, images, CLASSICAL, LAST)),
            _signed(None if plan.base is None else found.get(arm.name, images, plan.base.name)),
            tuple(_signed(found.get(arm.name, images, CLASSICAL, part)) for part in parts),
            "",
            arm.name == plan.primary.arm,
        )


def _size(row: Row) -> str:
    return f"{row.real_images:.0f} + {row.synthetic_images:.0f} images, {counted(row.cells, 'cell')}"


def _signed(found: Comparison | None) -> str:
    return "" if found is None else signed(found.difference)


_COLOURS = {
    MUTED: ("costs nothing", (Role.CLASSICAL, Role.CONTROL)),
    BLUE: ("with synthetic images", (Role.SYNTHETIC, Role.ON_BEST)),
    ORANGE: ("a lever: one change", (Role.LEVER,)),
}


def _figures(plan: FairPlan, found: Comparisons) -> Iterator[Embedded]:
    """Every arm against real images alone, over all R."""
    shown = [
        (arm, each.difference) for arm in plan.arms if (each := found.get(arm.name, None, REAL)) is not None
    ]
    if shown:
        yield Embedded.svg(_drawn(plan, shown), f"{TITLE} Difference of IoU from real images alone, by arm.")


def _drawn(plan: FairPlan, shown: Sequence[tuple[FairArm, Interval]]) -> bytes:
    """A row for each arm: a dot with its interval."""
    with drawing(0.9 + 0.28 * len(shown)) as figure:
        axes = figure.add_subplot()
        axes.axvline(0, color=MUTED, linewidth=0.8)
        for place, (arm, difference) in enumerate(shown):
            if arm.name == plan.primary.arm:
                axes.axhspan(place - 0.5, place + 0.5, color=MUTED, alpha=0.12, linewidth=0)
            colour = next(colour for colour, (_, roles) in _COLOURS.items() if arm.role in roles)
            axes.plot([difference.low, difference.high], [place, place], color=colour, linewidth=1.4)
            axes.plot(difference.mean, place, "o", color=colour, markersize=4)
        for colour, (label, _) in _COLOURS.items():
            axes.plot([], [], "o-", color=colour, markersize=4, label=label)
        label_rows(axes, [arm.name for arm, _ in shown])
        axes.tick_params(axis="y", labelcolor=INK)
        axes.set_xlabel("IoU less that of real images alone, mean over R, with its 95 % interval")
        axes.grid(axis="x")
        figure.legend(loc="outside upper right", ncols=3)
        return svg(figure)
