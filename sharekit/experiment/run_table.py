"""Runs a table cell by cell, and writes the results and the page after each cell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from sharekit.errors import SharekitError
from sharekit.experiment.cells import Machine, Outcome, Runner, Store, run_cells
from sharekit.experiment.document import Failure, FoldCounts, Table, cells_csv, rows_csv
from sharekit.experiment.experiment_page import render
from sharekit.experiment.experiment_settings import TableSettings
from sharekit.experiment.fair_plan import NAME as FAIR
from sharekit.experiment.fair_plan import segmenter_of
from sharekit.experiment.fold_generators import FoldGenerators
from sharekit.experiment.folds import Split
from sharekit.experiment.histograms import histograms
from sharekit.experiment.registration import SUFFIX
from sharekit.experiment.stages import Cell, Impossible, Plan
from sharekit.experiment.tables import Observation
from sharekit.storage import files

TABLES = ("table1", "table2")
PAGE = "experiment.html"


def run_table(
    name: str,
    settings: TableSettings,
    split: Split,
    generators: Sequence[FoldGenerators],
    machine: Machine,
    *,
    keep_segmenters: bool = False,
) -> Iterator[Table]:
    """Run all cells and yield the table's state after each one, once it is written to `OUT`.

    Raises:
        KeyboardInterrupt: after SIGINT, once every command has ended.
    """
    plan = Plan(settings, split, generators)
    planned = plan.table1() if name == "table1" else plan.table2()
    cells = [each for each in planned if isinstance(each, Cell)]
    failures = [
        Failure(each.arm.name, each.arm.images, each.held, each.seed, each.reason)
        for each in planned
        if isinstance(each, Impossible)
    ]
    out = settings.generators.out
    store = Store(out, split.root)
    runner = Runner(store, machine, keep_segmenters=keep_segmenters)
    results: dict[int, Outcome] = {}

    def table() -> Table:
        # Keep the order of the plan, whichever cell was done first.
        done = [cell for cell in cells if id(cell) in results and results[id(cell)].error is None]
        return Table(
            name,
            settings.to_json(),
            _described(split, generators),
            len(planned),
            tuple(Observation.of(cell, results[id(cell)].result) for cell in done),
            tuple(failures),
            histograms(done, store),
        )

    yield _written(table(), out)
    for outcome in run_cells(cells, runner, settings.workers):
        results[id(outcome.cell)] = outcome
        if outcome.error is not None:
            failures.append(_failed(outcome.cell, outcome.error))
        yield _written(table(), out)


def _failed(cell: Cell, error: SharekitError) -> Failure:
    return Failure(cell.arm.name, cell.arm.images, cell.held, cell.seed, str(error))


def _described(split: Split, generators: Sequence[FoldGenerators]) -> dict[str, FoldCounts]:
    return {
        fold.label: FoldCounts(len(split.folds[fold.label]), len(fold.pictures), len(fold.generators))
        for fold in generators
    }


def write_table(table: Table, out: Path) -> None:
    """Write a table's JSON and CSV, and the page with all tables in `out`."""
    out.mkdir(parents=True, exist_ok=True)
    files.write_json(out / f"{table.name}.json", table.to_json())
    files.write_text(out / f"{table.name}.csv", rows_csv(table.rows))
    files.write_text(out / f"{table.name}-cells.csv", cells_csv(table.cells))
    tables = [table if name == table.name else read_table_file(out / f"{name}.json") for name in _names(out)]
    files.write_text(out / PAGE, render([each for each in tables if each is not None]))


def _names(out: Path) -> list[str]:
    """The tables in `out`: the comparisons first, one for each segmenter."""
    fair = (path.stem for path in out.glob(f"{FAIR}*.json") if not path.name.endswith(SUFFIX))
    return [*sorted(name for name in fair if segmenter_of(name) is not None), *TABLES]


def read_table_file(path: Path) -> Table | None:
    """Read a table that was written; None if it is not there yet.

    Raises:
        InputError: the file has another form.
    """
    if not path.exists():
        return None
    return Table.from_json(files.parse_json(files.read_bytes(path, max_bytes=files.MAX_JSON_BYTES), path))


def _written(table: Table, out: Path) -> Table:
    write_table(table, out)
    return table
