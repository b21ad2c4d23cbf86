"""How many threads to start: one for each processor that this process may use and that others leave free.

One thread that waits for a processor delays all others: on two cores with another busy process, an update of
a segmenter took 12 s with two threads and 1 s with one.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

WATCH = 0.1  # seconds
_TOLERANCE = 0.3  # processors, for the load of the system itself
_STAT = Path("/proc/stat")
_IDLE, _WAITING = 4, 5  # columns of a processor's row: idle, and waiting for I/O
CONTROL_GROUPS = Path("/sys/fs/cgroup")
OWN_CONTROL_GROUPS = Path("/proc/self/cgroup")


def usable_processors() -> int:
    """Number of processors that affinity and control groups allow this process; at least 1."""
    allowed, quota = len(_affinity()), cpu_quota()
    return allowed if quota is None else max(1, min(allowed, math.floor(quota)))


def allowed_threads() -> int:
    """Threads that the user allows one computation: `OMP_NUM_THREADS`, else all usable processors."""
    outermost = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    threads = int(outermost) if outermost.isdecimal() else 0
    return threads or usable_processors()


@functools.cache
def free_processors() -> int:
    """Number of usable processors that no other process keeps busy; at least 1.

    The first call measures for `WATCH` seconds; later calls return the same number.
    """
    idle = idle_processors()
    if idle is None:
        idle = (os.cpu_count() or 1) - load_average()
    return threads_for(usable_processors(), idle)


def threads_for(usable: int, idle: float) -> int:
    """Number of threads to start.

    Args:
        usable: processors that this process may use.
        idle: processors that were idle, possibly a fraction.
    """
    return max(1, min(usable, math.floor(idle + _TOLERANCE)))


def idle_processors() -> float | None:
    """Mean number of allowed processors idle over `WATCH` seconds; None if the system does not tell."""
    before, started = _idle_seconds(), time.monotonic()
    time.sleep(WATCH)
    after, elapsed = _idle_seconds(), time.monotonic() - started
    if before is None or after is None:
        return None
    return (after - before) / elapsed


def _idle_seconds() -> float | None:
    """Total idle time of this process's processors, in seconds; None if the system does not tell."""
    allowed = {f"cpu{number}" for number in _affinity()}
    with contextlib.suppress(AttributeError, OSError, ValueError):
        rows = [line.split() for line in _STAT.read_text().splitlines()]
        ticks = sum(int(row[_IDLE]) + int(row[_WAITING]) for row in rows if row and row[0] in allowed)
        return ticks / os.sysconf("SC_CLK_TCK")
    return None


def load_average() -> float:
    """Mean number of running or waiting processes over the last minute; 0 if the system does not tell."""
    with contextlib.suppress(AttributeError, OSError):
        return os.getloadavg()[0]
    return 0.0


def _affinity() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def cpu_quota() -> float | None:
    """Number of processors that control groups grant this process, possibly a fraction; None if unlimited.

    The tightest limit of its own group and those above counts. Both versions of control groups are read.
    """
    quotas = [quota for folder in _control_groups() if (quota := _quota_of(folder)) is not None]
    return min(quotas, default=None)


def _control_groups() -> Iterator[Path]:
    """Folders of this process's control groups; inside a container often only the root."""
    with contextlib.suppress(OSError):
        for line in OWN_CONTROL_GROUPS.read_text().splitlines():
            _, controllers, name = line.split(":", 2)
            if controllers and "cpu" not in controllers.split(","):
                continue
            root = CONTROL_GROUPS / controllers if controllers else CONTROL_GROUPS
            inside = PurePosixPath(name.lstrip("/"))
            yield from (root / part for part in (inside, *inside.parents))
    yield from (CONTROL_GROUPS, CONTROL_GROUPS / "cpu")


def _quota_of(folder: Path) -> float | None:
    with contextlib.suppress(OSError, ValueError):
        granted, period = (folder / "cpu.max").read_text().split()
        return None if granted == "max" else int(granted) / int(period)
    with contextlib.suppress(OSError, ValueError):
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        return quota / int((folder / "cpu.cfs_period_us").read_text()) if quota > 0 else None
    return None
