"""Is a node's folder fit for training? Pure: values in, checks out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from hospital_node.doctor.check import Check, passed, problem, warning
from hospital_node.doctor.machine import gib
from hospital_node.pool.live import Found, Liveness

SLOW_WRITE = 1.0  # seconds for one small file that survives a power cut
CLOCK_TOLERANCE = 2.0  # seconds
NAMED = 3
"""Most files that a check names among those that are wrong."""


def check_open(path: str, others: Sequence[str]) -> Check:
    """Check `others`: files and folders of the node at `path` that are not private to its owner."""
    if not others:
        return passed("permissions", "only the owner may read it")
    named = ", ".join(others[:NAMED]) + (" …" if len(others) > NAMED else "")
    return problem(
        "permissions",
        f"{len(others)} not private or of another owner: {named}",
        f"chmod -R go-rwx {path}, as the one user who runs the node",
    )


@dataclass(frozen=True)
class FileSystem:
    """Results of a trial in a folder inside the node."""

    error: str = ""
    """Why nothing could be written at all; empty when it could."""
    mode: int = 0o600
    """Mode of a file that was created with 0600."""
    locks: bool = True
    """Whether a second lock on a locked file was refused."""
    seconds: float = 0.0
    """Seconds to write one small file, with fsync of file and folder."""


def check_file_system(found: FileSystem) -> Check:
    """Check modes, locks and fsync, on which privacy and resuming depend."""
    name = "file system"
    if found.error:
        return problem(name, found.error, "let the node's owner write there, on a disk that works")
    if found.mode & 0o077:
        return problem(name, f"a file of mode 0600 has {found.mode:04o}", "move the node to a local disk")
    if not found.locks:
        return problem(name, "locks lock nothing", "move the node to a file system with flock")
    if found.seconds > SLOW_WRITE:
        return warning(
            name,
            f"{found.seconds:.1f} s to write one small file to the disk",
            "move the node to a faster disk: every checkpoint waits for it",
        )
    return passed(name, f"modes and locks hold, fsync takes {1000 * found.seconds:.0f} ms")


def check_disk(free: int, needed: int, waiting: int) -> Check:
    """Compare `free` bytes with the estimate for the images that wait."""
    found = f"{gib(free)} free, {waiting} waiting images need about {gib(needed)}"
    if free < needed:
        return problem("disk", found, "free some space, or move the node to a larger disk")
    return passed("disk", found)


def check_clock(now: datetime, last_event: datetime | None, last_release: datetime | None) -> Check:
    """Check the clock: one behind the ledger would date a release before its contents."""
    for what, time in (("ledger's last event", last_event), ("last release", last_release)):
        if time is not None and (time - now).total_seconds() > CLOCK_TOLERANCE:
            return problem(
                "clock",
                f"now is {now:%Y-%m-%d %H:%M:%S}, before the {what} ({time:%Y-%m-%d %H:%M:%S}), in UTC",
                "set the clock",
            )
    return passed("clock", f"{now:%Y-%m-%d %H:%M:%S} UTC, after all that the ledger holds")


def check_run(found: Found | None, ray_folder: str | None) -> Check:
    """Check for a run that hangs or was killed; `ray_folder` is named by `ray.json`, if it exists."""
    name = "training"
    if found is not None and found.liveness is not Liveness.DIED:
        process = f"process {found.status.pid} on {found.status.host}"
        if found.liveness is Liveness.RUNNING:
            return passed(name, f"runs: {process}")
        silent = f"{process} has said nothing for {found.age:.0f} s"
        return warning(name, silent, "see whether it hangs; once it has ended, train again")
    if found is not None or ray_folder is not None:
        left = f", Ray's folder {ray_folder} with it" if ray_folder else ""
        return warning(
            name, f"a run was killed{left}", "none: the next `hospital-node train` cleans up and goes on"
        )
    return passed(name, "none runs now, and none was killed")


def check_images(waiting: int, too_small: int) -> Check:
    """Check that the images that wait are large enough to train on."""
    if too_small:
        return warning(
            "images",
            f"{too_small} of {waiting} waiting are too small to train on",
            "they will fail alone; ingest larger ones",
        )
    return passed("images", f"{waiting} wait for training")
