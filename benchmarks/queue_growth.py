"""Measure the pool's own cost per image on growing queues of tiny jobs.

Ray, ledger and files are real; only the training is trivial. Every queue size runs in its own process. The
benchmark measures wall-clock time from the first progress event to the last, the driver's resident memory
after a tenth of the queue and after all of it, and the size of the ledger.

    python benchmarks/queue_growth.py [--images 10 100 1000 10000] [--actors 1] [--json]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from hospital_node.ledger.states import ImageRecord, ImageState
from hospital_node.node.node import Node
from hospital_node.node.pair import Pair
from hospital_node.pool.driver import train_node
from hospital_node.pool.training_options import PoolOptions
from hospital_node.singan.config import TrainingSettings
from hospital_node.singan.networks import Generator, to_arrays
from hospital_node.singan.trained import TrainedGenerator
from sharekit.generator.spec import GeneratorSpec, Scale
from sharekit.program.progress import Progress

SIDE = 32  # pixels
SETTINGS = TrainingSettings.of("quick", max_side=SIDE)
MEGABYTE = 2**20


@dataclasses.dataclass(frozen=True)
class Growth:
    """Time and memory that one queue took."""

    images: int
    seconds: float
    ms_per_image: float
    driver_mb_early: float
    """Resident memory when a tenth of the queue was settled."""
    driver_mb: float
    """Resident memory when the whole queue was settled."""
    ledger_kb_per_image: float
    eta_error: float | None
    """Relative error of the ETA halfway: ETA / actual time - 1; None when less than a second was left."""


def trivial_engine() -> Callable[..., list[TrainedGenerator]]:
    """An engine that returns one scale of random weights at once; a closure, so Ray sends it by value."""
    channels = 4
    (scale,) = to_arrays(Generator(channels, 8), [1.0])

    def train(jobs: Any, config: Any, **given: Any) -> list[TrainedGenerator]:
        (job,) = jobs
        _, height, width = job.tensors[0].shape
        spec = GeneratorSpec(job.generator_id, job.layout, (Scale(height, width, 1),))
        return [TrainedGenerator(spec, given["profile"], config, (scale,))]

    return train


def filled_node(root: Path, images: int) -> Node:
    """A node with `images` copies of one tiny pair."""
    node = Node.create(root)
    first = node.image_dir(f"{0:032x}")
    pair = Pair(np.zeros((SIDE, SIDE, 3), np.uint8), {"mask": np.zeros((SIDE, SIDE), np.uint8)})
    template = ImageRecord(
        "", "", (), ImageState.INGESTED, height=SIDE, width=SIDE, image_channels=3, mask_classes=("mask",)
    )
    for number in range(images):
        image = f"{number:032x}"
        if number == 0:
            node.store_pair(image, pair)
        else:
            shutil.copytree(first, node.image_dir(image))
        source = f"{number}.png"
        node.ledger.add(
            dataclasses.replace(
                template, id=image, source_image=source, source_masks=(source,), content_key=source
            )
        )
    return node


def measure(images: int, actors: int) -> Growth:
    """Train a queue of `images` in this process."""
    this = psutil.Process()
    events: list[tuple[float, float, int]] = []  # time, share done, resident bytes

    def remember(event: Progress) -> None:
        events.append((time.perf_counter(), event.done / event.total, this.memory_info().rss))

    with tempfile.TemporaryDirectory() as directory:
        node = filled_node(Path(directory) / "node", images)
        report = train_node(
            node,
            SETTINGS,
            PoolOptions(actors=actors, gpus=0),
            engine=trivial_engine(),
            on_progress=remember,
        )
        assert report.trained == images, report
        # Closing moves the write-ahead log, of a fixed size, into the ledger.
        node.ledger.close()
        ledger = node.ledger.path.stat().st_size
    start, end = events[0], events[-1]
    seconds = end[0] - start[0]
    early = next(event for event in events if event[1] >= 0.1)
    half = next(event for event in events if event[1] >= 0.5)
    left = end[0] - half[0]
    eta = (half[0] - start[0]) / (half[1] - start[1]) * (1 - half[1]) if half[1] > start[1] else 0.0
    return Growth(
        images,
        round(seconds, 2),
        round(1000 * seconds / (images * (end[1] - start[1])), 2),
        round(early[2] / MEGABYTE, 1),
        round(end[2] / MEGABYTE, 1),
        round(ledger / 1024 / images, 2),
        round(eta / left - 1, 3) if left > 1 else None,
    )


def table(rows: list[Growth]) -> Table:
    found = Table(title="a queue of tiny jobs")
    for column in (
        "images",
        "s",
        "ms an image",
        "driver MiB at 10 %",
        "driver MiB at the end",
        "ledger KiB an image",
        "ETA error at half",
    ):
        found.add_column(column, justify="right")
    for row in rows:
        found.add_row(
            f"{row.images:,}",
            f"{row.seconds:.1f}",
            f"{row.ms_per_image:.1f}",
            f"{row.driver_mb_early:.0f}",
            f"{row.driver_mb:.0f}",
            f"{row.ledger_kb_per_image:.2f}",
            "-" if row.eta_error is None else f"{row.eta_error:+.0%}",
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, nargs="+", default=[10, 100, 1000, 10_000])
    parser.add_argument("--actors", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print the rows as JSON instead of a table")
    args = parser.parse_args()
    if len(args.images) == 1:
        rows = [measure(args.images[0], args.actors)]
    else:
        rows = []
        for images in args.images:
            command = [sys.executable, __file__, "--images", str(images), "--actors", str(args.actors)]
            ended = subprocess.run([*command, "--json"], stdout=subprocess.PIPE, check=True, text=True)
            rows += [Growth(**row) for row in json.loads(ended.stdout)]
    if args.json:
        sys.stdout.write(json.dumps([dataclasses.asdict(row) for row in rows], indent=2) + "\n")
    else:
        Console(width=110).print(table(rows))


if __name__ == "__main__":
    main()
