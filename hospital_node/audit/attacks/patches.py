"""Patch copying: do samples contain pieces of a source, inside or outside the mask?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from hospital_node.audit.attack import (
    MAX_TARGETS,
    MIN_CONTROLS,
    Array,
    AttackContext,
    AttackResult,
    Measure,
    Quantity,
    Question,
)
from hospital_node.audit.attacks.distance import NEAREST_POSSIBLE
from hospital_node.audit.exposure import Exposure, exposure, worst
from sharekit.intervals import wilson

NAME = "patch-copying"
SIZES = (11, 21)
"""Pixels: SinGAN's receptive field at one scale, and about twice as much."""
QUERIES = 128
"""Patches of samples that are looked for, of each size, inside and outside the mask."""
COPIED = 0.1
"""Share of a patch's contrast: a patch that lies nearer is called a copy."""
TURNED = 11
"""Pixels: patches of this side are looked for turned by quarters and mirrored, too: training may turn."""
PLAIN = 0.02
"""Standard deviation of a patch, in [-1, 1], below which it shows nothing that could be copied."""
MATCHES = 3
"""The score is the distance of this many best matches: a single one occurs by chance."""
_WINDOWS = 4096  # windows that are compared at once

WILSON = "Wilson, 95 %"
COPIES = {
    (size, inside): Quantity(
        NAME,
        f"copied_{size}_{'inside' if inside else 'outside'}",
        f"share of {size}x{size} patches {'inside' if inside else 'outside'} the mask that a source contains",
    )
    for size in SIZES
    for inside in (True, False)
}
_SPACE = "full"


@dataclass(frozen=True)
class PatchCopying:
    """The attacker looks for pieces of samples in the real images."""

    name: str = NAME
    question: Question = Question.QUERY

    def run(self, context: AttackContext) -> AttackResult:
        details = context.details
        if details is None or not len(details.images.samples):
            return AttackResult.not_made(self.name, "no sample was kept at full size")
        images = details.images
        controls = images.controls[:MAX_TARGETS]
        measures: list[Measure] = []
        found: list[Exposure] = []
        for (size, inside), quantity in COPIES.items():
            rng = np.random.default_rng(context.seed)
            where = details.inside if inside else ~details.inside
            queries = _patches(rng, images.samples, size, where)
            if len(queries) <= MATCHES:
                continue
            distances = _nearest_turned(queries, [*images.sources, *controls], size)
            k = len(images.sources)
            scores = np.log(np.maximum(np.sort(distances, axis=1)[:, MATCHES - 1], NEAREST_POSSIBLE))
            exposed = exposure(scores[:k], scores[k:])
            found.append(exposed)
            copied = wilson(int((distances[:k].min(axis=0) < COPIED).sum()), len(queries))
            measures.append(
                Measure.of(
                    _SPACE,
                    quantity,
                    copied,
                    WILSON,
                    control=_share(rng, controls, images.sources, size),
                    stranger=_share(rng, images.strangers, images.sources, size),
                    effect=exposed.effect,
                )
            )
        return AttackResult(
            self.name,
            f"RMSE of patches of samples to the nearest patch of a source, of the patch's own contrast; below"
            f" {COPIED:g} it is a copy; patches of {TURNED} pixels are turned by quarters and mirrored, too",
            len(images.samples),
            len(controls),
            tuple(measures),
            worst(found),
        )


def _share(rng: np.random.Generator, images: Array, sources: Array, size: int) -> float | None:
    """Share of patches of other images that the sources contain, too; None: there are no patches."""
    if len(images) < MIN_CONTROLS or min(images.shape[-2:]) < size:
        return None
    queries = _patches(rng, images, size, np.ones((len(images), *images.shape[-2:]), bool))
    if not len(queries):
        return None
    return float((_nearest_turned(queries, list(sources), size).min(axis=0) < COPIED).mean())


def _patches(rng: np.random.Generator, images: Array, size: int, where: NDArray[np.bool_]) -> Array:
    """Up to `QUERIES` patches `(n, C * size * size)` with some contrast, whose centres lie in `where`."""
    if min(images.shape[-2:]) < size:
        return np.zeros((0, 0), np.float32)
    half = size // 2
    centres = np.argwhere(where[:, half : where.shape[1] - half, half : where.shape[2] - half])
    found = []
    for number, y, x in centres[rng.permutation(len(centres))[: 8 * QUERIES]]:
        patch = images[number, :, y : y + size, x : x + size].ravel()
        if patch.std() >= PLAIN:
            found.append(patch)
        if len(found) == QUERIES:
            break
    return np.stack(found) if found else np.zeros((0, 0), np.float32)


def _nearest_turned(queries: Array, images: Sequence[Array], size: int) -> NDArray[np.float64]:
    """`_nearest`; for patches of `TURNED` pixels, of the position that fits best."""
    if size != TURNED:
        return _nearest(queries, images, size)
    square = queries.reshape(len(queries), -1, size, size)
    positions = [
        np.rot90(one, quarters, (2, 3)) for one in (square, square[..., ::-1]) for quarters in range(4)
    ]
    turned = np.concatenate([np.ascontiguousarray(one).reshape(queries.shape) for one in positions])
    found = _nearest(turned, images, size)
    best: NDArray[np.float64] = found.reshape(len(images), len(positions), len(queries)).min(axis=1)
    return best


def _nearest(queries: Array, images: Sequence[Array], size: int) -> NDArray[np.float64]:
    """RMSE of each query to the nearest patch of each image, of the query's contrast: `(images, queries)`."""
    contrast = np.maximum(queries.std(axis=1).astype(np.float64), NEAREST_POSSIBLE)
    lengths = (queries.astype(np.float64) ** 2).sum(axis=1)
    found = np.full((len(images), len(queries)), np.inf)
    for row, image in enumerate(images):
        windows = sliding_window_view(image, (size, size), axis=(1, 2)).transpose(1, 2, 0, 3, 4)
        flat = windows.reshape(-1, *windows.shape[2:])
        for start in range(0, len(flat), _WINDOWS):
            some = flat[start : start + _WINDOWS].reshape(-1, queries.shape[1])
            squares = (some.astype(np.float64) ** 2).sum(axis=1)[:, None] - 2 * (some @ queries.T)
            found[row] = np.minimum(found[row], squares.min(axis=0))
    return np.sqrt(np.maximum(found + lengths, 0) / queries.shape[1]) / contrast
