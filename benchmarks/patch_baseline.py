"""A training-free baseline: samples put together from the nearest patches of the real images themselves.

After GPNN (Granot et al., CVPR 2022), without its weighting: from a blurred mixture of the sources up, every
patch is replaced by its nearest real one and overlaps are averaged. It carries the images that it draws from,
so that it can never leave a hospital. It is here to show why one trains at all.

    python benchmarks/patch_baseline.py DATA --samples 30 --seed 0 --out DIR

writes samples of the images and masks in DATA as a data folder. A plan of `sharekit experiment fair` can
name this command.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from quality import load_pair
from torch import Tensor
from torch.nn import functional as F

from hospital_node.node.pair import common_size
from hospital_node.singan.config import PROFILES, TrainingConfig
from hospital_node.singan.pyramid import pyramid_sizes, resize, upsample
from sharekit.generator.tensors import binarise, tensor_to_pixels
from sharekit.storage import files

PATCH = 7  # pixels, both sides
ROUNDS = 1
"""Replacements at each scale."""
NOISE = 0.75
"""Standard deviation of the noise on the coarsest picture, as in GPNN."""


def draw(sources: Sequence[NDArray[np.float32]], config: TrainingConfig, count: int, seed: int = 0) -> Tensor:
    """`(count, C, H, W)` in [-1, 1] from k sources `(C, H, W)` of one size."""
    random = torch.Generator().manual_seed(seed)
    real = torch.from_numpy(np.stack(sources))
    height, width = real.shape[2:]
    sizes = pyramid_sizes(height, width, config)
    return torch.cat([_draw_one(real, sizes, random) for _ in range(count)])


def _draw_one(real: Tensor, sizes: Sequence[tuple[int, int]], random: torch.Generator) -> Tensor:
    start = resize(real, *sizes[0]).mean(dim=0, keepdim=True)
    picture = start + NOISE * torch.randn(start.shape, generator=random)
    for size in sizes:
        keys = values = resize(real, *size)
        picture = upsample(picture, *size)
        for _ in range(ROUNDS):
            picture = _replace(picture, keys, values)
    return picture.clamp(-1, 1)


def _replace(picture: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Every patch of `(1, C, H, W)` replaced by the value of the nearest key; overlaps are averaged."""
    size = picture.shape[2:]
    queries = F.unfold(picture, PATCH)[0].T
    known = F.unfold(keys, PATCH).permute(0, 2, 1).flatten(0, 1)
    nearest = torch.cdist(queries, known).argmin(dim=1)
    chosen = F.unfold(values, PATCH).permute(0, 2, 1).flatten(0, 1)[nearest].T[None]
    return F.fold(chosen, size, PATCH) / F.fold(torch.ones_like(chosen), size, PATCH)


def read_sources(data: Path, config: TrainingConfig) -> list[NDArray[np.float32]]:
    """The pairs of a data folder as `(4, H, W)` in [-1, 1], all of the size that a group is trained at."""
    pairs = [torch.from_numpy(load_pair(data, path.stem)) for path in sorted((data / "images").iterdir())]
    size = pyramid_sizes(*common_size([(pair.shape[1], pair.shape[2]) for pair in pairs]), config)[-1]
    return [resize(pair[None], *size)[0].numpy() for pair in pairs]


def write(samples: Tensor, out: Path) -> None:
    """Write `(N, 4, H, W)` samples as a data folder, which appears when it is complete."""
    with files.new_directory(out, mode=0o700) as folder:
        for name in ("images", "masks"):
            (folder / name).mkdir()
        for number, pixels in enumerate(tensor_to_pixels(samples.numpy())):
            Image.fromarray(pixels[..., :3]).save(folder / f"images/{number:06}.png")
            Image.fromarray(binarise(pixels[..., 3])).save(folder / f"masks/{number:06}.png")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("--samples", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--format", choices=["json"], default="json", help="form of the result")
    args = parser.parse_args()
    config = PROFILES["quick"]
    write(draw(read_sources(args.data, config), config, args.samples, args.seed), args.out)
    print(json.dumps({"out": str(args.out), "samples": args.samples}))


if __name__ == "__main__":
    main()
