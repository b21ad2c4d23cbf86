"""What protected colours cost: how exact they are, and how near they bring other pictures to the real ones.

The real images are those of a folder, one unit each. Three tables:

*Affordable*: the noise in one average, as a share of its bounds, for a number of averages, k and epsilon. It
follows from the mechanism alone.

*Error*: the distance of the published average colours from the true ones of k pictures, in CIE units, over
draws of the pictures and of the noise; also what sampling k of all pictures costs without any noise.

*Transfer*: pictures of another look (the same kind of pictures with their colours changed at random, as a
generator or another device may change them) are moved to the published colours. Before and after: the colour
difference of the averages (Delta E, CIE 1976), and the Frechet distance of the six numbers between the moved
pictures and real ones that were not behind the average.

    python benchmarks/private_style.py --data DIR
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from consumer.style.colours import ColourMove
from hospital_node.fidelity.frechet import frechet_distance
from hospital_node.statistics.protected_colours import protected_colours
from sharekit.bundle.colour_statistics import BOUNDS, picture_colours
from sharekit.generator.tensors import pixels_to_tensor
from sharekit.intervals import student_mean
from sharekit.pictures.lab import from_lab, to_lab

SIDE = 64
"""Pixels, long side, at which pictures are compared."""
MOVED = 20
"""Pictures of another look that are moved, and as many real ones that they are compared with."""
LOW, HIGH = np.array(list(BOUNDS.values())).T


def affordable(sizes: list[int], epsilons: list[float]) -> None:
    print("\n| averages | k | " + " | ".join(f"epsilon {one:g}" for one in epsilons) + " |")
    print("| ---: | ---: |" + " ---: |" * len(epsilons))
    for count, words in ((6, "6, colours"), (128, "128, conv1_1"), (305_888, "305,888, Gram matrices")):
        for k in sizes:
            shares = (f"{100 * count / (k * one):,.1f} %" for one in epsilons)
            print(f"| {words} | {k} | {' | '.join(shares)} |")


def error(numbers: NDArray[np.float64], k: int, epsilon: float | None, draws: int) -> list[list[float]]:
    """Distances of mean colour and of deviation from the true averages of all pictures; None: no noise."""
    rng = np.random.default_rng(k)
    truth, found = numbers.mean(axis=0), []
    for _ in range(draws):
        chosen = numbers[rng.permutation(len(numbers))[:k]]
        if epsilon is None:
            average = chosen.mean(axis=0)
        else:
            protected = protected_colours(chosen, epsilon)
            average = np.array([protected.values[name] for name in BOUNDS])
        off = average - truth
        found.append([float(np.linalg.norm(off[:3])), float(np.linalg.norm(off[3:]))])
    return np.transpose(found).tolist()


def another_look(images: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Pictures with lightness, hue and contrast changed alike, by amounts at random."""
    lab = to_lab(images)
    mean = lab.mean(axis=(2, 3), keepdims=True)
    shift = rng.uniform((-12, -12, -12), (12, 12, 12))[:, None, None]
    stretch = rng.uniform(0.7, 1.4, 3)[:, None, None]
    return from_lab(mean + (lab - mean) * stretch + shift)


def colours(images: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.array([picture_colours(image) for image in images])


def transfer(images: NDArray[np.float32], k: int, epsilon: float | None, draws: int) -> list[list[float]]:
    """Delta E and Frechet distance before, then after the move."""
    rng = np.random.default_rng(k)
    found = []
    for _ in range(draws):
        order = rng.permutation(len(images))
        behind, free = images[order[:k]], images[order[k:]]
        if len(free) < 2 * MOVED:
            raise SystemExit(f"k = {k} leaves {len(free)} pictures, fewer than {2 * MOVED}")
        moved, judged = another_look(free[:MOVED], rng), colours(free[MOVED : 2 * MOVED])
        statistics = protected_colours(colours(behind), 1e9 if epsilon is None else epsilon)
        row = []
        for one in (moved, ColourMove.towards(statistics, moved).apply(moved)):
            mine = colours(one)
            row.append(float(np.linalg.norm((mine.mean(axis=0) - judged.mean(axis=0))[:3])))
            row.append(float(frechet_distance(mine / (HIGH - LOW), judged / (HIGH - LOW))))
        found.append(row)
    return np.transpose(found).tolist()


def read(folder: Path) -> NDArray[np.float32]:
    """Every picture of `images/`, `(n, 3, SIDE, SIDE)` in [-1, 1]."""
    small = [
        np.asarray(Image.open(path).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX))
        for path in sorted((folder / "images").iterdir())
    ]
    return np.stack([pixels_to_tensor(one) for one in small])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with `images/`")
    parser.add_argument("--k", nargs="+", type=int, default=[100, 200])
    parser.add_argument("--epsilon", nargs="+", type=float, default=[0.5, 1.0, 3.0])
    parser.add_argument("--draws", type=int, default=40, help="draws of pictures, noise and look")
    args = parser.parse_args()
    images = read(args.data)
    numbers = colours(images)
    print(f"{len(images)} pictures of {SIDE} pixels; true averages and deviations between pictures:")
    for name, mean, between in zip(BOUNDS, numbers.mean(axis=0), numbers.std(axis=0), strict=True):
        print(f"  {name}: {mean:.1f}, {between:.1f}")
    affordable([*args.k, 1000], args.epsilon)
    print(
        "\n| k | epsilon | error of mean colour | error of deviation | Delta E: before | after | "
        "Frechet: before | after |"
    )
    print("| ---: | ---: |" + " ---: |" * 6, flush=True)
    for k in args.k:
        for epsilon in (*args.epsilon, None):
            figures = error(numbers, k, epsilon, args.draws) + transfer(images, k, epsilon, args.draws)
            first, second, before, frechet, after, frechet_after = map(str, map(student_mean, figures))
            shown = "no noise" if epsilon is None else f"{epsilon:g}"
            cells = (str(k), shown, first, second, before, after, frechet, frechet_after)
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
