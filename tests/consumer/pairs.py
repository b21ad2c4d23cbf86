"""Small data-set folders, sound ones and broken ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SHAPE = (20, 24)  # height, width


def picture(seed: int, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """Smooth random RGB, so that different seeds look different."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize(shape[::-1], Image.Resampling.BICUBIC))


def disc(seed: int, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """A mask of one disc, 0 and 255."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    centre, radius = (8 + seed % 5, 9 + seed % 7), 3 + seed % 4
    return np.where((y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2, 255, 0).astype(np.uint8)


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def write_pairs(root: Path, count: int = 6, *, generators: Sequence[str] = ("a" * 32, "b" * 32)) -> Path:
    """A data set in the form that `consumer sample` writes, without `dataset.json`."""
    for number in range(count):
        save(root / f"images/{number:06d}.png", picture(number))
        save(root / f"masks/{number:06d}.png", disc(number))
    write_records(
        root,
        [
            {
                "file_name": f"images/{number:06d}.png",
                "mask_file_name": f"masks/{number:06d}.png",
                "generator": generators[number % len(generators)],
                "seed": 1,
                "index": number // len(generators),
            }
            for number in range(count)
        ],
    )
    return root


def write_records(root: Path, records: Sequence[dict[str, Any]]) -> None:
    (root / "metadata.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


def read_records(root: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (root / "metadata.jsonl").read_text().splitlines()]
