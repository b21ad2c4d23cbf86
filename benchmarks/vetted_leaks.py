"""Does a node's list of good samples show the sources less than the samples themselves? Prints both.

The node knows some of the images that the generator never saw, and compares samples with them. The attacks
use the others. Takes a group that `frontier.py` trained, or trains it:

    python benchmarks/vetted_leaks.py --data DIR --out RUNS --groups 0
"""

from __future__ import annotations

import argparse
from pathlib import Path

import frontier
import group_leaks
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from hospital_node.audit.real_images import MAX_CONTROLS
from hospital_node.release.examined import Examined
from hospital_node.release.nearness import Nearness
from hospital_node.release.vetting import BATCH, KEPT
from hospital_node.release.vetting_settings import CANDIDATES, SEED
from hospital_node.singan.networks import sample
from hospital_node.singan.trained import TrainedGenerator

COLOURS = frontier.LAYOUT.image_channels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with images/ and masks/")
    parser.add_argument("--out", type=Path, required=True, help="folder of frontier.py's results")
    parser.add_argument("--side", type=int, default=64, help="long side of the pictures in pixels")
    parser.add_argument("--k", type=int, default=10, help="images behind the generator")
    parser.add_argument("--groups", type=int, nargs="+", default=[0], help="numbers of the groups")
    parser.add_argument("--controls", type=int, default=MAX_CONTROLS, help="never-seen images of the node")
    args = parser.parse_args()
    torch.set_num_threads(1)
    data = frontier.Data.read(args.data, args.side)
    for group in args.groups:
        point = frontier.Point("group", args.k, group, args.k)
        frontier.samples_of(point, data, args.out)
        generator = TrainedGenerator.load(point.folder(args.out) / "0" / "generator.safetensors")
        Console(width=200).print(compared(generator, *data.group(group, args.k), args.controls, str(group)))


def compared(
    generator: TrainedGenerator, sources: frontier.Array, others: frontier.Array, known: int, title: str
) -> Table:
    """Leaks of all candidates and of the listed ones, a row for each attack."""
    random = np.random.default_rng(0)
    others = others[random.permutation(len(others))]
    controls, unseen = others[:known, :COLOURS], others[known:, :COLOURS]
    sources = sources[:, :COLOURS]
    batches = np.array_split(np.arange(CANDIDATES), -(-CANDIDATES // BATCH))
    drawn = [sample(generator, generator.spec.noise(SEED, batch.tolist())).clip(-1, 1) for batch in batches]
    nearness = Nearness(sources, controls)
    examined = Examined.joined([Examined.of(batch, COLOURS, nearness) for batch in drawn])
    candidates = np.concatenate(drawn)[:, :COLOURS]
    every = np.ones(len(candidates), bool)
    listed = examined.good(random.random(len(candidates)) < KEPT)

    def row(kept: NDArray[np.bool_]) -> dict[str, str]:
        pictures = (candidates[kept], sources, unseen)
        nearest = group_leaks.nearest_source(*pictures)
        auc = group_leaks.membership(*pictures)
        return {
            **{f"nearest, {view}": str(found) for view, found in nearest.items()},
            **{f"AUC, {view}": str(found) for view, found in auc.items()},
            "patches": str(group_leaks.patch_copying(*pictures)),
            "gaps": str(group_leaks.gaps(kept, candidates, sources, unseen)),
        }

    chance = len(sources) / (len(sources) + len(unseen))
    table = Table(title=f"group {title}; nearest by chance {chance:.3f}, AUC and gaps 0.5, patches 0")
    for column in ("attack", f"all {len(candidates)}", f"the {listed.sum()} listed"):
        table.add_column(column)
    all_, good = row(every), row(listed)
    for name in all_:
        table.add_row(name, all_[name], good[name])
    return table


if __name__ == "__main__":
    main()
