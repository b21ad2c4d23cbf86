"""Compare the peak memory of training an image on the CPU with the estimate of `hospital-node doctor`.

Each size trains in its own process, a few iterations per scale. The benchmark measures how far the resident
memory grows beyond its value after training a smaller image. `maps` is that growth in maps of channels x
padded height x width floats at the finest scale; `hospital_node.singan.needs.MAPS` must exceed the largest.

    python benchmarks/training_memory.py [--iterations 5]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from hospital_node.pool.actors import MALLOC
from hospital_node.singan.config import PROFILES, TrainingConfig
from hospital_node.singan.needs import FLOAT, MAPS, image_needs
from hospital_node.singan.training import train
from sharekit.generator.tensors import ChannelLayout

CASES = (("quick", 64, 64), ("private", 64, 64), ("private", 128, 128), ("private", 220, 250))
"""Profile, height and width in pixels."""
LAYOUT = ChannelLayout(3, ("lesion",))


def memory(field: str) -> int:
    """`VmRSS` (resident now) or `VmHWM` (at most so far) of this process, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"this system does not report {field}")


def train_once(height: int, width: int, config: TrainingConfig) -> None:
    tensor = np.random.default_rng(0).uniform(-1, 1, (LAYOUT.channels, height, width)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        train(
            [tensor],
            LAYOUT,
            config,
            generator_id="0" * 32,
            profile="bench",
            checkpoint_dir=Path(folder),
            seed=1,
        )


def measure(profile: str, height: int, width: int, iterations: int) -> int:
    """Growth of this process's resident memory at its peak, in bytes."""
    torch.set_num_threads(1)
    config = dataclasses.replace(PROFILES[profile], iterations=iterations)
    train_once(30, 30, dataclasses.replace(config, max_side=30))
    before = memory("VmRSS")
    train_once(height, width, config)
    return memory("VmHWM") - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--iterations", type=int, default=5, help="iterations of each scale")
    parser.add_argument("--case", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        profile, height, width = args.case
        sys.stdout.write(json.dumps(measure(profile, int(height), int(width), args.iterations)))
        return
    table = Table("profile", "image", "measured", "estimated", "error", "maps")
    for case in CASES:
        own = [sys.executable, __file__, "--iterations", str(args.iterations), "--case", *map(str, case)]
        # The process uses the allocator settings of a worker.
        environment = {**os.environ, **MALLOC, "OMP_NUM_THREADS": "1"}
        ended = subprocess.run(own, capture_output=True, text=True, check=True, env=environment)
        measured = json.loads(ended.stdout)
        profile, height, width = case
        estimated = image_needs(height, width, LAYOUT.channels, PROFILES[profile]).memory
        one_map = estimated / MAPS / FLOAT
        table.add_row(
            profile,
            f"{width}x{height}",
            f"{measured / 2**20:.0f} MiB",
            f"{estimated / 2**20:.0f} MiB",
            f"{100 * (estimated / measured - 1):+.0f} %",
            f"{measured / FLOAT / one_map:.0f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
