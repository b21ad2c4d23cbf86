"""What a training run is asked for, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from hospital_node.pool.schedule import MAX_ATTEMPTS
from sharekit.errors import UsageError

GPU_LANES = 32
"""Most lanes of a worker with a GPU that nobody chose. Memory bounds it first; never timed on one."""


@dataclass(frozen=True)
class PoolOptions:
    """How many images train at once, on what, and where."""

    address: str | None = None
    """A Ray cluster to join (`auto` or ip:port); None for a closed Ray on this machine."""
    actors: int | None = None
    """Workers; None for as many as CPUs and GPUs allow."""
    cpus_per_actor: int = 1
    gpus: float | None = None
    """Share of a GPU for each image, 0 for the CPU; None for a whole one where there is one."""
    max_attempts: int = MAX_ATTEMPTS
    """Deaths of a worker that one image may cause before it is quarantined."""
    lanes: int | None = None
    """Most images of one pyramid shape that a worker is given at once. It takes as many as its device's
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
            if value is not None and not value >= least:
                raise UsageError(
                    name,
                    expected=f"at least {least}",
                    found=str(value),
                    next_step=f"give --{name.replace('_', '-')} another value",
                )


@dataclass(frozen=True)
class TrainingReport:
    """How training ended. Counts are of the whole node, the rest of this run."""

    trained: int
    """Images with a trained generator."""
    waiting: int
    """Images still to train: only after an interruption."""
    failed: Mapping[str, str]
    """Failed images of the node, each with its reason."""
    quarantined: Mapping[str, str]
    """Quarantined images of the node, each with its reason."""
    interrupted: bool
    seconds: float
    iterations_per_second: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
