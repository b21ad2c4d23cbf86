"""Runs the cells of a plan side by side; what was done before is found again by its key."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sharekit.errors import SharekitError
from sharekit.experiment.picture_pool import write_pictures
from sharekit.experiment.stages import Cell
from sharekit.experiment.tasks import Argument, Given, Kind, Place, RealImages, Task
from sharekit.steps.processes import Processes
from sharekit.steps.step import Step, remove, run_step


class Machine(Protocol):
    """Where commands run."""

    def run(self, step: Step) -> Any:
        """As `steps.run_step`, from any thread."""

    def stop(self) -> None:
        """End what runs, and let nothing start: threads in `run` raise KeyboardInterrupt."""


@dataclass(frozen=True)
class ThisMachine:
    """Runs commands as child processes."""

    processes: Processes

    def run(self, step: Step) -> Any:
        return run_step(step, self.processes)

    def stop(self) -> None:
        self.processes.stop()


@dataclass(frozen=True)
class Store:
    """Where everything of an experiment lies.

    OUT/real/DIGEST/               real images, as a data-set folder
    OUT/sets/KEY/                  a synthetic data set
    OUT/segmenters/KEY/            a segmenter, while it is trained
    OUT/cells/KEY.json, logs/KEY.txt  what the command of that key printed
    """

    out: Path
    data: Path
    """The folder of the real images."""

    def path(self, argument: Given | RealImages | Task) -> Path:
        """Where something lies, whether or not it is made yet."""
        if isinstance(argument, Given):
            return argument.path
        if isinstance(argument, RealImages):
            return self.out / "real" / argument.digest
        if argument.kind is Kind.DATA_SET:
            return self.out / "sets" / argument.key
        return self.out / "segmenters" / argument.key / "segmenter.onnx"

    def step(self, task: Task) -> Step:
        """The command line of a task."""

        def text(argument: Argument) -> str:
            if isinstance(argument, str):
                return argument
            return str(self.path(task if isinstance(argument, Place) else argument))

        command = (*map(text, task.arguments), *task.resources)
        output = self.path(task)
        log = self.out / "logs" / f"{task.key}.txt"
        return Step(" ".join(command[:2]), command, self.record(task), (output,), log=log)

    def record(self, task: Task) -> Path:
        return self.out / "cells" / f"{task.key}.json"


class Runner:
    """Makes tasks after what they need, each once, from any thread."""

    def __init__(self, store: Store, machine: Machine, *, keep_segmenters: bool = False) -> None:
        self.machine = machine
        self._store = store
        self._keep_segmenters = keep_segmenters
        self._guard = threading.Lock()
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def make(self, wanted: Task | RealImages) -> Any:
        """Make what is not made yet, and return a task's result.

        Raises:
            SharekitError: of the command that failed, its own or one that it needs.
        """
        key = wanted.key if isinstance(wanted, Task) else wanted.digest
        with self._guard:
            lock = self._locks[key]
        # Held while inputs are made; inputs never wait for what they are an input of.
        with lock:
            if isinstance(wanted, RealImages):
                write_pictures(self._store.data, wanted.pictures, self._store.path(wanted))
                return None
            step = self._store.step(wanted)
            if wanted.kind is Kind.DATA_SET and not self._store.path(wanted).exists():
                # Somebody made room: the record alone is of no use to what reads the data set.
                remove(step.record)
            if step.done:
                # A segmenter that is still there was kept on purpose.
                return self.machine.run(step)
            for each in wanted.inputs:
                self.make(each)
            result = self.machine.run(step)
            if wanted.kind is Kind.SEGMENTER and not self._keep_segmenters:
                remove(self._store.path(wanted).parent)
            return result


@dataclass(frozen=True)
class Outcome:
    """What became of a cell."""

    cell: Cell
    result: Any = None
    error: SharekitError | None = None


def run_cells(cells: Sequence[Cell], runner: Runner, workers: int) -> Iterator[Outcome]:
    """Every cell's outcome as it is done; a cell that fails does not stop the others.

    Raises:
        KeyboardInterrupt: after SIGINT, once every command has ended.
    """
    pool = ThreadPoolExecutor(workers)
    futures: dict[Future[Any], Cell] = {pool.submit(runner.make, cell.task): cell for cell in cells}
    try:
        for future in as_completed(futures):
            yield _outcome(futures[future], future)
    finally:
        # Also when the reader of the outcomes gives up.
        pool.shutdown(wait=False, cancel_futures=True)
        runner.machine.stop()
        pool.shutdown()


def _outcome(cell: Cell, future: Future[Any]) -> Outcome:
    try:
        return Outcome(cell, future.result())
    except SharekitError as error:
        return Outcome(cell, error=error)
