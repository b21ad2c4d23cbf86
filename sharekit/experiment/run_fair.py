"""Runs a fair comparison: first what costs nothing, then the generators, then what is synthetic."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sharekit.errors import SharekitError
from sharekit.experiment.cells import Machine, Outcome, Runner, Store, run_cells
from sharekit.experiment.document import Failure, FoldCounts, Table
from sharekit.experiment.experiment_settings import TableSettings
from sharekit.experiment.fair_comparisons import best_classical, compare, comparisons_csv, observe
from sharekit.experiment.fair_plan import NAME, FairPlan, PlanFile, Role
from sharekit.experiment.fair_stages import FairStages, Generators, Planned, trained_folds
from sharekit.experiment.fold_generators import FoldGenerators, Sources
from sharekit.experiment.folds import Split, refuse_shared
from sharekit.experiment.histograms import histograms
from sharekit.experiment.picture_pool import digest_of, read_pictures
from sharekit.experiment.registration import Registration, register
from sharekit.experiment.run_table import read_table_file, write_table
from sharekit.experiment.stages import Cell, Impossible
from sharekit.experiment.tasks import Given, file_digest
from sharekit.experiment.tasks import options as identified
from sharekit.storage import files

WRITE_EVERY = 60.0
"""Least seconds between two writings of the tables and the page, except the first and the last of a part."""


@dataclass(frozen=True)
class FairRun:
    """What a run needs: the registered plan, the settings, the folds and the external data."""

    name: str
    plan: FairPlan
    registration: Registration
    settings: TableSettings
    split: Split
    external: Given | None
    begun: bool
    """Whether an earlier run of it has results."""


def table_settings(plan: FairPlan, settings: TableSettings) -> TableSettings:
    """The settings with the plan's numbers."""
    return dataclasses.replace(
        settings, updates=plan.updates, style_steps=plan.style_steps, real=plan.real, seeds=(0,)
    )


def prepare(
    planned: PlanFile, settings: TableSettings, split: Split, external: Path | None, name: str = NAME
) -> FairRun:
    """Read the external data and register everything that changes a number.

    Args:
        name: names the comparison's files: see `fair_plan.name_with`.

    Raises:
        InputError: the comparison has begun with another plan or other choices, or an external image is
            one of the data.
    """
    settings = table_settings(planned.plan, settings)
    given = None if external is None else _external(external, split)
    out = settings.generators.out
    earlier = read_table_file(out / f"{name}.json")
    wanted = Registration(
        planned.sha256,
        planned.plan.to_json(),
        _choices(settings, split, given),
        datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )
    begun = earlier is not None and bool(earlier.cells)
    registration = register(out, name, wanted, begun=begun)
    return FairRun(name, planned.plan, registration, settings, split, given, begun)


def run_fair(
    run: FairRun,
    machine: Callable[[], AbstractContextManager[Machine]],
    make_generators: Callable[[Sequence[Sources]], Generators],
    *,
    keep_segmenters: bool = False,
) -> Iterator[Table]:
    """Run all cells and yield the table's state now and then, once it is written to `OUT`.

    The best classical arm is chosen when all arms without samples are done. Then the arms with samples run:
    first those of the comparison, then one lever after the other, each of them draw by draw.

    Args:
        machine: opens a machine for one part of the cells.
        make_generators: makes the generators that learn from each of these.

    Raises:
        KeyboardInterrupt: after SIGINT, once every command has ended.
    """
    plan, settings = run.plan, run.settings
    stages = FairStages(plan, settings, run.split, run.external)
    state = _State(run)
    # A table without results would hide that there were some, and with them that the plan is fixed.
    if not run.begun:
        yield state.written()
    yield from state.run(stages.real_cells(plan.of(Role.CLASSICAL, Role.CONTROL)), machine, keep_segmenters)
    best = best_classical(plan, state.table().cells)
    # Each lever by itself and last, so that a run that ends early has whole comparisons.
    levers = ((lever,) for lever in plan.of(Role.LEVER))
    for arms in (plan.of(Role.SYNTHETIC, Role.ON_BEST), *levers):
        for draw in range(plan.draws) if arms else ():
            generators = make_generators(stages.wanted(arms, draw))
            state.generators.update(generators)
            cells = stages.synthetic_cells(arms, draw, best, generators)
            yield from state.run(cells, machine, keep_segmenters)


class _State:
    """The cells so far, as a table."""

    def __init__(self, run: FairRun) -> None:
        self.generators: dict[Sources, FoldGenerators] = {}
        self._last_written = -math.inf
        self._given = run
        self._store = Store(run.settings.generators.out, run.split.root)
        self._cells: list[Cell] = []
        self._failures: list[Failure] = []
        self._results: dict[int, Outcome] = {}

    def run(
        self,
        planned: Planned,
        machine: Callable[[], AbstractContextManager[Machine]],
        keep_segmenters: bool,
    ) -> Iterator[Table]:
        """Run a part of the cells."""
        cells = [each for each in planned if isinstance(each, Cell)]
        self._cells += cells
        self._failures += [_failed(each, each.reason) for each in planned if isinstance(each, Impossible)]
        with machine() as one:
            runner = Runner(self._store, one, keep_segmenters=keep_segmenters)
            for outcome in run_cells(cells, runner, self._given.settings.workers):
                self._results[id(outcome.cell)] = outcome
                if outcome.error is not None:
                    self._failures.append(_failed(outcome.cell, outcome.error))
                # The page takes seconds, and cells that an earlier run finished come in a burst. The first
                # result fixes the plan, so it is written at once.
                if len(self._results) == 1 or time.monotonic() - self._last_written > WRITE_EVERY:
                    yield self.written()
        yield self.written()

    def table(self) -> Table:
        plan, settings = self._given.plan, self._given.settings
        # Keep the order of the plan, whichever cell was done first.
        results = [(cell, self._results[id(cell)]) for cell in self._cells if id(cell) in self._results]
        done = [(cell, outcome.result) for cell, outcome in results if outcome.error is None]
        stages = FairStages(plan, settings, self._given.split)
        return Table(
            self._given.name,
            {"registration": self._given.registration.to_json(), **settings.to_json()},
            self._folds(),
            len(plan.arms) * len(list(stages.places)),
            tuple(observe(cell, result, plan.strata) for cell, result in done),
            tuple(self._failures),
            histograms([cell for cell, _ in done], self._store),
        )

    def written(self) -> Table:
        table, out = self.table(), self._given.settings.generators.out
        write_table(table, out)
        comparisons = compare(self._given.plan, table.cells)
        files.write_text(out / f"{self._given.name}-comparisons.csv", comparisons_csv(comparisons))
        self._last_written = time.monotonic()
        return table

    def _folds(self) -> dict[str, FoldCounts]:
        split, settings = self._given.split, self._given.settings
        made = {
            (each.bundle, identifier): names
            for each in self.generators.values()
            for identifier, names in each.members.items()
        }
        named = {label: {picture.name for picture in pictures} for label, pictures in split.folds.items()}
        return {
            label: FoldCounts(
                len(split.folds[label]),
                len(split.folds[label][: settings.generators.images_per_fold]),
                sum(not names.isdisjoint(named[label]) for names in made.values()),
            )
            for label in trained_folds(settings, split)
        }


def _failed(cell: Cell | Impossible, reason: str | SharekitError) -> Failure:
    return Failure(cell.arm.name, cell.arm.images, cell.held, cell.seed, str(reason), cell.draw)


def _external(folder: Path, split: Split) -> Given:
    """The external data, which must not look like any image of the folds."""
    pictures = read_pictures(folder)
    refuse_shared(split, pictures)
    return Given(folder, digest_of(pictures))


def _choices(settings: TableSettings, split: Split, external: Given | None) -> dict[str, Any]:
    """What changes a number and is not in the plan; files by their content, so that folders may move."""
    generators = settings.generators
    words = {
        "train_options": generators.train_options,
        "sample_options": settings.sample_options,
        "style_options": settings.style_options,
        "segmenter_options": settings.segmenter_options,
    }
    return {
        "folds": {label: digest_of(pictures) for label, pictures in split.folds.items()},
        "images_per_fold": generators.images_per_fold,
        "choice_seed": generators.choice_seed,
        "held": list(settings.held),
        "external": None if external is None else external.digest,
        "features": None if generators.features is None else file_digest(generators.features),
        **{
            name: [part.digest if isinstance(part, Given) else part for part in identified(given)]
            for name, given in words.items()
        },
    }
