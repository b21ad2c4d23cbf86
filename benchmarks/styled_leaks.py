"""What style transfer adds to what samples give away: the same samples before and after it.

Trained generators' samples come from a folder that `frontier.py` wrote. Each sample is styled with Gram
matrices averaged over the sources of its generator, as a bundle would hold them, and, as a control, over as
many images that no generator saw. The attacks of `group_leaks.py` look at the samples before and after; real
images of other folds are what an attacker compares with. Styled samples stay in `--out`: a run that was
stopped goes on.

    python benchmarks/styled_leaks.py --data DIR --frontier RUNS --out STYLED --settings group quick --k 10 1
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from frontier import Data, Point, samples_of
from group_leaks import distances, membership, nearest_source, patch_copying
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from hospital_node.statistics.gram_matrices import load_torch_once, style_statistics
from sharekit.bundle import features
from sharekit.bundle.style_transfer import style_transfer
from sharekit.intervals import Interval, bootstrap

Array = NDArray[np.float32]
CONTENT_WEIGHT, RATE = 1.0, 0.01
"""The paper's content weight and learning rate, which `consumer style` takes too."""
BATCH = 8
VIEWS = ("thumbnail", "full", "histogram")


def styled(samples: Array, target: Array, weights: Path, weight: float, steps: int, out: Path) -> Array:
    """Samples `(N, 3, H, W)` after style transfer to the mean Gram matrices of `target`, kept in `out`."""
    if not out.exists():
        network = load_torch_once(weights)
        statistics = style_statistics(target, network, k=len(target))
        after = [
            style_transfer(
                torch,
                samples[start : start + BATCH],
                statistics,
                network,
                content_weight=CONTENT_WEIGHT,
                style_weight=weight,
                steps=steps,
                learning_rate=RATE,
            )
            for start in range(0, len(samples), BATCH)
        ]
        np.save(out, np.concatenate(after))
    found: Array = np.load(out)
    return found


def change(before: Array, after: Array, sources: Array, unseen: Array, view: str) -> Interval:
    """AUC of `membership` after less before; both from the same resamples of the real images."""
    real = np.concatenate([sources, unseen])
    truth = np.arange(len(real)) < len(sources)
    near = [-distances(samples, real, view).min(axis=0) for samples in (before, after)]

    def difference(rows: NDArray[np.intp]) -> float:
        first, second = (float(roc_auc_score(truth[rows], one[rows])) for one in near)
        return second - first

    def resampled(rows: NDArray[np.intp], rng: np.random.Generator) -> float:
        inside, outside = np.flatnonzero(truth), np.flatnonzero(~truth)
        return difference(
            np.concatenate([rng.choice(inside, len(inside)), rng.choice(outside, len(outside))])
        )

    return bootstrap(difference(np.arange(len(real))), len(real), resampled, draws=500)


def row(name: str, before: Array, samples: Array, sources: Array, unseen: Array) -> str:
    nearest = nearest_source(samples, sources, unseen)
    found = membership(samples, sources, unseen)
    patches = patch_copying(samples, sources, unseen)
    moved = "" if samples is before else _plain(change(before, samples, sources, unseen, "thumbnail"), "+")
    shares = [_percent(nearest[view]) for view in VIEWS]
    aucs = [_plain(found[view]) for view in VIEWS]
    return f"| {' | '.join([name, *shares, *aucs, moved, _plain(patches, '+')])} |"


def _percent(one: Interval) -> str:
    return f"{100 * one.mean:.0f} [{100 * one.low:.0f}, {100 * one.high:.0f}]"


def _plain(one: Interval, sign: str = "") -> str:
    return f"{one.mean:{sign}.2f} [{one.low:{sign}.2f}, {one.high:{sign}.2f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with `images/` and `masks/`")
    parser.add_argument("--frontier", type=Path, required=True, help="folder that `frontier.py` wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder for styled samples and tables")
    parser.add_argument("--settings", nargs="+", default=["group"], help="names of the frontier's settings")
    parser.add_argument("--k", nargs="+", type=int, default=[10], help="images behind each generator")
    parser.add_argument("--groups", nargs="+", type=int, default=[0], help="groups of every setting")
    parser.add_argument("--samples", type=int, default=32, help="samples to style, of 200")
    parser.add_argument("--style-weight", type=float, default=1000.0)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--side", type=int, default=64, help="long side in pixels, as in the frontier")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    weights = features.find()
    if weights is None:
        raise SystemExit(f"no feature network: name its file in {features.ENVIRONMENT_VARIABLE}")
    data = Data.read(args.data, args.side)
    print(f"{args.samples} samples, {args.steps} steps, style weight {args.style_weight:g}, {weights.name}")
    titles = ("samples", *(f"nearest, {one}, %" for one in VIEWS), *(f"AUC, {one}" for one in VIEWS))
    print(f"| {' | '.join((*titles, 'change of AUC, thumbnail', 'copied patches'))} |")
    print("| --- |" + " ---: |" * 8, flush=True)
    for setting, k in zip(args.settings, args.k, strict=True):
        for group in args.groups:
            point = Point(setting, k, group)
            drawn, _ = samples_of(point, data, args.frontier)
            chosen = np.random.default_rng(0).permutation(len(drawn))[: args.samples]
            before = np.ascontiguousarray(drawn[chosen, :3])
            sources, others = (part[:, :3] for part in data.group(group, point.sources))
            # The control's style images are no part of what an attacker compares with.
            order = np.random.default_rng(1).permutation(len(others))
            target, unseen = others[order[: len(sources)]], others[order[len(sources) :]]
            name = f"{setting}, k = {k}, group {group}"
            tables = {name: before}
            for words, style in (("its sources", sources), ("other images", target)):
                file = f"{point.name} {words} {args.samples} {args.steps} {args.style_weight:g}.npy"
                after = styled(before, style, weights, args.style_weight, args.steps, args.out / file)
                tables[f"{name}, styled after {words}"] = after
            for title, samples in tables.items():
                print(row(title, before, samples, sources, unseen), flush=True)


if __name__ == "__main__":
    main()
