"""A data set that is killed at any moment is finished by the same command, and never seen half-written."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from consumer.datasets.folder_writer import write_dataset
from consumer.datasets.reader import read_folder
from consumer.datasets.resumable_folder import DATA, JOURNAL, differences, resumable_folder
from consumer.sampling.request import Request, Size
from consumer.sampling.synthetic_bundle import Bundle
from sharekit.errors import InputError
from sharekit.program.progress import Progress
from sharekit.storage import files
from tests.consumer.test_dataset import digests

COUNT = 8
REQUEST = Request(seed=5)


@pytest.fixture(scope="module")
def whole(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What an uninterrupted run writes."""
    out = tmp_path_factory.mktemp("whole") / "set"
    write_dataset(bundle, out, COUNT, REQUEST)
    return digests(out)


def interrupted(bundle: Bundle, out: Path, after: int = 5, request: Request = REQUEST) -> Path:
    """The folder that is left when a run stops after some samples."""

    def stop(event: Progress) -> None:
        if event.done == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_dataset(bundle, out, COUNT, request, stop)
    return out.with_name(f"{out.name}.partial")


def test_the_command_goes_on_after_kill_9(bundle: Bundle, signed: tuple[Path, Path], tmp_path: Path) -> None:
    code = "import sys; from consumer.cli import main; sys.exit(main())"
    request = ["sample", str(signed[0]), "--key", str(signed[1]), "--samples", "150", "--seed", "5"]
    drawing = [sys.executable, "-c", code, *request, "--device", "cpu", "--format", "json"]
    drawing += ["--out", str(tmp_path / "set")]
    journal = tmp_path / "set.partial" / JOURNAL
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(drawing, **silent) as process:
        while process.poll() is None and not (journal.exists() and journal.read_bytes().count(b"\n") > 20):
            time.sleep(0.005)
        children = psutil.Process(process.pid).children()
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "set").exists()
    assert psutil.wait_procs(children, timeout=10)[1] == []  # what drew for it has ended, too
    ran = subprocess.run(drawing, check=True, capture_output=True, text=True)
    assert 0 < json.loads(ran.stdout)["drawn"] <= 130
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set"]
    write_dataset(bundle, tmp_path / "other", 150, REQUEST)
    assert digests(tmp_path / "set") == digests(tmp_path / "other")


@pytest.mark.parametrize("kept", [0.0, 0.2, 0.5, 0.9, 0.999])
def test_a_journal_that_was_cut_off_loses_only_its_last_samples(
    bundle: Bundle, whole: dict[str, str], tmp_path: Path, kept: float
) -> None:
    journal = interrupted(bundle, tmp_path / "set") / JOURNAL
    data = journal.read_bytes()
    journal.write_bytes(data[: int(kept * len(data))])
    result = write_dataset(bundle, tmp_path / "set", COUNT, REQUEST)
    assert result.drawn >= COUNT - 5
    assert digests(tmp_path / "set") == whole


def test_a_file_that_is_not_as_it_was_written_is_written_again(
    bundle: Bundle, whole: dict[str, str], tmp_path: Path
) -> None:
    data = interrupted(bundle, tmp_path / "set") / DATA
    first, second, *_ = sorted((data / "images").iterdir())
    first.write_bytes(first.read_bytes()[:-7])
    second.unlink()
    (data / "images" / "000099.png").write_bytes(b"half an ima")
    assert write_dataset(bundle, tmp_path / "set", COUNT, REQUEST).drawn == COUNT - 5 + 2
    assert digests(tmp_path / "set") == whole


def test_a_kill_before_the_last_cleaning_leaves_a_finished_data_set(bundle: Bundle, tmp_path: Path) -> None:
    partial = interrupted(bundle, tmp_path / "set")
    left = shutil.copytree(partial, tmp_path / "left")
    shutil.rmtree(left / DATA)
    write_dataset(bundle, tmp_path / "set", COUNT, REQUEST)
    left.rename(partial)
    assert len(read_folder(tmp_path / "set").require_sound().entries) == COUNT
    assert write_dataset(bundle, tmp_path / "set", COUNT, REQUEST).drawn == 0
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_finished_data_set_is_not_drawn_again(bundle: Bundle, tmp_path: Path) -> None:
    write_dataset(bundle, tmp_path / "set", COUNT, REQUEST)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "set").rglob("*")}
    events: list[Progress] = []
    bundle.close()
    assert write_dataset(bundle, tmp_path / "set", COUNT, REQUEST, events.append).drawn == 0
    assert bundle.sessions_opened == 0
    assert events == [Progress(COUNT, COUNT, free=COUNT)]
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "set").rglob("*")} == before


@pytest.mark.parametrize("finished", [True, False], ids=["finished", "interrupted"])
@pytest.mark.parametrize(
    ("request_now", "named"),
    [
        (Request(seed=6), ["seed: 5 there, 6 now"]),
        (
            Request(seed=5, size=Size(width=24, height=20), probabilities=True),
            [
                "probabilities: false there, true now",
                "size height: none there, 20 now",
                "size width: none there, 24 now",
            ],
        ),
    ],
    ids=["seed", "several"],
)
def test_settings_that_differ_are_named_one_by_one(
    bundle: Bundle, tmp_path: Path, finished: bool, request_now: Request, named: list[str]
) -> None:
    if finished:
        write_dataset(bundle, tmp_path / "set", COUNT, REQUEST)
    else:
        interrupted(bundle, tmp_path / "set")
    before = digests(tmp_path)
    with pytest.raises(InputError) as caught:
        write_dataset(bundle, tmp_path / "set", COUNT, request_now)
    assert sorted(caught.value.found.split("; ")) == sorted(named)
    assert digests(tmp_path) == before


def test_another_count_is_named(bundle: Bundle, tmp_path: Path) -> None:
    interrupted(bundle, tmp_path / "set")
    with pytest.raises(InputError) as caught:
        write_dataset(bundle, tmp_path / "set", COUNT + 1, REQUEST)
    assert caught.value.found == "count: 8 there, 9 now"
    assert str(tmp_path / "set.partial") in caught.value.next_step


def test_differences_name_leaves_in_words_and_shorten_long_values() -> None:
    there = {"bundle": {"release": 1, "hospital": "A"}, "generators": ["x" * 100], "size": None}
    now = {"bundle": {"release": 2, "hospital": "A"}, "generators": ["y"], "size": {"width": 3}}
    found = differences(there, now)
    assert found[0] == "bundle release: 1 there, 2 now"
    assert len(found[1]) < 100
    assert found[2] == "size width: none there, 3 now"
    assert differences(there, there) == []


@pytest.mark.parametrize("name", ["set", "set.partial", f"set.partial/{DATA}"])
def test_no_reader_takes_a_data_set_that_is_being_written(bundle: Bundle, tmp_path: Path, name: str) -> None:
    interrupted(bundle, tmp_path / "set")
    with pytest.raises(InputError) as caught:
        read_folder(tmp_path / name)
    assert "interrupted" in caught.value.found
    assert "run that command again" in caught.value.next_step


def test_two_processes_do_not_write_one_data_set(tmp_path: Path) -> None:
    with resumable_folder(tmp_path / "set", {}) as folder:
        (folder.root / "file").write_text("mine")
        with pytest.raises(InputError, match="no other process"), resumable_folder(tmp_path / "set", {}):
            pass
        assert (folder.root / "file").read_text() == "mine"


def test_a_file_system_without_locks_is_good_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with resumable_folder(tmp_path / "set", {}) as folder:
        (folder.root / "file").write_text("mine")
    assert (tmp_path / "set" / "file").read_text() == "mine"


def test_what_somebody_else_put_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "set.partial").mkdir()
    (tmp_path / "set.partial" / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match="something else"), resumable_folder(tmp_path / "set", {}):
        pass
    assert (tmp_path / "set.partial" / "thesis.tex").read_text() == "mine"


@pytest.mark.parametrize("request_there", ["[]", '"x"', '{"key": 1}', '{"request": 3}', "{", ""])
def test_a_journal_of_another_form_counts_nothing(tmp_path: Path, request_there: str) -> None:
    (tmp_path / "set.partial" / DATA).mkdir(parents=True)
    (tmp_path / "set.partial" / DATA / "old").write_text("old")
    (tmp_path / "set.partial" / JOURNAL).write_text(f"{request_there}\n")
    (tmp_path / "set.partial" / f".{JOURNAL}.0123abcd.tmp").write_text("half")
    with resumable_folder(tmp_path / "set", {"seed": 1}) as folder:
        assert folder.records == {}
    assert list((tmp_path / "set").iterdir()) == []
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


@pytest.mark.parametrize("broken", ['{"key": "000001"}', '{"key": "a", "record": {}, "files": ["x"]}', "7"])
def test_a_line_of_another_form_ends_what_counts(
    bundle: Bundle, whole: dict[str, str], tmp_path: Path, broken: str
) -> None:
    journal = interrupted(bundle, tmp_path / "set") / JOURNAL
    first, second, *others = journal.read_text().splitlines()
    journal.write_text("\n".join([first, second, broken, *others, ""]))
    assert write_dataset(bundle, tmp_path / "set", COUNT, REQUEST).drawn == COUNT - 1
    assert digests(tmp_path / "set") == whole


@pytest.mark.parametrize("out", [".", "/", "set/.."])
def test_a_place_without_a_name_is_refused(out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "set").mkdir()
    with pytest.raises(InputError, match="name a new folder in it"), resumable_folder(Path(out), {}):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_full_disk_keeps_what_is_complete(bundle: Bundle, whole: dict[str, str], tmp_path: Path) -> None:
    def full(event: Progress) -> None:
        if event.done == 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match="No space"):
        write_dataset(bundle, tmp_path / "set", COUNT, REQUEST, full)
    assert write_dataset(bundle, tmp_path / "set", COUNT, REQUEST).drawn == COUNT - 4
    assert digests(tmp_path / "set") == whole


def test_the_journal_holds_no_path_of_the_user(bundle: Bundle, tmp_path: Path) -> None:
    journal = interrupted(bundle, tmp_path / "set") / JOURNAL
    assert str(tmp_path) not in journal.read_text()
    assert files.parse_json(journal.read_bytes().splitlines()[0], JOURNAL)["request"]["seed"] == 5
