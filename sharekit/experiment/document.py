"""A table as a document: its cells, rows and histograms as JSON and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sharekit.errors import InputError
from sharekit.experiment.histograms import Histogram
from sharekit.experiment.tables import Observation, Row, summarise
from sharekit.segmenter.metrics import METRICS

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Failure:
    """A cell without a result, and why. Law: `from_json(to_json(x)) == x`."""

    arm: str
    images: int | None
    held: str
    seed: int
    reason: str
    draw: int = 0

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Failure:
        return Failure(**value)


@dataclass(frozen=True)
class FoldCounts:
    """Images of one fold. Law: `from_json(to_json(x)) == x`."""

    images: int
    trained: int  # images that a generator was trained on
    generators: int  # released generators

    def to_json(self) -> dict[str, int]:
        return dict(vars(self))

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> FoldCounts:
        return FoldCounts(**value)


@dataclass(frozen=True)
class Table:
    """The state of a table so far. Law: `from_json(to_json(x)) == x`."""

    name: str
    settings: Mapping[str, Any]
    folds: Mapping[str, FoldCounts]
    """Fold label to its counts."""
    expected: int
    """Number of cells in the finished table."""
    cells: tuple[Observation, ...]
    failures: tuple[Failure, ...]
    histograms: tuple[Histogram, ...]

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        return summarise(self.name, self.cells)

    @property
    def waiting(self) -> int:
        return self.expected - len(self.cells) - len(self.failures)

    def to_json(self) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "name": self.name,
            "settings": dict(self.settings),
            "folds": {label: fold.to_json() for label, fold in self.folds.items()},
            "expected": self.expected,
            "rows": [row.to_json() for row in self.rows],
            "cells": [cell.to_json() for cell in self.cells],
            "failures": [failure.to_json() for failure in self.failures],
            "histograms": [each.to_json() for each in self.histograms],
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Table:
        """Read the output of `to_json`; the rows are computed from the cells.

        Raises:
            InputError: the value has another form.
        """
        try:
            if value["schema_version"] != SCHEMA_VERSION:
                raise ValueError(f"schema version {value['schema_version']}")
            return Table(
                value["name"],
                value["settings"],
                {label: FoldCounts.from_json(fold) for label, fold in value["folds"].items()},
                value["expected"],
                tuple(Observation.from_json(each) for each in value["cells"]),
                tuple(Failure.from_json(each) for each in value["failures"]),
                tuple(Histogram.from_json(each) for each in value["histograms"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                "the table of an experiment",
                expected="what this version of the program writes",
                found=f"{type(error).__name__}: {error}",
                next_step="remove the file and run the experiment again: its cells are kept",
            ) from None


def rows_csv(rows: Sequence[Row]) -> str:
    """One line per row: all metrics of the best and last weights with intervals, and the comparison."""
    intervals = [("best", name) for name in METRICS] + [("last", name) for name in METRICS]
    compared = ("ratio", "difference", "last_difference")

    def line(row: Row) -> list[object]:
        scores = [getattr(row, which)[name] for which, name in intervals]
        values = [*scores, *(getattr(row, name) for name in compared)]
        bounds = [(one.mean, one.low, one.high) if one else ("", "", "") for one in values]
        start = [row.arm, row.images or "", row.cells, row.real_images, row.synthetic_images]
        return [*start, *(number for bound in bounds for number in bound), row.pairs, row.paper or ""]

    names = [f"{which}_{name}" for which, name in intervals] + list(compared)
    header = ["arm", "R", "cells", "real_images", "synthetic_images"]
    header += [f"{name}{suffix}" for name in names for suffix in ("", "_low", "_high")]
    return csv_text([*header, "pairs", "paper_iou"], map(line, rows))


def cells_csv(cells: Sequence[Observation]) -> str:
    """One line per cell, so that anybody can compute other intervals."""
    start = ("arm", "images", "held", "draw", "seed", "real_images", "synthetic_images", "key")
    header = [*start, *(f"{which}_{name}" for which in ("best", "last") for name in METRICS)]
    lines = (
        [
            *("" if getattr(cell, name) is None else getattr(cell, name) for name in start),
            *(scores[name] for scores in (cell.best, cell.last) for name in METRICS),
        ]
        for cell in cells
    )
    return csv_text(header, lines)


def csv_text(header: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    """A CSV table; fractions have six decimals."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([round(item, 6) if isinstance(item, float) else item for item in line] for line in lines)
    return buffer.getvalue()
