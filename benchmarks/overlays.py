"""Measure how much burned-in text intake finds, and how often it takes something else for text.

Real pictures: every box of `overlay-labels.json` was drawn or checked by eye. A line counts as found when
intake paints over, or puts before a person, at least 90 % of its box; a graphic needs 60 %. Drawn pictures
(`drawn_overlays.py`) have one line each. Shares have 95 % Wilson intervals.

    python benchmarks/overlays.py --data ../shared/data/kvasir-seg --drawn 40
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from drawn_overlays import KINDS, draw
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table

from hospital_node.overlays.outcome import Overlays, Treatment, decide
from hospital_node.overlays.paint import painted
from hospital_node.overlays.region import Region
from hospital_node.overlays.survey import Survey
from hospital_node.overlays.text_detector import load_detector
from sharekit.intervals import wilson

LABELS = Path(__file__).with_name("overlay-labels.json")
LINE, GRAPHIC = 0.9, 0.6
"""Least share of a box that is painted over, for it to count as found."""


def share(hits: int, trials: int) -> str:
    """`97.1 % [95.9, 98.0] (1,404 of 1,446)`."""
    if not trials:
        return "none"
    found = wilson(hits, trials)
    return f"{found.mean:.1%} [{100 * found.low:.1f}, {100 * found.high:.1f}] ({hits:,} of {trials:,})"


def caught(boxes: Sequence[Sequence[int]], found: NDArray[np.bool_], least: float) -> list[bool]:
    """For each box, whether at least this share of it is marked in `(H, W)`."""
    return [bool(found[top:bottom, left:right].mean() >= least) for left, top, right, bottom in boxes]


def real_pictures(data: Path, console: Console) -> None:
    labels = json.loads(LABELS.read_text(encoding="utf-8"))
    pictures = {
        name: np.asarray(Image.open(data / "images" / name).convert("RGB")) for name in sorted(labels)
    }
    survey, started = Survey(load_detector()), time.monotonic()
    for name, pixels in pictures.items():
        survey.look(name, pixels)
    seconds = (time.monotonic() - started) / len(pictures)
    lines: list[bool] = []
    graphics: list[bool] = []
    whole: list[bool] = []
    some: list[bool] = []
    false_regions, false_pictures, review = 0, 0, 0
    for name, pixels in pictures.items():
        height, width = pixels.shape[:2]
        mask = np.asarray(Image.open(data / "masks" / name).convert("L")) > 127
        decided = decide(survey.overlays(name, pixels), {"lesion": mask}, height, width)
        review += decided.treatment is Treatment.WAITING
        regions = (*decided.painted, *decided.doubtful)
        found = painted(regions, height, width)
        text = caught(labels[name]["text"], found, LINE)
        lines += text
        graphics += caught(labels[name]["graphics"], found, GRAPHIC)
        if text:
            whole.append(all(text))
            some.append(any(text))
        wrong = len(unlabelled(decided, labels[name], height, width))
        false_regions += wrong
        false_pictures += wrong > 0
    table = Table("real pictures", "share [95 %]", title=f"{len(pictures)} pictures, {seconds:.2f} s each")
    table.add_row("pictures with text: every line found", share(sum(whole), len(whole)))
    table.add_row("pictures with text: a line found", share(sum(some), len(some)))
    table.add_row("lines found", share(sum(lines), len(lines)))
    table.add_row("graphics found", share(sum(graphics), len(graphics)))
    table.add_row("pictures with a false alarm", share(false_pictures, len(pictures)))
    table.add_row("false regions a picture", f"{false_regions / len(pictures):.2f}")
    table.add_row("pictures for review", share(review, len(pictures)))
    console.print(table)


def unlabelled(decided: Overlays, label: dict, height: int, width: int) -> list[Region]:
    """Regions that touch no labelled box."""
    truth = np.zeros((height, width), bool)
    for left, top, right, bottom in (*label["text"], *label["graphics"]):
        truth[max(0, top - 2) : bottom + 2, max(0, left - 2) : right + 2] = True
    return [one for one in (*decided.painted, *decided.doubtful) if not truth[one.slices].any()]


def drawn_pictures(count: int, seed: int, console: Console) -> None:
    table = Table("drawn pictures", "found [95 %]", title=f"{count} of each kind, seed {seed}")
    for kind in KINDS:
        hits = 0
        for number in range(count):
            one = draw(kind, number, seed=seed)
            assert one.box is not None
            height, width = one.pixels.shape[:2]
            decided = decide(Survey(load_detector()).overlays("one", one.pixels), {}, height, width)
            found = painted((*decided.painted, *decided.doubtful), height, width)
            hits += caught([one.box], found, LINE)[0]
        table.add_row(kind, share(hits, count))
    wrong = 0
    for number in range(count):
        pixels = draw("plain", number, seed=seed).pixels
        decided = decide(Survey(load_detector()).overlays("one", pixels), {}, *pixels.shape[:2])
        wrong += bool(decided.painted or decided.doubtful)
    table.add_row("without text: a false alarm", share(wrong, count))
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--data", type=Path, help="folder of the labelled pictures (left out: only drawn ones)"
    )
    parser.add_argument("--drawn", type=int, default=40, help="drawn pictures of each kind")
    parser.add_argument("--seed", type=int, default=1, help="seed of the drawn pictures")
    args = parser.parse_args()
    console = Console(width=110)
    if args.data is not None:
        real_pictures(args.data, console)
    if args.drawn:
        drawn_pictures(args.drawn, args.seed, console)


if __name__ == "__main__":
    main()
