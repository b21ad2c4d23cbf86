"""Canaries: does a pattern that was planted in a source come back in the samples?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from hospital_node.audit.attack import (
    MIN_CONTROLS,
    Array,
    AttackContext,
    AttackResult,
    Measure,
    Quantity,
    Question,
)
from hospital_node.audit.exposure import exposure

NAME = "canary"
CORRELATION = Quantity(
    NAME, "pattern", "correlation of a planted pattern with the place of a sample most like it"
)
BLOCK = 2  # pixels: side of one square of a pattern
DECOYS = 48
"""Patterns of the same kind that were never planted."""
SAMPLES = "smallest and largest over the samples"


@dataclass(frozen=True)
class Canary:
    """The attacker knows patterns that were planted before training, and looks for them in the samples."""

    name: str = NAME
    question: Question = Question.QUERY

    def run(self, context: AttackContext) -> AttackResult:
        details = context.details
        if not context.canaries or details is None:
            return AttackResult.not_made(self.name, "no pattern was planted in these images")
        images = details.images
        decoys = [
            draw_canary(np.random.default_rng((context.seed, number)), *context.canaries[0].shape)
            for number in range(DECOYS)
        ]
        planted = _best_matches(images.samples, context.canaries)
        found = planted.max(axis=1)
        others = _best_matches(images.samples, decoys).max(axis=1)
        exposed = exposure(-found, -others)
        most = int(found.argmax())
        value = float(found[most])
        measure = Measure(
            "full",
            CORRELATION.name,
            value,
            float(planted[most].min()),
            value,
            SAMPLES,
            baseline=float(np.median(others)),
            control=float(_best_matches(images.controls, context.canaries).max())
            if len(images.controls) >= MIN_CONTROLS
            else None,
            stranger=float(_best_matches(images.strangers, context.canaries).max())
            if len(images.strangers)
            else None,
            effect=exposed.effect,
        )
        objection = f"canary: a planted pattern comes back in the samples (correlation {value:.2f})"
        return AttackResult(
            self.name,
            "largest correlation of each planted pattern with any place of any sample, compared with patterns"
            " of the same kind that were never planted",
            len(images.samples),
            len(decoys),
            (measure,),
            exposed.at_chance,
            (objection,) if exposed.at_chance is False else (),
        )


def draw_canary(rng: np.random.Generator, channels: int, height: int, width: int) -> Array:
    """A random pattern of coloured squares, `(channels, height, width)` in {-1, 1}."""
    squares = rng.choice(np.array([-1, 1], np.float32), (channels, -(-height // BLOCK), -(-width // BLOCK)))
    return np.kron(squares, np.ones((1, BLOCK, BLOCK), np.float32))[:, :height, :width]


@torch.no_grad()
def _best_matches(images: Array, patterns: list[Array] | tuple[Array, ...]) -> NDArray[np.float64]:
    """Pearson correlation of each pattern with the place of each image most like it, `(patterns, images)`."""
    shape = patterns[0].shape
    if min(images.shape[-2:]) < max(shape[-2:]):
        return np.zeros((len(patterns), len(images)))
    kernels = torch.from_numpy(np.stack(patterns))
    kernels = kernels - kernels.mean(dim=(1, 2, 3), keepdim=True)
    kernels = kernels / kernels.flatten(1).norm(dim=1).clamp_min(1e-9)[:, None, None, None]
    values = torch.from_numpy(np.ascontiguousarray(images))
    count = float(np.prod(shape))
    ones = torch.ones((1, *shape))
    mean = functional.conv2d(values, ones) / count
    spread = (functional.conv2d(values**2, ones) - count * mean**2).clamp_min(1e-6).sqrt()
    # The kernels have mean zero, so the mean of a place does not matter.
    matches = functional.conv2d(values, kernels) / spread
    found: NDArray[np.float64] = matches.amax(dim=(2, 3)).T.double().numpy()
    return found
