"""After style transfer: do samples give more away once a consumer has given them the real images' style?"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from hospital_node.audit.attack import (
    Array,
    Attack,
    AttackContext,
    AttackResult,
    Compared,
    Details,
    Measure,
    Question,
    StyleTarget,
)
from hospital_node.audit.attacks.canary import Canary
from hospital_node.audit.attacks.distance import reduced, resize
from hospital_node.audit.attacks.frames import OtherFrames
from hospital_node.audit.attacks.mean import MeanOfSamples
from hospital_node.audit.attacks.nearest import BestOfN
from hospital_node.audit.attacks.patches import PatchCopying
from hospital_node.audit.attacks.retrieval import Retrieval
from hospital_node.audit.attacks.zero_noise import ZeroNoise
from hospital_node.audit.exposure import joined
from hospital_node.statistics.gram_matrices import load_torch_once
from sharekit.bundle import features
from sharekit.bundle.style_transfer import style_transfer

NAME = "after-style"
SPACE = "styled"
"""Begins the names of the spaces of its figures: `styled-full`."""
AGAIN: tuple[Attack, ...] = (
    BestOfN(),
    MeanOfSamples(),
    ZeroNoise(),
    PatchCopying(),
    Retrieval(),
    OtherFrames(),
    Canary(),
)
"""Attacks that look at finished pictures. Noise and bytes are the same before and after; letters are too
small to be read at `SIDE`."""
SIDE = 48
"""Pixels, long side, at which samples are styled and attacked again."""
STYLED = 8
"""Samples that are styled."""
STRANGERS = 4
"""Samples of another generator that are styled."""
CALM = 3
"""Samples of chosen noise that are styled: the last ones, among them the one without any noise."""
STEPS = 8
RATE = 0.05
"""Learning rate of Adam. A consumer takes 1000 steps of 0.01; as many would take longer than training."""
CONTENT_WEIGHT, STYLE_WEIGHT = 1.0, 1000.0
"""The stronger of the paper's two settings."""


@dataclass(frozen=True)
class AfterStyle:
    """The attacker styles samples with the released statistics, and makes the other attacks again."""

    name: str = NAME
    question: Question = Question.QUERY

    def run(self, context: AttackContext) -> AttackResult:
        if isinstance(context.style, str):
            return AttackResult.not_made(self.name, context.style)
        if min(reduced(context.sources, SIDE).shape[-2:]) < features.MIN_SIDE:
            return AttackResult.not_made(self.name, "the samples are too narrow for the feature network")
        styled = _styled(context, context.style)
        results = [attack.run(styled) for attack in AGAIN]
        made = [one for one in results if one.samples]
        return AttackResult(
            self.name,
            f"{', '.join(one.attack for one in made)} again, on samples of {SIDE} pixels after {STEPS} steps"
            " of style transfer to the style statistics",
            len(styled.samples),
            len(context.controls),
            tuple(_renamed(measure) for one in made for measure in one.measures),
            joined(one.at_chance for one in made),
            tuple(f"after style transfer: {line}" for one in made for line in one.objections),
        )


def _renamed(measure: Measure) -> Measure:
    return replace(measure, space=f"{SPACE}-{measure.space}")


def _styled(context: AttackContext, target: StyleTarget) -> AttackContext:
    """The same context with styled samples, everything at `SIDE`."""
    small = context.compared.at(lambda images: reduced(images, SIDE))
    samples, strangers = small.samples[:STYLED], small.strangers[:STRANGERS]
    calm = resize(small.samples[:0] if context.calm is None else context.calm.samples, *samples.shape[-2:])
    parts = [samples, strangers, calm[-CALM:]]
    pictures = style_small(np.concatenate(parts), target)
    after, others, still = np.split(pictures, np.cumsum([len(part) for part in parts])[:-1])
    images = Compared(after, small.sources, small.controls, others)
    inside = np.zeros((0, *samples.shape[-2:]), np.bool_)
    if context.details is not None:
        masks = context.details.inside[: len(after), None].astype(np.float32)
        inside = resize(masks, *samples.shape[-2:])[:, 0] > 0.5
    same_size = samples.shape[-2:] == context.sources.shape[-2:]
    return replace(
        context,
        samples=after,
        sources=small.sources,
        controls=small.controls,
        strangers=others,
        scales=(),
        calm=replace(images, samples=still) if len(still) else None,
        details=Details(replace(images, samples=after[: len(inside)]), inside) if len(inside) else None,
        frames=None if context.frames is None else resize(context.frames, *samples.shape[-2:]),
        # A smaller pattern is another pattern.
        canaries=context.canaries if same_size else (),
    )


def style_small(images: Array, target: StyleTarget) -> Array:
    """Images `(N, C, H, W)` of at most `SIDE` pixels, styled as a consumer could, in a few large steps."""
    network = load_torch_once(target.features)
    styled = [
        style_transfer(
            torch,
            images[start : start + STYLED],
            target.statistics,
            network,
            content_weight=CONTENT_WEIGHT,
            style_weight=STYLE_WEIGHT,
            steps=STEPS,
            learning_rate=RATE,
        )
        for start in range(0, len(images), STYLED)
    ]
    return np.concatenate(styled)
