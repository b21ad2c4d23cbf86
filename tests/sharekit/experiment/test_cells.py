"""Each command runs once, after what it needs; what fails or is interrupted leaves the rest as it was."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sharekit import __version__
from sharekit.errors import DependencyError, InputError, SharekitError, UsageError
from sharekit.experiment.cells import Runner, Store, ThisMachine, run_cells
from sharekit.experiment.document import Table
from sharekit.experiment.experiment_settings import GeneratorSettings
from sharekit.experiment.histograms import histograms
from sharekit.experiment.run_table import PAGE, run_table
from sharekit.experiment.stages import Cell, Plan
from sharekit.experiment.tasks import Kind, Place, Task
from sharekit.segmenter.metrics import METRICS
from sharekit.steps.processes import Processes, ending_like_an_interrupt
from sharekit.steps.step import Step, read_record, run_step
from sharekit.storage import files
from tests.sharekit.experiment.data import small_settings, small_split, untrained

PYTHON = Path(sys.executable).name
SCORES = {name: {"mean": 0.5, "low": 0.4, "high": 0.6, "count": 3} for name in METRICS}
RESULT = {which: {"update": 4, "metrics": SCORES} for which in ("best", "last")}


class Bench:
    """An experiment whose commands are noted and not run: they write what such a command leaves."""

    def __init__(self, folder: Path, fails: Callable[[Step], bool] = lambda _: False) -> None:
        self.split = small_split(folder)
        self.out = folder / "out"
        self.store = Store(self.out, self.split.root)
        self.fails = fails
        self.ran: Counter[str] = Counter()
        self.plan = Plan(small_settings(seeds=(0,), held=("0",)), self.split, untrained(self.split))
        self.cells = [each for each in self.plan.table1() if isinstance(each, Cell)]

    def run(self, step: Step) -> Any:
        if step.done:
            return read_record(step.record)
        self.ran[step.record.stem] += 1
        if self.fails(step):
            raise InputError("a file", expected="one", found="none", next_step="look")
        for part in step.command:
            path = Path(part)
            assert path == step.makes[0] or not path.is_relative_to(self.out) or path.exists(), part
        if step.makes[0].suffix:
            step.makes[0].parent.mkdir(parents=True)
            step.makes[0].write_bytes(b"a segmenter")
        else:
            step.makes[0].mkdir(parents=True)
        step.record.parent.mkdir(parents=True, exist_ok=True)
        files.write_json(step.record, {"result": RESULT})
        return RESULT

    def stop(self) -> None:
        self.stopped = True

    def outcomes(self, workers: int = 2) -> list[Any]:
        return list(run_cells(self.cells, Runner(self.store, self), workers))


def test_each_command_runs_once_after_what_it_needs_however_many_need_it(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    outcomes = bench.outcomes(workers=4)
    assert len(outcomes) == len(bench.cells) == 5
    assert all(each.result == RESULT for each in outcomes)
    # Two folds, two rounds, each once as it is and once styled; and the cells.
    assert set(bench.ran.values()) == {1}
    assert len(bench.ran) == 4 + 4 + 5


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.outcomes()
    before = bench.ran.total()
    assert len(bench.outcomes()) == 5
    assert bench.ran.total() == before


def test_only_a_missing_cell_is_done_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.outcomes()
    bench.ran.clear()
    bench.store.record(bench.cells[2].task).unlink()
    bench.outcomes()
    assert bench.ran == {bench.cells[2].task.key: 1}


def test_a_data_set_that_was_removed_is_made_again_when_it_is_needed(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.outcomes()
    cell = next(each for each in bench.cells if each.arm.name == "FAKE-1")
    lost = next(each for each in cell.task.inputs if isinstance(each, Task))
    bench.store.path(lost).rmdir()
    bench.store.record(cell.task).unlink()
    bench.ran.clear()
    bench.outcomes()
    assert bench.ran == {lost.key: 1, cell.task.key: 1}


def test_a_failed_command_fails_what_needs_it_and_nothing_else(tmp_path: Path) -> None:
    bench = Bench(tmp_path, fails=lambda step: step.name == "consumer style")
    outcomes = bench.outcomes()
    assert {each.cell.arm.name for each in outcomes if each.error} == {"FAKE-1 1:1", "FAKE-2 1:1"}
    assert all(isinstance(each.error, InputError) for each in outcomes if each.error)


def test_segmenters_are_not_kept_unless_they_are_wanted(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.outcomes()
    path = bench.store.path(bench.cells[0].task)
    assert not path.parent.exists()
    bench.store.record(bench.cells[0].task).unlink()
    Runner(bench.store, bench, keep_segmenters=True).make(bench.cells[0].task)
    assert path.exists()


def test_a_segmenter_that_an_earlier_run_kept_is_kept_by_one_that_keeps_none(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    kept, other = (each.task for each in bench.cells[:2])
    Runner(bench.store, bench, keep_segmenters=True).make(kept)
    runner = Runner(bench.store, bench)
    for task in (kept, other):
        assert runner.make(task) == RESULT
    assert bench.store.path(kept).read_bytes() == b"a segmenter"
    assert not bench.store.path(other).exists()


def test_a_segmenter_that_a_command_reads_is_made_again_and_kept(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    judge = bench.cells[0].task
    Runner(bench.store, bench).make(judge)
    assert not bench.store.path(judge).exists()
    samples = Task(Kind.DATA_SET, ("consumer", "sample", "--judge", judge, "--out", Place.OUTPUT))
    Runner(bench.store, bench).make(samples)
    assert bench.store.path(judge).exists()
    assert bench.ran[judge.key] == 2
    Runner(bench.store, bench).make(judge)
    assert bench.store.path(judge).exists()


def test_masks_are_not_counted_where_a_data_set_was_removed(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.outcomes()
    assert len(histograms(bench.cells, bench.store)) == 1
    lost = next(each for cell in bench.cells for each in cell.task.inputs if isinstance(each, Task))
    bench.store.path(lost).rmdir()
    assert histograms(bench.cells, bench.store) == ()


def test_a_table_is_on_disk_after_every_cell(tmp_path: Path) -> None:
    bench = Bench(tmp_path, fails=lambda step: step.name == "consumer style")
    generators = GeneratorSettings(bench.split.root, bench.out)
    settings = small_settings(generators=generators, seeds=(0,), held=("0",), workers=1)
    known = run_table("table1", settings, bench.split, untrained(bench.split), bench)
    counts = []
    for table in known:
        written = Table.from_json(files.parse_json((bench.out / "table1.json").read_bytes(), "table"))
        assert written == table
        counts.append((len(table.cells), len(table.failures), table.waiting))
        assert len((bench.out / "table1-cells.csv").read_text().splitlines()) == 1 + len(table.cells)
    assert counts == [(0, 0, 5), (1, 0, 4), (2, 0, 3), (3, 0, 2), (3, 1, 1), (3, 2, 0)]
    assert [row.arm for row in table.rows] == ["real", "FAKE-1", "FAKE-2"]
    page = (bench.out / PAGE).read_text()
    assert "3 of 5 cells are done, 2 failed" in page


def step(tmp_path: Path, *command: str, **changes: Any) -> Step:
    return Step("a step", command, tmp_path / "record.json", log=tmp_path / "log.txt", **changes)


def test_a_commands_own_words_and_exit_code_are_its_error(tmp_path: Path) -> None:
    absent = str(tmp_path / "absent.pub")
    with pytest.raises(InputError, match=r"absent\.pub.*readable regular file"):
        run_step(step(tmp_path, "sharekit", "keys", "fingerprint", absent), Processes())
    with pytest.raises(UsageError, match="no-such-command"):
        run_step(step(tmp_path, "sharekit", "no-such-command"), Processes())
    assert not (tmp_path / "record.json").exists()


def test_a_finished_command_is_not_run_again(tmp_path: Path) -> None:
    first = step(tmp_path, "sharekit", "keys", "new", "--out", str(tmp_path / "key"), "--no-password")
    made = run_step(first, Processes())
    assert (tmp_path / "key.pub").exists()
    assert run_step(first, Processes()) == made
    assert json.loads((tmp_path / "record.json").read_text())["version"] == __version__
    (tmp_path / "record.json").write_text("[]")
    with pytest.raises(InputError, match="remove this file"):
        run_step(first, Processes())


def test_what_an_interrupted_command_left_is_made_anew(tmp_path: Path) -> None:
    left = (tmp_path / "key.key", tmp_path / "key.pub")
    for path in left:
        path.write_text("half")
    run_step(
        step(
            tmp_path, "sharekit", "keys", "new", "--out", str(tmp_path / "key"), "--no-password", makes=left
        ),
        Processes(),
    )
    assert "half" not in (tmp_path / "key.pub").read_text()


def test_a_program_that_is_not_installed_is_named() -> None:
    with pytest.raises(DependencyError, match="no-such-program"):
        Processes().run(("no-such-program",))


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[tuple[Processes, threading.Thread, list[BaseException], Path]]:
    """A command that sleeps for a minute, in a thread, once it has begun."""
    processes, raised, begun = Processes(), [], tmp_path / "begun"
    code = (
        f"import os, pathlib, time; pathlib.Path({str(begun)!r}).write_text(str(os.getpid())); time.sleep(60)"
    )

    def run() -> None:
        try:
            processes.run((PYTHON, "-c", code))
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    while not (begun.exists() and begun.read_text()):
        time.sleep(0.02)
    yield processes, thread, raised, begun
    processes.stop()
    thread.join()


def test_stopping_ends_what_runs_and_lets_nothing_start(
    sleeper: tuple[Processes, threading.Thread, list[BaseException], Path],
) -> None:
    processes, thread, raised, begun = sleeper
    processes.stop()
    thread.join(10)
    assert not thread.is_alive()
    assert isinstance(raised[0], KeyboardInterrupt)
    with pytest.raises(ProcessLookupError):
        os.kill(int(begun.read_text()), 0)
    with pytest.raises(KeyboardInterrupt):
        processes.run((PYTHON, "-c", "pass"))


def test_a_polite_end_is_an_interruption() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with ending_like_an_interrupt(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_interruption_ends_the_cells_that_run(tmp_path: Path) -> None:
    bench, begun = Bench(tmp_path), threading.Event()

    class Sleeper(ThisMachine):
        def run(self, step: Step) -> Any:
            begun.set()
            return self.processes.run((PYTHON, "-c", "import time; time.sleep(60)"))

    outcomes = run_cells(bench.cells, Runner(bench.store, Sleeper(Processes())), 2)
    timer = threading.Timer(1.0, lambda: begun.wait() and os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        next(outcomes)
    assert time.monotonic() - started < 15


def test_every_kind_of_error_keeps_its_exit_code(tmp_path: Path) -> None:
    for kind in SharekitError.__subclasses__():
        code = f"import sys; sys.exit({kind.exit_code})"
        with pytest.raises(kind):
            run_step(step(tmp_path, PYTHON, "-c", code), Processes())
