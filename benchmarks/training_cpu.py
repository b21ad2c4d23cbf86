"""Training on the CPU: seconds an iteration at every scale, ours and the published loop's, run in turn.

Both make the same effective updates: three of the critic and one of the generator. Prints a table a size with
the ratio of the two and the rate of arithmetic against a large matrix product on the same threads.

    python benchmarks/training_cpu.py [--side 64] [--threads 2] [--seconds 20]
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from published_loop import PublishedLoop
from rich.console import Console
from rich.table import Table

from hospital_node.singan.config import PROFILES, TrainingConfig
from hospital_node.singan.networks import DEPTH, channels_at
from hospital_node.singan.training import ScaleTraining, Training
from sharekit.generator import PADDING
from sharekit.tensors import ChannelLayout


def stack_flops(height: int, width: int, inputs: int, outputs: int, channels: int) -> float:
    """Multiplications and additions of five unpadded convolutions on an input of `(height, width)` pixels."""
    widths = [inputs] + [channels] * (DEPTH - 1) + [outputs]
    return sum(
        2 * 9 * widths[i] * widths[i + 1] * (height - 2 * i - 2) * (width - 2 * i - 2) for i in range(DEPTH)
    )


def iteration_flops(height: int, width: int, channels: int, config: TrainingConfig) -> float:
    """Arithmetic that one iteration of ours must do, lower generators left out.

    Critic: three pictures forward and backward (data and weights), the gradient at the input, and the
    penalty's two products; a generator's pass for the fake. Generator: two passes forward and backward, and
    the critic forward and back to the picture.
    """
    generator = stack_flops(height + 2 * PADDING, width + 2 * PADDING, 4, 4, channels)
    critic = stack_flops(height, width, 4, 1, channels)
    per_critic_update = generator + 12 * critic
    per_generator_update = 2 * 3 * generator + 2 * critic
    return config.discriminator_steps * per_critic_update + config.generator_steps * per_generator_update


def matrix_rate() -> float:
    """GFLOP/s of a 1024 x 1024 float32 matrix product: what the cores can do, the best of ten."""
    a = torch.rand(1024, 1024)
    best = min(_timed(lambda: a @ a, 3) for _ in range(10))
    return 2 * 1024**3 / best / 1e9


def _timed(step: Callable[[], object], count: int) -> float:
    started = time.perf_counter()
    for _ in range(count):
        step()
    return (time.perf_counter() - started) / count


def in_turn(a: Callable[[], object], b: Callable[[], object], seconds: float) -> tuple[float, float]:
    """Median seconds of `a` and of `b`, called alternately for about `seconds`, after one warm-up each."""
    a()
    b()
    times: tuple[list[float], list[float]] = ([], [])
    stop = time.perf_counter() + seconds
    while time.perf_counter() < stop or len(times[0]) < 3:
        times[0].append(_timed(a, 1))
        times[1].append(_timed(b, 1))
    return statistics.median(times[0]), statistics.median(times[1])


def measure(side: int, threads: int, seconds: float) -> Table:
    """The table for a picture whose long side is `side` pixels, of the shape of the paper's example."""
    torch.set_num_threads(threads)
    config = dataclasses.replace(PROFILES["paper"], max_side=side, iterations=1)
    ours_config = dataclasses.replace(config, generator_steps=1)
    rng = np.random.default_rng(0)
    picture = rng.uniform(-1, 1, (4, 529, 622)).astype(np.float32)
    peak = matrix_rate()
    table = Table(title=f"{side} px, {threads} threads, matrix product {peak:.0f} GFLOP/s")
    for column in ("scale", "size", "channels", "published s", "ours s", "ratio", "GFLOP/s", "of peak"):
        table.add_column(column, justify="right")
    total = [0.0, 0.0]
    with tempfile.TemporaryDirectory() as directory:
        training = Training(
            [picture],
            ChannelLayout(3, ("mask",)),
            ours_config,
            "0" * 32,
            Path(directory),
            0,
            torch.device("cpu"),
        )
        sizes = [(scale.height, scale.width) for scale in training.spec.scales]
        channels = [channels_at(scale, config) for scale in range(len(sizes))]
        for scale, (height, width) in enumerate(sizes):
            published = PublishedLoop(sizes[: scale + 1], channels[: scale + 1], config)
            ours = ScaleTraining(training, scale)
            a, b = in_turn(published.step, ours.step, seconds / len(sizes))
            rate = iteration_flops(height, width, channels[scale], ours_config) / b / 1e9
            table.add_row(
                str(scale),
                f"{width}x{height}",
                str(channels[scale]),
                f"{a:.3f}",
                f"{b:.3f}",
                f"{a / b:.2f}",
                f"{rate:.0f}",
                f"{rate / peak:.0%}",
            )
            total[0] += a
            total[1] += b
            training.train_scale(lambda _: None, lambda: False)
    table.add_section()
    table.add_row("all", "", "", f"{total[0]:.3f}", f"{total[1]:.3f}", f"{total[0] / total[1]:.2f}", "", "")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, nargs="+", default=[64], help="long side in pixels")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=30, help="for each size")
    args = parser.parse_args()
    for side in args.side:
        Console(width=110).print(measure(side, args.threads, args.seconds))


if __name__ == "__main__":
    main()
