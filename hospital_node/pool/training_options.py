"""The options of a training run, and the report of how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hospital_node.pool.schedule import MAX_ATTEMPTS
from sharekit.errors import UsageError

GPU_LANES = 32
"""Default lanes of a worker with a GPU. Memory usually allows fewer; this number was never timed on a GPU."""


@dataclass(frozen=True)
class GroupOptions:
    """How many images stand behind each generator, and which belong together."""

    size: int = 1
    """Least number of units: images of one patient, or of one picture, count once."""
    file: Path | None = None
    """CSV of images and their groups, each of which stays whole; None makes random groups."""

    def __post_init__(self) -> None:
        _check_least("group-size", self.size, 1)


@dataclass(frozen=True)
class PoolOptions:
    """How many generators train at once, on what, and where."""

    address: str | None = None
    """A Ray cluster to join (`auto` or ip:port); None for a closed Ray on this machine."""
    actors: int | None = None
    """Workers; None for as many as CPUs and GPUs allow."""
    cpus_per_actor: int = 1
    gpus: float | None = None
    """Share of a GPU for each worker, 0 for the CPU; None for a whole GPU if the machine has one."""
    max_attempts: int = MAX_ATTEMPTS
    """Deaths of a worker that one generator may cause before it is quarantined."""
    lanes: int | None = None
    """Most generators of one pyramid shape that a worker is given at once. It takes as many as its device's
    memory holds, and half as many where that was too much. None for `GPU_LANES` on a GPU, and one on the CPU,
    where more were never faster."""
    heartbeat: float = 300.0
    """Seconds without a step after which a worker is hung, killed and replaced; more where steps were
    measured to be slow, and twelve times as much before the first was, see `heartbeat.Pulse`."""

    def __post_init__(self) -> None:
        for name, value, least in (
            ("actors", self.actors, 1),
            ("cpus_per_actor", self.cpus_per_actor, 1),
            ("gpus", self.gpus, 0),
            ("max_attempts", self.max_attempts, 1),
            ("lanes", self.lanes, 1),
            ("heartbeat", self.heartbeat, 1),
        ):
            if value is not None:
                _check_least(name.replace("_", "-"), value, least)


def _check_least(name: str, value: float, least: float) -> None:
    if not value >= least:
        raise UsageError(
            f"--{name}",
            expected=f"at least {least}",
            found=str(value),
            next_step="give another value",
        )


@dataclass(frozen=True)
class TrainingReport:
    """How training ended. Counts cover all generators of the node; the rest covers this run."""

    trained: int
    """Generators that were trained, even if they have since left that state."""
    waiting: int
    """Generators still to train; above 0 only after an interruption."""
    failed: Mapping[str, str]
    """Failed generators of the node, each with its reason."""
    quarantined: Mapping[str, str]
    """Quarantined generators of the node, each with its reason."""
    notes: tuple[str, ...]
    """Sentences about images that no generator has taken in."""
    plan: str
    """What this run was to train, in words."""
    interrupted: bool
    seconds: float
    iterations_per_second: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
