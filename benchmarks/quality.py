"""Compare quality and training time of several training settings on real images.

The figures of every image and variant are: seconds of CPU time, SIFID (64-d), reconstruction RMSE, IoU of the
reconstructed mask, diversity (standard deviation over samples) and the distance of samples from their source
(RMSE). Diversity and distance are in standard deviations of the real image. The table shows the mean over the
images with a bootstrap interval, and the difference from the first variant on the same images.

    python benchmarks/quality.py --data DIR --features fid_inception_pool0_64.safetensors --out RUNS \
        --variants paper fast
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table

from hospital_node.fidelity import inception
from hospital_node.fidelity.inception import Inception
from hospital_node.fidelity.sifid import sifid
from hospital_node.singan.config import PROFILES, TrainingConfig
from hospital_node.singan.networks import sample
from hospital_node.singan.scale import ScaleTraining
from hospital_node.singan.training import DivergedError, Lane, LaneJob, train_lanes
from sharekit.demo import phantom
from sharekit.generator.tensors import ChannelLayout, binarise, pixels_to_tensor
from sharekit.intervals import bootstrap_mean

SAMPLES = 16


def changed(profile: str = "paper", /, **settings: Any) -> TrainingConfig:
    """A profile with some of its settings replaced."""
    return dataclasses.replace(PROFILES[profile], **settings)


ONE_STEP: Mapping[str, int] = {"discriminator_steps": 1, "generator_steps": 1}
VARIANTS: Mapping[str, TrainingConfig] = {
    "paper": PROFILES["paper"],
    "private": PROFILES["private"],
    "bfloat16": changed(precision="bfloat16"),
    "400-2x": changed(iterations=400, learning_rate=1e-3),
    "one-step-1200-2x": changed(iterations=1200, learning_rate=1e-3, **ONE_STEP),
    "fewer-scales-500": changed(iterations=500, scale_factor=0.5),
    "alpha-50-4x": changed(iterations=1200, learning_rate=2e-3, reconstruction_weight=50.0, **ONE_STEP),
    "alpha-100-4x": changed(iterations=1150, learning_rate=2e-3, reconstruction_weight=100.0, **ONE_STEP),
    "alpha-100-4x-early-decay": changed(
        iterations=1150, learning_rate=2e-3, reconstruction_weight=100.0, decay_at=0.5, **ONE_STEP
    ),
    "alpha-100-4x-late-decay": changed(
        iterations=1150, learning_rate=2e-3, reconstruction_weight=100.0, decay_at=0.9, **ONE_STEP
    ),
    "alpha-50-4x-lazy": changed(
        iterations=1400, learning_rate=2e-3, reconstruction_weight=50.0, penalty_interval=4, **ONE_STEP
    ),
    "fast": PROFILES["fast"],
    "fast-private": changed("fast", redraw_z_star=False),
    "private-one-step-1200-2x": changed("private", iterations=1200, learning_rate=1e-3, **ONE_STEP),
    "quick": changed("quick", iterations=200),
}
"""All variants redraw z*, as the authors' code does; only `quick` and the `private` ones keep one."""


PLATEAUS: Mapping[str, float] = {"plateau-10": 0.10, "plateau-3": 0.03}
"""Relative fall of the reconstruction error that ends the training of a scale.

Training makes one step per iteration at twice the rate until `WINDOW` iterations lower the error by less than
this share. The last fifth of all iterations then runs at the lower rate, as published.
"""
WINDOW = 100


def load_pair(data: Path, stem: str) -> NDArray[np.float32]:
    """`(4, H, W)` float32 in [-1, 1] of an image and its mask."""
    image = np.asarray(Image.open(next((data / "images").glob(f"{stem}.*"))).convert("RGB"))
    mask = np.asarray(Image.open(next((data / "masks").glob(f"{stem}.*"))).convert("L"))
    return np.concatenate([pixels_to_tensor(image), pixels_to_tensor(binarise(mask))])


def settings_of(variant: str, side: int) -> TrainingConfig:
    """Settings of a variant; for a plateau variant, those of the longest training that it may take."""
    config = changed(learning_rate=1e-3, **ONE_STEP) if variant in PLATEAUS else VARIANTS[variant]
    return dataclasses.replace(config, max_side=side)


def train_to_plateau(job: LaneJob, config: TrainingConfig, least: float) -> None:
    """Train every scale of a lane until its reconstruction error falls by less than `least` in a window."""
    lane = Lane(job, config, torch.device("cpu"))
    decay = math.floor(config.decay_at * config.iterations)
    while not lane.finished:
        scale = ScaleTraining([lane])
        before = math.inf
        while scale.iteration + WINDOW < decay:
            errors = []
            for _ in range(WINDOW):
                scale.step()
                errors.append(float(scale.last_losses[1]))
            if statistics.fmean(errors) > (1 - least) * before:
                break
            before = statistics.fmean(errors)
        tail = scale.iteration // 4
        scale.iteration = decay
        for _ in range(tail):
            scale.step()
        scale.freeze()
        lane.save(None)


def train_once(job: tuple[Path, str, str, TrainingConfig, Path]) -> None:
    """Train one image with one variant, in this process on one thread, and store the results."""
    data, stem, variant, config, result = job
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as directory:
        lane_job = LaneJob(
            [load_pair(data, stem)], ChannelLayout(3, ("mask",)), "0" * 32, Path(directory), seed=7
        )
        started = time.process_time()
        if variant in PLATEAUS:
            train_to_plateau(lane_job, config, PLATEAUS[variant])
        # `train_lanes` takes a finished lane from its checkpoint and trains nothing.
        (generator,) = train_lanes([lane_job], config, profile="benchmark")
        seconds = time.process_time() - started
        if isinstance(generator, DivergedError):
            raise generator
        # Only the checkpoint holds the reconstruction from z*; a new lane reads it from there.
        lane = Lane(lane_job, config, torch.device("cpu"))
    drawn = sample(generator, generator.spec.noise(0, range(SAMPLES))).clip(-1, 1)
    partial = result.with_suffix(".partial.npz")
    np.savez(
        partial, seconds=seconds, real=lane.reals[-1][0][0], rebuilt=lane.reconstructions[0][0], samples=drawn
    )
    partial.rename(result)


def figures(path: Path, network: Inception | None) -> dict[str, float]:
    """Quality of a trained generator, compared with the real image at the finest scale."""
    with np.load(path) as stored:
        seconds = float(stored["seconds"])
        real, rebuilt, samples = stored["real"], stored["rebuilt"], stored["samples"]
    truth, mask = real[3] > 0, rebuilt[3] > 0
    return {
        "CPU s": seconds,
        **({} if network is None else {"SIFID": float(sifid(real[:3], samples[:, :3], network).mean())}),
        "reconstruction RMSE": float(np.sqrt(np.mean((rebuilt[:3] - real[:3]) ** 2))),
        "mask IoU": float((truth & mask).sum() / (truth | mask).sum()),
        "diversity": float(samples[:, :3].std(axis=0).mean() / real[:3].std()),
        "from source": float(np.sqrt(np.mean((samples[:, :3] - real[:3]) ** 2)) / real[:3].std()),
    }


def table(rows: list[dict[str, float | str]], variants: list[str]) -> Table:
    """Mean and interval of each variant, and its paired difference from the first variant."""
    names = [name for name in rows[0] if name not in ("image", "variant")]
    result = Table(title="mean over images [95 % interval]; paired difference to the first row below it")
    for column in ("variant", *names):
        result.add_column(column, justify="right")
    by_variant = {
        variant: {name: np.array([row[name] for row in rows if row["variant"] == variant]) for name in names}
        for variant in variants
    }
    for variant in variants:
        cells, differences = [], []
        for name in names:
            values = by_variant[variant][name]
            cells.append(str(bootstrap_mean(values)))
            change = bootstrap_mean(values - by_variant[variants[0]][name])
            differences.append(f"{change.mean:+.2g} [{change.low:+.2g}, {change.high:+.2g}]")
        result.add_row(variant, *cells)
        if variant != variants[0]:
            result.add_row("", *differences, style="dim")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with images/ and masks/ (left out: drawn pictures)")
    parser.add_argument("--features", type=Path, help="Inception weights (left out: no SIFID)")
    parser.add_argument(
        "--out", type=Path, help="folder for results; results that it already holds are not computed again"
    )
    parser.add_argument("--images", type=int, default=6)
    parser.add_argument("--side", type=int, default=48)
    parser.add_argument("--variants", nargs="+", choices=[*VARIANTS, *PLATEAUS], default=["quick", "fast"])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if args.data is None:
            args.data = Path(scratch) / "data"
            phantom.write_data_set(args.data, args.images, height=96, width=112)
        args.out = args.out or Path(scratch) / "runs"
        compare(args)


def compare(args: argparse.Namespace) -> None:
    """Train the pairs of image and variant that have no result yet, and print the table."""
    stems = sorted(path.stem for path in (args.data / "images").iterdir())
    chosen = stems[:: max(1, len(stems) // args.images)][: args.images]
    args.out.mkdir(parents=True, exist_ok=True)
    results = {
        (variant, stem): args.out / f"{variant}-{args.side}-{stem}.npz"
        for variant in args.variants
        for stem in chosen
    }
    jobs = [
        (args.data, stem, variant, settings_of(variant, args.side), path)
        for (variant, stem), path in results.items()
        if not path.exists()
    ]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        for _ in pool.imap_unordered(train_once, jobs, chunksize=1):
            pass
    network = None if args.features is None else inception.load(args.features, inception.STEM_DIMENSION)
    rows = [
        {"image": stem, "variant": variant, **figures(path, network)}
        for (variant, stem), path in results.items()
    ]
    Console(width=150).print(table(rows, args.variants))


if __name__ == "__main__":
    main()
