"""Runs the cells of a plan in parallel; a key identifies the work that an earlier run has done."""

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
        """Run a step as `steps.run_step` does, from any thread."""

    def stop(self) -> None:
        """End the running commands and start no others; threads in `run` raise KeyboardInterrupt."""


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
    """Where an experiment keeps its files.

    OUT/real/DIGEST/               real images, as a data-set folder
    OUT/sets/KEY/                  a synthetic data set
    OUT/segmenters/KEY/            a segmenter in training
    OUT/cells/KEY.json, logs/KEY.txt  the output of the command with that key
    """

    out: Path
    data: Path
    """Folder with the real images."""

    def path(self, argument: Given | RealImages | Task) -> Path:
        """The path of an input or output, whether or not it exists yet."""
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
    """Makes each task once, after its inputs; threads may share it."""

    def __init__(self, store: Store, machine: Machine, *, keep_segmenters: bool = False) -> None:
        self.machine = machine
        self._store = store
        self._keep_segmenters = keep_segmenters
        self._guard = threading.Lock()
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def make(self, wanted: Task | RealImages) -> Any:
        """Make `wanted` and its inputs unless they exist, and return a task's result.

        A segmenter is removed again, unless segmenters are kept.

        Raises:
            SharekitError: the error of the command that failed: its own, or one for an input.
        """
        # An earlier run kept an existing model on purpose, or it judges samples.
        keep = self._keep_segmenters or self._store.path(wanted).exists()
        result = self._make(wanted, needed=False)
        if isinstance(wanted, Task) and wanted.kind is Kind.SEGMENTER and not keep:
            remove(self._store.path(wanted).parent)
        return result

    def _make(self, wanted: Task | RealImages, *, needed: bool = True) -> Any:
        """As `make`, but keeps the output.

        Args:
            needed: whether a command reads the output, so that the result is not enough.
        """
        key = wanted.key if isinstance(wanted, Task) else wanted.digest
        with self._guard:
            lock = self._locks[key]
        # The lock is held while inputs are made; no deadlock, as an input never waits for its user.
        with lock:
            if isinstance(wanted, RealImages):
                write_pictures(self._store.data, wanted.pictures, self._store.path(wanted))
                return None
            step = self._store.step(wanted)
            if (needed or wanted.kind is Kind.DATA_SET) and not self._store.path(wanted).exists():
                # Somebody deleted the output to make room; make it again for those who read it.
                remove(step.record)
            if not step.done:
                for each in wanted.inputs:
                    self._make(each)
            return self.machine.run(step)


@dataclass(frozen=True)
class Outcome:
    """The result or the error of a cell."""

    cell: Cell
    result: Any = None
    error: SharekitError | None = None


def run_cells(cells: Sequence[Cell], runner: Runner, workers: int) -> Iterator[Outcome]:
    """Yield each cell's outcome when it is done; a failed cell does not stop the others.

    Raises:
        KeyboardInterrupt: after SIGINT, once every command has ended.
    """
    pool = ThreadPoolExecutor(workers)
    futures: dict[Future[Any], Cell] = {pool.submit(runner.make, cell.task): cell for cell in cells}
    try:
        for future in as_completed(futures):
            yield _outcome(futures[future], future)
    finally:
        # Also runs when the caller stops reading the outcomes.
        pool.shutdown(wait=False, cancel_futures=True)
        runner.machine.stop()
        pool.shutdown()


def _outcome(cell: Cell, future: Future[Any]) -> Outcome:
    try:
        return Outcome(cell, future.result())
    except SharekitError as error:
        return Outcome(cell, error=error)
