"""Bring what an attacker knows to the sizes at which attacks compare it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from hospital_node.audit.attack import MAX_TARGETS, Array, AttackContext, AuditLimits, Compared, Details
from hospital_node.audit.attacks.distance import resize, with_channels
from hospital_node.audit.candidate_draws import Drawn
from hospital_node.leaks.search import RealContent
from sharekit.generator.spec import GeneratorSpec


@dataclass(frozen=True)
class Known:
    """Real images that an attacker holds, image channels only, in [-1, 1]; only the sources need one size."""

    sources: Array  # (k, C, H, W), at the finest scale
    units: int  # patients or distinct pictures among the sources
    controls: Iterable[Array]  # other real images, each (C, h, w)
    frames: Iterable[Array] = ()  # further images of the sources' patients or pictures, each (C, h, w)
    real: tuple[RealContent, ...] = ()
    canaries: tuple[Array, ...] = ()


def attack_context(
    spec: GeneratorSpec, drawn: Drawn, known: Known, other: Drawn | None, limits: AuditLimits, seed: int
) -> AttackContext:
    """The context of every attack on one candidate.

    Args:
        spec: of the candidate.
        drawn: its samples.
        known: the real images.
        other: samples of a generator that never saw the sources; None: there is no such generator.
        limits: of the release policy.
        seed: seed of the samples and of random choices.
    """
    channels = spec.layout.image_channels

    def compared(samples: Array, strangers: Array | None) -> Compared:
        height, width = samples.shape[-2:]
        return Compared(
            samples,
            resize(known.sources, height, width),
            _stacked(known.controls, channels, height, width),
            _stacked([] if strangers is None else strangers, channels, height, width),
        )

    strangers = None if other is None else other.samples
    whole = compared(drawn.samples, strangers)
    detailed = compared(drawn.detailed, None if other is None else other.detailed)
    return AttackContext(
        generator_id=spec.id,
        candidate=drawn.candidate,
        samples=whole.samples,
        sources=whole.sources,
        units=known.units,
        controls=whole.controls,
        real=known.real,
        limits=limits,
        seed=seed,
        strangers=whole.strangers,
        scales=tuple(compared(images, strangers) for images in drawn.scales),
        calm=compared(drawn.calm, None if other is None else other.calm),
        details=Details(replace(detailed, controls=detailed.controls[:MAX_TARGETS]), drawn.inside),
        other_candidate=None if other is None else other.candidate,
        frames=_stacked(known.frames, channels, *whole.samples.shape[-2:]),
        canaries=known.canaries,
    )


def _stacked(images: Iterable[Array], channels: int, height: int, width: int) -> Array:
    """Images `(C, H, W)` of any kind and size as `(n, channels, height, width)`; n may be 0."""
    found = [resize(with_channels(image, channels)[None], height, width)[0] for image in images]
    return np.stack(found) if found else np.zeros((0, channels, height, width), np.float32)
