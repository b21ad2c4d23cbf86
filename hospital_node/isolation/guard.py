"""Nothing of a node's Ray outlives its driver, however the driver ends.

A killed driver takes most of Ray with it (parent-death signals), but not all: the raylet's agents stay for
a minute or two, and the folder with the token stays for good. So a small process, the guard, holds the read
end of a pipe from the driver. When the pipe closes, the guard ends every process with an open file in the
folder and removes the folder.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

GRACE = 10.0  # seconds that killed processes may take to end


def holders(directory: Path) -> list[psutil.Process]:
    """Processes of this user with a file open below `directory`: every Ray process logs there."""
    inside = f"{directory}/"
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if any(file.path.startswith(inside) for file in process.open_files()):
                found.append(process)
    return found


def reap(directory: Path) -> None:
    """End every process that works in `directory`, except this one and its parent; then remove the folder."""
    deadline = time.monotonic() + GRACE
    # The driver writes a log there too; when it has died, the parent is init.
    spared = {os.getpid(), os.getppid()}
    # A process that starts another while it dies needs a second look.
    while time.monotonic() < deadline:
        left = [process for process in holders(directory) if process.pid not in spared]
        if not left:
            break
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=1.0)
    shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def guarded(directory: Path) -> Iterator[None]:
    """Call `reap(directory)` when the block ends, or when this process does."""
    command = [sys.executable, "-m", __name__, str(directory)]
    # Its own session: what kills the driver's whole process group leaves the guard to clean up.
    guard = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)  # noqa: S603
    try:
        yield
    finally:
        guard.communicate()
        if guard.returncode:
            reap(directory)


if __name__ == "__main__":
    sys.stdin.read()
    reap(Path(sys.argv[1]))
