"""Split a data set by the height of its pictures: the high ones become external data, as if from elsewhere.

Pictures of another size are usually from another device. `sharekit experiment fair` refuses the external data
if one of them looks like a picture of the folds.

    python benchmarks/external_by_size.py --data DATA --out OUT --height 540

    OUT/own/        images/, masks/ and folds.csv of the lower pictures
    OUT/external/   images/ and masks/ of the pictures that are at least as high
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter
from pathlib import Path

from PIL import Image

from sharekit.experiment.folds import read_table
from sharekit.experiment.picture_pool import Picture, read_pictures, write_pictures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with images/, masks/ and folds.csv")
    parser.add_argument("--out", type=Path, required=True, help="folder of the two data sets")
    parser.add_argument("--height", type=int, required=True, help="least height of an external picture, px")
    args = parser.parse_args()
    folds = read_table(args.data / "folds.csv", "fold")
    pictures = read_pictures(args.data, folds)
    high = {each.name for each in pictures if _height(args.data, each) >= args.height}
    own = tuple(each for each in pictures if each.name not in high)
    external = tuple(each for each in pictures if each.name in high)
    write_pictures(args.data, own, args.out / "own")
    write_pictures(args.data, external, args.out / "external")
    with (args.out / "own" / "folds.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("name", "fold"))
        writer.writerows((each.name, folds[each.name]) for each in own)
    counts = Counter(folds[each.name] for each in own)
    print(f"own: {dict(sorted(counts.items()))} by fold; external: {len(external)}")


def _height(root: Path, each: Picture) -> int:
    with Image.open(root / each.image) as image:
        return image.height


if __name__ == "__main__":
    main()
