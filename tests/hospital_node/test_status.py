"""What a run says of itself, the status that reads it, and the live view on a terminal."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pty
import re
import select
import signal
import sqlite3
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from hospital_node.cli import main
from hospital_node.ledger.states import GeneratorState, ImageRecord, ImageState
from hospital_node.node.node import Node
from hospital_node.pool import live
from hospital_node.pool.live import Liveness, Recorder, Running, TrainingStatus
from hospital_node.pool.node_status import SHOWN, node_status
from hospital_node.singan.config import TrainingConfig, TrainingSettings
from hospital_node.singan.training import ScaleProgress
from sharekit.errors import NodeStateError
from sharekit.program import progress
from sharekit.program.progress import Progress
from tests.hospital_node.ingested import ingested_image
from tests.hospital_node.trained_node import generator_of

WAIT = 240.0  # seconds
COUNTS = {GeneratorState.PLANNED: 3, GeneratorState.TRAINING: 2, GeneratorState.FAILED: 0}


@pytest.fixture
def node(tmp_path) -> Node:
    return Node.create(tmp_path / "node", "St. Test")


@pytest.fixture
def recorder(node) -> Recorder:
    return Recorder(node.root / live.NAME, "quick", 4)


def status(node: Node, capsys, *options: str) -> dict[str, Any]:
    assert main(["status", "--node", str(node.root), "--format", "json", *options]) == 0
    return json.loads(capsys.readouterr().out)


def at(scale: int, iteration: int) -> ScaleProgress:
    return ScaleProgress(scale, 5, iteration, 200, 0.0, 0.0)


# -- the record of a run


def test_a_status_survives_json(recorder):
    event = Progress(25, 100, values={"iterations_per_s": 3.5})
    recorder.update(event, [["a" * 32], ["b" * 32]], {"a" * 32: at(2, 50)}, COUNTS)
    told = json.loads(json.dumps(recorder.status.to_json()))
    assert TrainingStatus.from_json(told) == recorder.status


def test_a_run_tells_its_generators_with_scale_and_iteration(recorder):
    told = {"a": at(2, 50), "c": at(0, 10), "gone": at(4, 200)}
    event = recorder.update(Progress(25, 100), [["a", "b"], [], ["c"]], told, COUNTS)
    assert recorder.status.running == (
        Running(0, "a", 2, 5, 50, 200),
        Running(0, "b"),
        Running(2, "c", 0, 5, 10, 200),
    )
    assert event.lines == (
        "3 planned, 2 training",
        "worker 0  a  scale 3/5  iteration 50/200",
        "worker 0  b  starting",
        "worker 2  c  scale 1/5  iteration 10/200",
    )


def test_a_generator_that_is_not_heard_keeps_its_last_word_but_not_on_another_worker(recorder):
    recorder.update(Progress(0, 100), [["a"], []], {"a": at(2, 50)}, COUNTS)
    recorder.update(Progress(0, 100), [["a"], []], {}, COUNTS)
    assert recorder.status.running == (Running(0, "a", 2, 5, 50, 200),)
    recorder.update(Progress(0, 100), [[], ["a"]], {}, COUNTS)
    assert recorder.status.running == (Running(1, "a"),)


def test_rate_and_eta_come_from_the_work_of_this_run_alone(recorder, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    recorder.update(Progress(10, 100), [], {}, COUNTS)
    now[0] += 60
    # Half of what was gained had been found done: 20 per cent of four generators in a minute.
    recorder.update(Progress(50, 100, free=20), [], {}, COUNTS)
    assert recorder.status.eta_seconds == 150.0
    assert recorder.status.generators_per_hour == 48.0


def test_the_file_is_private_and_not_written_more_often_than_it_says(node, recorder, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(live.time, "monotonic", lambda: now[0])
    path = node.root / live.NAME
    seen = []
    for _ in range(9):
        recorder.update(Progress(now[0], 1000), [], {}, COUNTS)
        seen.append(live.read(path).done_percent)
        now[0] += live.INTERVAL / 4
    assert len(set(seen)) == 3
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_record_ends_with_the_run_however_it_ends(node):
    path = node.root / live.NAME
    with live.recorded(path, "quick", 1):
        assert path.exists()
    assert not path.exists()
    with contextlib.suppress(RuntimeError), live.recorded(path, "quick", 1):
        raise RuntimeError
    assert not path.exists()


def test_a_disk_without_room_for_the_record_does_not_stop_the_run(node):
    recorder = Recorder(node.root / "no such folder" / live.NAME, "quick", 1)
    recorder.update(Progress(1, 2), [], {}, COUNTS)


# -- what to think of it


@pytest.mark.parametrize(
    ("alive", "age", "liveness"),
    [
        (True, 1.0, Liveness.RUNNING),
        (True, live.SILENCE + 1, Liveness.SILENT),
        (False, 1.0, Liveness.DIED),
        (None, 1.0, Liveness.RUNNING),
        (None, live.SILENCE + 1, Liveness.SILENT),
    ],
)
def test_a_run_is_running_silent_or_dead(recorder, alive, age, liveness):
    assert live.judge(recorder.status, alive, recorder.status.updated + age) is liveness


def test_a_process_is_known_by_its_number_and_its_start(recorder):
    assert live.is_alive(recorder.status) is True
    other = dataclasses.replace(recorder.status, process_started=recorder.status.process_started - 100)
    assert live.is_alive(other) is False
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    assert live.is_alive(dataclasses.replace(recorder.status, pid=ended.pid)) is False
    assert live.is_alive(dataclasses.replace(recorder.status, host="another machine")) is None


def test_a_damaged_record_is_an_error_that_says_what_to_do(node):
    (node.root / live.NAME).write_text('{"pid": 1}')
    with pytest.raises(NodeStateError, match="remove the file"):
        live.look(node.root / live.NAME)


# -- the command


def test_without_a_run_status_says_so(node, capsys):
    assert status(node, capsys)["training"] is None
    assert main(["status", "--node", str(node.root)]) == 0
    assert "no training runs now" in capsys.readouterr().out


def test_status_tells_rate_and_generators_of_a_run(node, recorder, capsys):
    (generator,) = node.ledger.generators.plan([[ingested_image(node, 1)]])
    with node.write_lock():
        node.ledger.generators.begin(generator, "quick", "{}")
        event = Progress(25, 100, values={"iterations_per_s": 3.5})
        recorder.update(event, [[generator]], {generator: at(2, 50)}, COUNTS)
        told = status(node, capsys)["training"]
        assert main(["status", "--node", str(node.root)]) == 0
    text = capsys.readouterr().out
    assert (told["liveness"], told["pid"], told["iterations_per_second"]) == ("running", os.getpid(), 3.5)
    running = [(one["generator"], one["scale"], one["iteration"]) for one in told["running"]]
    assert running == [(generator, 2, 50)]
    assert "scale 3/5  iteration 50/200" in text
    assert "25 % of 4 generators" in text


def test_status_says_when_the_last_run_died(node, recorder, capsys):
    recorder.status = dataclasses.replace(recorder.status, process_started=1.0)
    recorder.write()
    assert status(node, capsys)["training"]["liveness"] == "died"
    assert main(["status", "--node", str(node.root)]) == 0
    assert "ended without a word" in capsys.readouterr().out


def test_status_writes_nothing(node, recorder, capsys):
    ingested_image(node, 1)
    recorder.write()
    before = {path: path.stat().st_mtime_ns for path in node.root.rglob("*") if path.is_file()}
    status(node, capsys, "--all")
    after = {path: path.stat().st_mtime_ns for path in node.root.rglob("*") if path.is_file()}
    assert {path.name: time for path, time in after.items() if before.get(path) != time} == {}


def test_status_says_how_many_images_stand_behind_a_generator(node, capsys):
    images = [ingested_image(node, number) for number in range(5)]
    single, group = node.ledger.generators.plan([images[:1], images[1:]])
    for generator in (single, group):
        node.ledger.generators.transition(generator, GeneratorState.FAILED, "no gradient")
    node.ledger.add(ImageRecord("f" * 32, "images/x.png", (), ImageState.REFUSED, "images/x.png: no mask"))
    told = status(node, capsys)
    assert (told["images"]["ingested"], told["images"]["refused"]) == (5, 1)
    assert (told["generators"]["failed"], told["images_behind"]["failed"]) == (2, 5)
    assert [one["images"] for one in told["named_generators"]] == [images[:1], images[1:]]
    assert told["named_generators"][1]["sources"] == ["1.png", "2.png", "3.png", "4.png"]
    assert main(["status", "--node", str(node.root)]) == 0
    text = capsys.readouterr().out
    assert f"failed: {single}, 1 image (0.png): no gradient" in text
    assert f"failed: {group}, 4 images (1.png, 2.png, 3.png, …): no gradient" in text
    assert "refused: images/x.png: no mask" in text


def test_status_gives_a_generators_settings(node, capsys):
    settings = TrainingSettings.of("fast", iterations=7)
    first, second = node.ledger.generators.plan([[ingested_image(node, number)] for number in (1, 2)])
    node.ledger.generators.begin(first, settings.profile, settings.canonical)
    told = {one["id"]: one for one in status(node, capsys, "--all")["named_generators"]}
    assert TrainingSettings(told[first]["profile"], TrainingConfig(**told[first]["settings"])) == settings
    assert (told[second]["profile"], told[second]["settings"]) == ("", None)


@pytest.fixture(scope="module")
def large_node(tmp_path_factory) -> Node:
    """Ten thousand images with a generator each, a third of them failed."""
    node = Node.create(tmp_path_factory.mktemp("large") / "node", "St. Test")
    image = ingested_image(node, 1)
    with closing(sqlite3.connect(node.ledger.path)) as database, database:
        database.executemany(
            "INSERT INTO images SELECT NULL, ?, ?, source_masks, state, reason, height, width,"
            " image_channels, mask_classes, updated, data_dir, ?, unit, overlays FROM images WHERE id = ?",
            [(f"{number:032x}", f"{number}.png", str(number), image) for number in range(2, 10_001)],
        )
        settings = TrainingSettings.of("private").canonical
        database.executemany(
            "INSERT INTO generators VALUES (NULL, ?, ?, 'private', ?, 0, 'no gradient', '', '')",
            [
                (f"{number:032x}", "failed" if number % 3 else "trained", settings)
                for number in range(1, 10_001)
            ],
        )
        database.execute("INSERT INTO memberships SELECT id, 0, id FROM generators")
    return node


def test_the_output_stays_short_for_ten_thousand_images(large_node, capsys):
    told = status(large_node, capsys)
    failed = told["generators"]["failed"]
    assert sum(told["images"].values()) == sum(told["generators"].values()) == 10_000
    assert len(told["named_generators"]) == SHOWN
    assert told["left_out"] == {"failed": failed - SHOWN}
    assert main(["status", "--node", str(large_node.root)]) == 0
    text = capsys.readouterr().out
    assert len(text.splitlines()) < 40
    assert f"failed: {failed - SHOWN} more" in text


def test_all_names_every_image_and_generator(large_node, capsys):
    told = status(large_node, capsys, "--all")
    found = len(told["named_images"]), len(told["named_generators"]), told["left_out"]
    assert found == (10_000, 10_000, {})
    assert main(["status", "--node", str(large_node.root), "--all"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 10_000
    assert sum("9999.png" in line for line in lines) == 1


def test_ten_thousand_generators_are_told_of_in_about_a_second(large_node):
    started = time.process_time()
    node_status(Node.open(large_node.root, read_only=True))
    assert time.process_time() - started < 1.0


# -- a real run, seen on a terminal


class Terminal:
    """A program on a pseudo terminal, its screen as one long text."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self.ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (40, 120))
        self.before = termios.tcgetattr(self.ours)
        environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}
        with (folder / "stdout").open("w") as stdout:
            self.process = subprocess.Popen(
                command, stdin=theirs, stdout=stdout, stderr=theirs, env=environment
            )
        os.close(theirs)
        self.text = ""

    def read(self, seconds: float) -> None:
        """Take what the program shows within `seconds`."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if not select.select([self.ours], [], [], left)[0]:
                return
            try:
                self.text += os.read(self.ours, 65536).decode(errors="replace")
            except OSError:
                # Linux says so when the last program at the other end has gone.
                return

    def wait_for(self, shown: Callable[[str], object]) -> None:
        deadline = time.monotonic() + WAIT
        while not shown(self.text):
            assert time.monotonic() < deadline, self.text
            assert self.process.poll() is None, self.text
            self.read(0.2)

    def end(self) -> int:
        """The exit code, with everything shown until then."""
        deadline = time.monotonic() + WAIT
        while self.process.poll() is None and time.monotonic() < deadline:
            self.read(0.2)
        self.read(0.2)
        return self.process.wait(timeout=1)


@contextlib.contextmanager
def training_on_a_terminal(node: Node, folder: Path) -> Iterator[Terminal]:
    program = "import sys; from hospital_node.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "train", "--node", str(node.root), "--profile", "quick"]
    terminal = Terminal([*command, "--iterations", "150", "--max-side", "32", "--actors", "1"], folder)
    try:
        yield terminal
    finally:
        terminal.process.kill()
        terminal.process.wait()
        os.close(terminal.ours)


CURSOR_HIDDEN, CURSOR_SHOWN = "\x1b[?25l", "\x1b[?25h"


def is_sane(terminal: Terminal) -> bool:
    """The cursor is back, the terminal's settings are what they were, and its last line is ended."""
    cursor = terminal.text.rfind(CURSOR_SHOWN) > terminal.text.rfind(CURSOR_HIDDEN) > -1
    return cursor and termios.tcgetattr(terminal.ours) == terminal.before


@pytest.mark.ray
def test_a_run_on_a_terminal_shows_its_workers_and_leaves_the_terminal_sane(node, tmp_path, capsys):
    images = [ingested_image(node, number, 40 * number) for number in (1, 2)]
    with training_on_a_terminal(node, tmp_path) as terminal:
        terminal.wait_for(
            lambda text: re.search(r"worker 0  [0-9a-f]{8}  scale \d/\d  iteration \d+/150", text)
        )
        found = live.look(node.root / live.NAME)
        told = status(node, capsys)
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.end() == 130
        assert is_sane(terminal)
    assert found is not None
    assert (found.liveness, found.status.pid) == (Liveness.RUNNING, terminal.process.pid)
    assert found.status.worker_memory is None or found.status.worker_memory > 50 * 2**20
    assert told["training"]["liveness"] == "running"
    running = {one["generator"] for one in told["training"]["running"]}
    assert running <= {generator_of(node, image) for image in images}
    assert "1 training" in terminal.text
    assert re.search(r"\d left, generators \d/2", terminal.text)
    assert not (node.root / live.NAME).exists()


@pytest.mark.ray
def test_status_tells_of_a_run_that_was_killed(node, tmp_path, capsys):
    ingested_image(node, 1)
    with training_on_a_terminal(node, tmp_path) as terminal:
        terminal.wait_for(lambda _: (node.root / live.NAME).exists())
        terminal.process.kill()
        terminal.process.wait()
        assert status(node, capsys)["training"]["liveness"] == "died"
