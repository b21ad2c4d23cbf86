"""Quality against time: variants of the training settings on real images, each with its figures.

For every image and variant: seconds of CPU time, SIFID (64-d), reconstruction RMSE, IoU of the reconstructed
mask, and diversity; then the mean over the images with a bootstrap interval, and the difference to the first
variant on the same images.

    python benchmarks/quality.py --data DIR --features fid_inception_pool0_64.safetensors --out RUNS \
        --variants paper 400 one-step-1200
"""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
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
from safetensors.torch import load_file
from scipy.linalg import sqrtm
from torch.nn import functional as F

from hospital_node.singan.config import PROFILES, TrainingConfig
from hospital_node.singan.networks import sample
from hospital_node.singan.training import DivergedError, Lane, LaneJob, train_lanes
from sharekit.tensors import ChannelLayout, binarise, pixels_to_tensor

SAMPLES = 16


def changed(**settings: Any) -> TrainingConfig:
    """The `private` profile, which is `paper` with one z* for good, with these settings instead."""
    return dataclasses.replace(PROFILES["private"], **settings)


ONE_STEP: Mapping[str, int] = {"discriminator_steps": 1, "generator_steps": 1}
VARIANTS: Mapping[str, TrainingConfig] = {
    "paper": PROFILES["paper"],
    "bfloat16": changed(precision="bfloat16"),
    "400": changed(iterations=400),
    "100": changed(iterations=100),
    "one-step-1200": changed(iterations=1200, **ONE_STEP),
    "one-step-1200-2x": changed(iterations=1200, learning_rate=1e-3, **ONE_STEP),
    "one-step-600-2x": changed(iterations=600, learning_rate=1e-3, **ONE_STEP),
    "one-step-300-4x": changed(iterations=300, learning_rate=2e-3, **ONE_STEP),
    "lazy-1500": changed(iterations=1500, penalty_interval=4, **ONE_STEP),
    "fewer-scales-500": changed(iterations=500, scale_factor=0.5),
    "quick": dataclasses.replace(PROFILES["quick"], iterations=200),
}
"""Everything but `paper` holds one z*, as what is released does."""


def load_pair(data: Path, stem: str) -> NDArray[np.float32]:
    """`(4, H, W)` float32 in [-1, 1] of an image and its mask."""
    image = np.asarray(Image.open(next((data / "images").glob(f"{stem}.*"))).convert("RGB"))
    mask = np.asarray(Image.open(next((data / "masks").glob(f"{stem}.*"))).convert("L"))
    return np.concatenate([pixels_to_tensor(image), pixels_to_tensor(binarise(mask))])


def inception_features(images: torch.Tensor, weights: Mapping[str, torch.Tensor]) -> NDArray[np.float64]:
    """`(N, 3, H, W)` in [-1, 1] to `(N, pixels, 64)`: Inception v3 up to its first max pool, at native size.

    Three convolutions with ReLU, batch norm folded into them: stride 2, then 1, then 1 with padding.
    """
    x = images
    for name, stride, padding in (("conv", 2, 0), ("conv_1", 1, 0), ("conv_2", 1, 1)):
        x = F.relu(F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], stride, padding))
    x = F.max_pool2d(x, 3, 2)
    return x.flatten(2).transpose(1, 2).double().numpy()


def frechet_distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Fréchet distance between Gaussians fitted to two sets `(pixels, features)` (Heusel et al., 2017)."""
    mean = ((a.mean(axis=0) - b.mean(axis=0)) ** 2).sum()
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    return float(mean + np.trace(first + second - 2 * np.real(sqrtm(first @ second))))


def train_once(job: tuple[Path, str, TrainingConfig, Path]) -> None:
    """Train one image under one variant, in a process of its own with one thread; keep what it gives."""
    data, stem, config, result = job
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as directory:
        lane_job = LaneJob(
            [load_pair(data, stem)], ChannelLayout(3, ("mask",)), "0" * 32, Path(directory), seed=7
        )
        started = time.process_time()
        (generator,) = train_lanes([lane_job], config, profile="benchmark")
        seconds = time.process_time() - started
        if isinstance(generator, DivergedError):
            raise generator
        # What z* gives is only in the checkpoint, where the finished lane is found again.
        lane = Lane(lane_job, config, torch.device("cpu"))
    drawn = sample(generator, generator.spec.noise(0, range(SAMPLES))).clip(-1, 1)
    partial = result.with_suffix(".partial.npz")
    np.savez(
        partial, seconds=seconds, real=lane.reals[-1][0][0], rebuilt=lane.reconstructions[0][0], samples=drawn
    )
    partial.rename(result)


def figures(path: Path, weights: Mapping[str, torch.Tensor]) -> dict[str, float]:
    """What a trained generator is worth, against the real image at its finest scale."""
    with np.load(path) as stored:
        seconds = float(stored["seconds"])
        real, rebuilt, samples = (torch.from_numpy(stored[name]) for name in ("real", "rebuilt", "samples"))
    target = inception_features(real[None, :3], weights)[0]
    found = inception_features(samples[:, :3], weights)
    truth, mask = real[3] > 0, rebuilt[3] > 0
    return {
        "CPU s": seconds,
        "SIFID": float(np.mean([frechet_distance(target, one) for one in found])),
        "reconstruction RMSE": float(F.mse_loss(rebuilt[:3], real[:3]).sqrt()),
        "mask IoU": float((truth & mask).sum() / (truth | mask).sum()),
        "diversity": float(samples[:, :3].std(dim=0).mean() / real[:3].std()),
    }


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the mean over images (Efron 1979), 2,000 draws."""
    draws = np.random.default_rng(0).choice(values, (2000, len(values))).mean(axis=1)
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)


def table(rows: list[dict[str, float | str]], variants: list[str]) -> Table:
    """Mean with its interval for each variant, and the paired difference to the first one."""
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
            low, high = interval(values)
            cells.append(f"{values.mean():.3g} [{low:.3g}, {high:.3g}]")
            change = values - by_variant[variants[0]][name]
            low, high = interval(change)
            differences.append(f"{change.mean():+.2g} [{low:+.2g}, {high:+.2g}]")
        result.add_row(variant, *cells)
        if variant != variants[0]:
            result.add_row("", *differences, style="dim")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with images/ and masks/")
    parser.add_argument("--features", type=Path, required=True, help="Inception's first layers, safetensors")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of what was trained; nothing in it is done again"
    )
    parser.add_argument("--images", type=int, default=6)
    parser.add_argument("--side", type=int, default=48)
    parser.add_argument("--variants", nargs="+", choices=sorted(VARIANTS), default=["paper", "400"])
    args = parser.parse_args()
    stems = sorted(path.stem for path in (args.data / "images").iterdir())
    chosen = stems[:: max(1, len(stems) // args.images)][: args.images]
    args.out.mkdir(parents=True, exist_ok=True)
    results = {
        (variant, stem): args.out / f"{variant}-{args.side}-{stem}.npz"
        for variant in args.variants
        for stem in chosen
    }
    jobs = [
        (args.data, stem, dataclasses.replace(VARIANTS[variant], max_side=args.side), path)
        for (variant, stem), path in results.items()
        if not path.exists()
    ]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        for _ in pool.imap_unordered(train_once, jobs, chunksize=1):
            pass
    weights = load_file(args.features)
    rows = [
        {"image": stem, "variant": variant, **figures(path, weights)}
        for (variant, stem), path in results.items()
    ]
    Console(width=150).print(table(rows, args.variants))


if __name__ == "__main__":
    main()
