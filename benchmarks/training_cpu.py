"""Compare the speed of our training loop and the published one on the CPU, run alternately.

The published loop uses all threads for its one image; ours trains one image per core, as the pool does. Both
make the same effective updates: three of the critic and one of the generator. The benchmark prints a table
for each size: the ratio of the two times, our arithmetic rate relative to a large matrix product on the same
cores, and the share of an iteration's arithmetic that the frozen lower scales take.

    python benchmarks/training_cpu.py [--side 64] [--cores 2] [--seconds 30] [--precision float32]
"""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
from published_loop import PublishedLoop
from rich.console import Console
from rich.table import Table

from hospital_node.singan.config import PROFILES, TrainingConfig
from hospital_node.singan.lane import Lane, LaneJob
from hospital_node.singan.networks import DEPTH, channels_at
from hospital_node.singan.pyramid import pyramid_sizes
from hospital_node.singan.scale import ScaleTraining
from sharekit.generator.spec import PADDING
from sharekit.generator.tensors import ChannelLayout

COLUMNS = ("scale", "size", "channels", "published s", "ours s", "ratio", "GFLOP/s", "of peak", "lower")


def stack_flops(height: int, width: int, inputs: int, outputs: int, channels: int) -> float:
    """Multiplications and additions of five unpadded convolutions on an input of `(height, width)` pixels."""
    widths = [inputs] + [channels] * (DEPTH - 1) + [outputs]
    return sum(
        2 * 9 * widths[i] * widths[i + 1] * (height - 2 * i - 2) * (width - 2 * i - 2) for i in range(DEPTH)
    )


def generator_flops(height: int, width: int, channels: int) -> float:
    """Arithmetic of one pass of a scale's generator, which pads its input."""
    return stack_flops(height + 2 * PADDING, width + 2 * PADDING, 4, 4, channels)


def iteration_flops(height: int, width: int, channels: int, config: TrainingConfig) -> float:
    """Arithmetic of one iteration of our loop, without the lower generators.

    A critic update passes three pictures forward and backward (data and weights), and adds the gradient at
    the input, the penalty's two products, and one generator pass for the fake. A generator update makes two
    passes forward and backward, and passes the critic forward and back to the picture.
    """
    generator = generator_flops(height, width, channels)
    critic = stack_flops(height, width, 4, 1, channels)
    per_critic_update = generator + 12 * critic
    per_generator_update = 2 * 3 * generator + 2 * critic
    return config.discriminator_steps * per_critic_update + config.generator_steps * per_generator_update


def lower_flops(sizes: Sequence[tuple[int, int]], channels: Sequence[int], config: TrainingConfig) -> float:
    """Arithmetic of the frozen lower scales in one iteration: the most that a pool of their outputs saves."""
    passes = (
        generator_flops(height, width, count) for (height, width), count in zip(sizes, channels, strict=True)
    )
    return config.discriminator_steps * sum(passes)


def matrix_rate() -> float:
    """GFLOP/s of a 1024 x 1024 float32 matrix product, the best of ten: the peak rate of the cores."""
    a = torch.rand(1024, 1024)
    best = min(_timed(lambda: a @ a, 3) for _ in range(10))
    return 2 * 1024**3 / best / 1e9


def _timed(step: Callable[[], object], count: int) -> float:
    started = time.perf_counter()
    for _ in range(count):
        step()
    return (time.perf_counter() - started) / count


def lane_up_to(scale: int, config: TrainingConfig, directory: Path) -> Lane:
    """A generator whose scales below `scale` have had one iteration each."""
    rng = np.random.default_rng(0)
    picture = rng.uniform(-1, 1, (4, 529, 622)).astype(np.float32)
    job = LaneJob([picture], ChannelLayout(3, ("mask",)), "0" * 32, directory, 0)
    lane = Lane(job, config, torch.device("cpu"))
    while len(lane.scales) < scale:
        training = ScaleTraining([lane])
        training.step()
        training.freeze()
    return lane


def serve(scale: int, config: TrainingConfig, connection: Connection) -> None:
    """Make as many training steps as the connection asks for, on one thread, until it asks for 0."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as directory:
        ours = ScaleTraining([lane_up_to(scale, config, Path(directory))])
        ours.step()
        connection.send(0)
        while count := connection.recv():
            _timed(ours.step, count)
            connection.send(count)


class OurCores:
    """Our training loop on every core, one image per process."""

    def __init__(self, scale: int, config: TrainingConfig, cores: int) -> None:
        context = multiprocessing.get_context("spawn")
        pairs = [context.Pipe() for _ in range(cores)]
        self.connections = [ours for ours, _ in pairs]
        self.processes = [
            context.Process(target=serve, args=(scale, config, theirs), daemon=True) for _, theirs in pairs
        ]
        for process in self.processes:
            process.start()
        for connection in self.connections:
            connection.recv()

    def seconds(self, count: int) -> float:
        """Wall-clock seconds for each iteration of one image while all cores make `count` iterations."""
        started = time.perf_counter()
        for connection in self.connections:
            connection.send(count)
        for connection in self.connections:
            connection.recv()
        return (time.perf_counter() - started) / count / len(self.connections)

    def close(self) -> None:
        for connection, process in zip(self.connections, self.processes, strict=True):
            connection.send(0)
            process.join()


def in_turn(a: Callable[[int], float], b: Callable[[int], float], seconds: float) -> tuple[float, float]:
    """Median of what `a` and `b` report, called alternately for about `seconds`, after one warm-up each."""
    count = 3 if max(a(1), b(1)) < 1 else 1
    times: tuple[list[float], list[float]] = ([], [])
    stop = time.perf_counter() + seconds
    while time.perf_counter() < stop or len(times[0]) < 3:
        times[0].append(a(count))
        times[1].append(b(count))
    return statistics.median(times[0]), statistics.median(times[1])


def measure(side: int, cores: int, seconds: float, precision: str) -> Table:
    """Table for a picture with a long side of `side` pixels and the aspect ratio of the paper's example."""
    torch.set_num_threads(cores)
    config = dataclasses.replace(PROFILES["paper"], max_side=side, iterations=1)
    ours_config = dataclasses.replace(config, generator_steps=1, precision=precision)
    sizes = pyramid_sizes(529, 622, config)
    channels = [channels_at(scale, config) for scale in range(len(sizes))]
    peak = matrix_rate()
    table = Table(title=f"{side} px, {cores} cores, {precision}; float32 matrix product {peak:.0f} GFLOP/s")
    for column in COLUMNS:
        table.add_column(column, justify="right")
    total = [0.0, 0.0]
    arithmetic = [0.0, 0.0]
    for scale, (height, width) in enumerate(sizes):
        published = PublishedLoop(sizes[: scale + 1], channels[: scale + 1], config)
        ours = OurCores(scale, ours_config, cores)
        a, b = in_turn(partial(_timed, published.step), ours.seconds, seconds / len(sizes))
        ours.close()
        flops = iteration_flops(height, width, channels[scale], ours_config)
        lower = lower_flops(sizes[:scale], channels[:scale], ours_config)
        rate = flops / b / 1e9
        table.add_row(
            str(scale),
            f"{width}x{height}",
            str(channels[scale]),
            f"{a:.3f}",
            f"{b:.3f}",
            f"{a / b:.2f}",
            f"{rate:.0f}",
            f"{rate / peak:.0%}",
            f"{lower / (flops + lower):.0%}",
        )
        total[0] += a
        total[1] += b
        arithmetic[0] += lower
        arithmetic[1] += flops + lower
    table.add_section()
    sums = (f"{total[0]:.3f}", f"{total[1]:.3f}", f"{total[0] / total[1]:.2f}")
    table.add_row("all", "", "", *sums, "", "", f"{arithmetic[0] / arithmetic[1]:.1%}")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, nargs="+", default=[64], help="long side in pixels")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=30, help="seconds to measure each size")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    args = parser.parse_args()
    for side in args.side:
        Console(width=110).print(measure(side, args.cores, args.seconds, args.precision))


if __name__ == "__main__":
    main()
