"""Train generators, scale by scale: one, or several of one shape side by side."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from hospital_node.singan.config import TrainingConfig
from hospital_node.singan.lane import Lane, LaneJob, ScaleProgress
from hospital_node.singan.scale import DivergedError, ScaleTraining
from hospital_node.singan.trained import TrainedGenerator
from sharekit.errors import InputError, SharekitError
from sharekit.generator.tensors import ChannelLayout

__all__ = ["DivergedError", "Lane", "LaneJob", "ScaleProgress", "Stopped", "train", "train_lanes"]

CHECKPOINT_SECONDS = 60.0
"""Interval of checkpoints within a scale; one is always written at the end of every scale."""
REPORT_EVERY = 10  # iterations: reading the losses waits for the device


class Stopped(SharekitError):  # noqa: N818 - not a fault: the caller asked for it
    """Training stopped because the caller asked; a checkpoint holds everything done so far."""

    exit_code = 130


def train(
    tensors: Sequence[NDArray[np.float32]],
    layout: ChannelLayout,
    config: TrainingConfig,
    *,
    generator_id: str,
    profile: str,
    checkpoint_dir: Path,
    seed: int,
    device: str = "cpu",
    threads: int = 1,
    on_progress: Callable[[ScaleProgress], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrainedGenerator:
    """Train one generator, going on from the checkpoint in `checkpoint_dir` if it exists.

    Args:
        tensors: one or more real `(C, H, W)` float32 tensors in [-1, 1] of one size, channels as in `layout`;
            iterations take them in turn.
        seed: seed of weights, noise and z*; secret, since it reproduces z*.
        device: a torch device.
        threads: CPU threads for torch; set for the whole process.

    Returns:
        The trained generator: weights only. z* is in the checkpoint, which the caller must destroy.

    Raises:
        Stopped: `should_stop` returned true; the work is in the checkpoint.
        DivergedError: the weights became infinite or NaN.
        InputError: the tensors do not fit the layout or each other.
        NodeStateError: the checkpoint is damaged or of another training.
    """
    job = LaneJob(tensors, layout, generator_id, checkpoint_dir, seed, on_progress)
    (result,) = train_lanes(
        [job], config, profile=profile, device=device, threads=threads, should_stop=should_stop
    )
    if isinstance(result, SharekitError):
        raise result
    return result


def train_lanes(
    jobs: Sequence[LaneJob],
    config: TrainingConfig,
    *,
    profile: str,
    device: str = "cpu",
    threads: int = 1,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[TrainedGenerator | DivergedError]:
    """Train several generators side by side; each is what it would be alone, except for rounding.

    Lanes whose checkpoints are further on wait until the others have caught up.

    Returns:
        Each generator in the order of `jobs`, or the error of a lane that failed alone.

    Raises:
        Stopped, InputError, NodeStateError: as `train`, for all of them.
    """
    torch.set_num_threads(threads)
    place = torch.device(device)
    lanes = [Lane(job, config, place) for job in jobs]
    if len({lane.shape for lane in lanes}) != 1:
        raise InputError(
            "training images",
            expected="generators of one shape side by side",
            found=f"{len({lane.shape for lane in lanes})} shapes",
            next_step="train each shape by itself",
        )
    diverged: dict[Lane, DivergedError] = {}
    while waiting := [lane for lane in lanes if not lane.finished and lane not in diverged]:
        behind = min(lane.progress for lane in waiting)
        until = min((lane.progress for lane in waiting if lane.progress > behind), default=None)
        together = [lane for lane in waiting if lane.progress == behind]
        diverged |= _train_scale(together, until, should_stop)
    return [
        diverged.get(lane)
        or TrainedGenerator(
            lane.spec,
            profile,
            config,
            tuple(lane.scales),
            group_size=len(lane.job.tensors),
            hardware=_device_class(place),
        )
        for lane in lanes
    ]


def _train_scale(
    lanes: Sequence[Lane], until: tuple[int, int] | None, should_stop: Callable[[], bool]
) -> dict[Lane, DivergedError]:
    """Train the next scale of `lanes` to its end, or to iteration `until`, where another lane waits."""
    scale = ScaleTraining(lanes)
    iterations = scale.config.iterations
    last = until[1] if until is not None and until[0] == scale.number else iterations
    last_checkpoint = time.monotonic()
    while scale.iteration < last:
        stopping = should_stop()
        if stopping or time.monotonic() - last_checkpoint > CHECKPOINT_SECONDS:
            _save(scale)
            last_checkpoint = time.monotonic()
        if stopping:
            raise Stopped(
                f"scale {scale.number} of {lanes[0].scale_count}",
                expected="training to its end",
                found="a request to stop",
                next_step="run the same command again to go on from the checkpoint",
            )
        scale.step()
        if scale.iteration % REPORT_EVERY == 0 or scale.iteration == iterations:
            scale.report()
    if scale.iteration < iterations:
        _save(scale)
        return {}
    diverged = scale.freeze()
    for lane in lanes:
        if lane not in diverged:
            lane.save(None)
    return diverged


def _save(scale: ScaleTraining) -> None:
    for lane, state in zip(scale.lanes, scale.states(), strict=True):
        # Before the first iteration, the seed gives everything again.
        lane.save(state if scale.iteration else None)


def _device_class(device: torch.device) -> str:
    if device.type != "cuda":
        return device.type
    return re.sub(r"[^\w .()/-]", "", torch.cuda.get_device_name(device))[:64]
