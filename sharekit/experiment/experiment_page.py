"""The experiments' page: the answer, then figures and tables, in the frame that all pages share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from sharekit.experiment import paper_figures as plots
from sharekit.experiment import published
from sharekit.experiment.answer import Answer, answer, percent, signed
from sharekit.experiment.document import Failure, FoldCounts, Table
from sharekit.experiment.fair_plan import segmenter_of
from sharekit.experiment.fair_section import FairSection, fair_section
from sharekit.experiment.tables import IOU, Row
from sharekit.intervals import Interval
from sharekit.page.mood import Mood
from sharekit.page.shell import Embedded, Order, orders
from sharekit.page.shell import render as render_page
from sharekit.segmenter.metrics import Metric

TITLES = {
    "table1": "Real against synthetic data",
    "table2": "Few real images: real, synthetic, or both",
}
_ABOUT = {
    "table1": "FAKE-N: N synthetic images of every generator; the two numbers behind it are the weights of "
    "content and style of those that were styled. Generators and validation images never share a fold.",
    "table2": "R real images, synthetic images of the generators of these R alone, and both together, with "
    "the same number of updates for every arm. Each seed chooses its own R images. Each arm is judged by one "
    "figure, the mean of its differences over the R; each R alone is listed, without a verdict.",
}
_METRICS = {
    Metric.DICE_LOSS: "Dice loss",
    Metric.IOU: "IoU",
    Metric.F_SCORE: "F-score",
    Metric.ACCURACY: "Accuracy",
    Metric.RECALL: "Recall",
    Metric.PRECISION: "Precision",
}
AS_PLANNED = "as planned"


@dataclass(frozen=True)
class Line:
    """One row of a table, formatted for the page."""

    row: Row
    scores: tuple[Interval, ...]  # scores of the best weights, in the order of `ExperimentPage.metrics`
    last_iou: Interval
    share: str  # share of the real arm's IoU
    difference: str  # from the real arm's IoU
    starts_group: bool  # the first row with its R


@dataclass(frozen=True)
class TableSection:
    """What the page says about one table."""

    name: str
    title: str
    about: str
    progress: str
    mood: Mood
    answer: Answer
    by_images: bool  # whether the table has a column for R
    iou: Embedded | None
    lines: tuple[Order[Line], ...]
    histograms: Embedded | None
    failures: tuple[Failure, ...]
    folds: tuple[tuple[str, FoldCounts], ...]
    settings: str  # JSON
    fair: ClassVar[bool] = False


@dataclass(frozen=True)
class ExperimentPage:
    """The content of the page. It neither names nor shows an image."""

    tables: tuple[TableSection | FairSection, ...]
    citation: str = published.CITATION
    metrics: ClassVar[tuple[str, ...]] = tuple(_METRICS.values())
    as_planned: ClassVar[str] = AS_PLANNED

    @property
    def contents(self) -> tuple[tuple[str, str], ...]:
        """Anchor and title of each section."""
        return (*((table.name, table.title) for table in self.tables), ("reading", "How to read this"))


def render(tables: Sequence[Table]) -> str:
    """Render the page with the given tables as HTML text."""
    page = ExperimentPage(tuple(map(_section, tables)))
    return render_page("sharekit.experiment", "experiment.html", page)


def _section(table: Table) -> TableSection | FairSection:
    if segmenter_of(table.name) is not None:
        return fair_section(table, _progress(table))
    found, rows = answer(table.name, table.cells), table.rows
    return TableSection(
        table.name,
        TITLES[table.name],
        _ABOUT[table.name],
        _progress(table),
        found.mood if not table.waiting else Mood.WARN,
        found,
        any(row.images is not None for row in rows),
        _iou(table, rows),
        _lines(rows),
        _histograms(table),
        table.failures,
        tuple(table.folds.items()),
        json.dumps(table.settings, indent=2, ensure_ascii=False),
    )


def _progress(table: Table) -> str:
    done = f"{len(table.cells)} of {table.expected} cells are done"
    if table.failures:
        done += f", {len(table.failures)} failed"
    return done + (": what is said here is of a part" if table.waiting else "")


def _iou(table: Table, rows: Sequence[Row]) -> Embedded | None:
    if not rows:
        return None
    draw = plots.iou_by_arm if table.name == "table1" else plots.iou_by_real_images
    return Embedded.svg(draw(rows, table.cells), f"{TITLES[table.name]}: IoU on the held-out fold, by arm")


def _histograms(table: Table) -> Embedded | None:
    if not table.histograms:
        return None
    drawn = plots.true_pixels(table.histograms)
    return Embedded.svg(drawn, f"{TITLES[table.name]}: histograms of true pixels, real against synthetic")


def _lines(rows: Sequence[Row]) -> tuple[Order[Line], ...]:
    if not rows:
        return ()
    before = [None, *(row.images for row in rows)]
    lines = [
        Line(
            row,
            tuple(row.best[name] for name in _METRICS),
            row.last[IOU],
            "" if row.ratio is None else percent(row.ratio),
            "" if row.difference is None else signed(row.difference),
            row.images != last,
        )
        for row, last in zip(rows, before, strict=False)
    ]
    places = {id(line): place for place, line in enumerate(lines)}
    return orders(
        lines,
        {
            AS_PLANNED: lambda line: places[id(line)],
            "IoU, best first": lambda line: -line.row.best[IOU].mean,
            "gain over real alone, most first": lambda line: (
                None if line.row.difference is None else -line.row.difference.mean
            ),
        },
    )
