"""Threads follow what this process may use and what others leave free."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sharekit.program import processors
from sharekit.program.processors import (
    allowed_threads,
    cpu_quota,
    idle_processors,
    threads_for,
    usable_processors,
)


@pytest.mark.parametrize(
    ("usable", "idle", "threads"),
    [
        (2, 2.0, 2),
        (2, 1.0, 1),  # one other busy process on two cores: one thread, and not two
        (2, 0.0, 1),
        (8, 7.8, 8),  # what the system does itself keeps no thread from starting
        (8, 3.5, 3),
        (2, 64.0, 2),  # a large machine of which two processors are granted
        (1, 1.0, 1),
    ],
)
def test_threads_find_a_processor(usable: int, idle: float, threads: int) -> None:
    assert threads_for(usable, idle) == threads


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A made-up tree of control groups, and the file that says where this process is in it."""
    monkeypatch.setattr(processors, "CONTROL_GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(processors, "OWN_CONTROL_GROUPS", tmp_path / "own")
    (tmp_path / "cgroup" / "user" / "job").mkdir(parents=True)
    return tmp_path


def test_a_quota_of_the_own_group_counts(groups: Path) -> None:
    (groups / "own").write_text("0::/user/job\n")
    (groups / "cgroup/user/job/cpu.max").write_text("150000 100000\n")
    assert cpu_quota() == 1.5
    assert usable_processors() == 1


def test_the_tightest_quota_on_the_way_up_counts(groups: Path) -> None:
    (groups / "own").write_text("0::/user/job\n")
    (groups / "cgroup/user/job/cpu.max").write_text("max 100000\n")
    (groups / "cgroup/user/cpu.max").write_text("200000 100000\n")
    (groups / "cgroup/cpu.max").write_text("400000 100000\n")
    assert cpu_quota() == 2.0


def test_control_groups_of_version_1_count(groups: Path) -> None:
    folder = groups / "cgroup/cpu,cpuacct/user"
    folder.mkdir(parents=True)
    (groups / "own").write_text("4:memory:/user\n3:cpu,cpuacct:/user\n")
    (folder / "cpu.cfs_quota_us").write_text("50000\n")
    (folder / "cpu.cfs_period_us").write_text("100000\n")
    assert cpu_quota() == 0.5
    assert usable_processors() == 1


def test_without_a_quota_the_affinity_counts(groups: Path) -> None:
    assert cpu_quota() is None
    if hasattr(os, "sched_getaffinity"):
        assert usable_processors() == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(("given", "threads"), [("3", 3), ("2,1", 2)])
def test_the_user_says_how_many_threads_compute(
    monkeypatch: pytest.MonkeyPatch, given: str, threads: int
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert allowed_threads() == threads


@pytest.mark.parametrize("given", ["", "0", "many", "-1"])
def test_without_a_number_all_usable_processors_compute(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert allowed_threads() == usable_processors()


@pytest.fixture
def busy() -> Iterator[None]:
    """Another process that keeps this one's first processor busy."""
    script = "import os\nos.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", script]) as process:
        time.sleep(0.5)
        yield
        process.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/stat")
def test_a_busy_processor_is_not_idle(busy: None) -> None:
    idle = idle_processors()
    assert idle is not None
    assert idle < len(os.sched_getaffinity(0)) - 0.5
