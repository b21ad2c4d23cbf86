"""The environment is not a fault of the program: path, remedy, exit code 3 or 8, in one line each."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

import pytest

from sharekit.errors import DependencyError, InputError, NodeStateError, SharekitError
from sharekit.program.faults import MAX_FOUND, explain


@pytest.mark.parametrize(
    ("number", "kind", "remedy"),
    [
        (errno.ENOSPC, InputError, "free some space"),
        (errno.EDQUOT, InputError, "free some space"),
        (errno.EACCES, InputError, "permissions"),
        (errno.EROFS, InputError, "another"),
        (errno.ENOENT, InputError, "check the path"),
        (errno.ENAMETOOLONG, InputError, "check the path"),
        (errno.EIO, InputError, "check the disk"),
        (errno.ENOLCK, NodeStateError, "flock"),
        (errno.ENOMEM, NodeStateError, "ulimit -v"),
        (errno.EMFILE, NodeStateError, "ulimit -a"),
    ],
)
def test_the_systems_errors_have_a_path_and_a_remedy(
    number: int, kind: type[SharekitError], remedy: str
) -> None:
    told = explain(OSError(number, os.strerror(number), "/data/file"), "sharekit act", "/out")
    assert (type(told), told.item, told.found) == (kind, "/data/file", os.strerror(number))
    assert remedy in told.next_step


def test_an_error_without_a_path_is_about_the_place_that_the_command_works_on() -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert explain(full, "sharekit act", Path("/out")).item == "/out"
    assert explain(full, "sharekit act").item == "sharekit act"
    assert explain(MemoryError(), "sharekit act", Path("/out")).item == "sharekit act"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried"
        ),
        RuntimeError("std::bad_alloc"),
        RuntimeError("can't start new thread"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        ValueError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    ],
)
def test_too_little_memory_is_told_whoever_notices_it(error: Exception) -> None:
    told = explain(error, "consumer train", "m.onnx")
    assert (type(told), told.item, told.expected) == (NodeStateError, "consumer train", "enough memory")


def _database_error(folder: Path, statement: str, mode: str) -> sqlite3.Error:
    with pytest.raises(sqlite3.Error) as caught:
        sqlite3.connect(f"{folder.as_uri()}/ledger?mode={mode}", uri=True).execute(statement)
    return caught.value


def test_a_database_that_cannot_be_opened_or_written_is_a_matter_of_its_place(tmp_path: Path) -> None:
    closed = _database_error(tmp_path / "absent", "SELECT 1", "rwc")
    assert type(explain(closed, "hospital-node act", tmp_path)) is InputError
    sqlite3.connect(tmp_path / "ledger").execute("CREATE TABLE images (id)")
    told = explain(_database_error(tmp_path, "DROP TABLE images", "ro"), "hospital-node act", tmp_path)
    assert (type(told), told.item) == (InputError, str(tmp_path))


def test_a_shared_library_that_is_missing_is_named() -> None:
    error = ImportError("libcudnn.so.9: cannot open shared object file: No such file or directory")
    told = explain(error, "consumer sample")
    assert (type(told), told.item) == (DependencyError, "libcudnn.so.9")


def test_a_package_that_is_missing_names_what_to_install() -> None:
    error = ModuleNotFoundError("No module named 'nowhere'", name="nowhere.part")
    told = explain(error, "hospital-node train", extra="hospital")
    assert (type(told), told.next_step) == (DependencyError, "pip install 'sharekit[hospital]'")


def test_a_name_that_no_text_can_hold_is_the_names_fault() -> None:
    with pytest.raises(UnicodeEncodeError) as caught:
        "images/\udce9.png".encode()
    told = explain(caught.value, "hospital-node ingest")
    assert (type(told), told.item) == (InputError, r"'images/\udce9.png'")


def test_pages_of_a_librarys_text_become_one_line() -> None:
    graph = "\n".join(f"  %{number} : Float(3, 4) = onnx::Conv(%x)" for number in range(400))
    told = explain(RuntimeError(f"\nUnsupported: adaptive_avg_pool2d {'x' * 900}\n{graph}"), "consumer train")
    assert told.exit_code == 1
    assert len(told.found) < MAX_FOUND + 20
    assert "\n" not in told.found
    assert told.found.startswith("RuntimeError: Unsupported")


@pytest.mark.parametrize("error", [ValueError("x"), KeyError("x"), OSError("no number"), sqlite3.Error("x")])
def test_what_says_nothing_of_the_machine_stays_a_fault_of_the_program(error: Exception) -> None:
    told = explain(error, "sharekit act", "/out")
    assert (type(told), told.exit_code, told.expected) == (SharekitError, 1, "no fault in the program")


def test_an_error_of_ours_stays_as_it_is() -> None:
    error = InputError("a", expected="b", found="c", next_step="d")
    assert explain(error, "sharekit act", "/out") is error
