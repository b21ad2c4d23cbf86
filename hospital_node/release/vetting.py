"""Look at the samples that consumers will draw first, and list the good ones for the manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hospital_node.audit.attack import MIN_CONTROLS
from hospital_node.audit.audited import Asking, read_candidate_bytes
from hospital_node.audit.real_images import RealImages, control_pool, real_images
from hospital_node.audit.verdict import Verdict
from hospital_node.candidate.draw import draw
from hospital_node.node.node import Node
from hospital_node.release.examined import Examined
from hospital_node.release.nearness import Nearness
from hospital_node.release.sample_checks import Flags
from hospital_node.release.vetting_settings import CANDIDATES, SEED
from sharekit.bundle.vetted import MAX_CANDIDATES, Vetted
from sharekit.generator.spec import GeneratorSpec, short_id
from sharekit.program.progress import Progress, ProgressCallback, ignore

BATCH = 64  # samples in memory at once
KEPT = 0.25
"""Share of the good samples that are listed; chance drops the others.

A list of all good samples would show which sound ones were dropped, and these resemble a real image. With one
in four, what the list lacks tells about as much as the samples themselves (ADR 0044).
"""


@dataclass(frozen=True)
class NearestShare:
    """How often samples lie nearer to a source than to any other real image, in one view."""

    candidates: float
    """Share of all samples that the node looked at, 0 to 1."""
    listed: float
    """Share of those that it lists."""
    chance: float

    def to_json(self) -> dict[str, float]:
        return {"candidates": self.candidates, "listed": self.listed, "chance": self.chance}


@dataclass(frozen=True)
class Listed:
    """The list of one generator, and how near its samples lie to the sources: the latter never leaves."""

    vetted: Vetted
    nearest: Mapping[str, NearestShare]
    """By view; turned views count real images in any pose."""


def vet(
    node: Node,
    leaving: Sequence[Asking],
    samples: int = CANDIDATES,
    on_progress: ProgressCallback = ignore,
) -> dict[str, Listed]:
    """The good ones among about `samples` samples, spread evenly over the generators, by identifier.

    Generators that are linkable have no list: their samples are near to their source, whichever one looks
    at, and without controls nothing could say how near is too near.

    Args:
        node: its write lock is held.
        leaving: what the gate allows.
        samples: 0 looks at no sample.
        on_progress: called after each generator, with samples.
    """
    groups = [item for item in leaving if item.audit.verdict is not Verdict.LINKABLE]
    if not groups or not samples:
        return {}
    count = min(max(1, samples // len(groups)), MAX_CANDIDATES)
    pool = control_pool(node, SEED, max(len(item.record.images) for item in groups))
    found = {}
    for number, item in enumerate(groups):
        on_progress(Progress(number * count, len(groups) * count, message=short_id(item.record.id)))
        real = real_images(node, item.record, item.generator, pool)
        if len(real.controls) >= MIN_CONTROLS:
            candidate = read_candidate_bytes(node, item.record.id)
            examined = examine(candidate, item.generator.spec, real, count)
            found[item.record.id] = _listed(examined, examined.good(_kept_by_chance(node, item, count)))
    on_progress(Progress(len(groups) * count, len(groups) * count))
    return found


def in_words(vetted: Mapping[str, Vetted]) -> str:
    """How many samples were found good, in a sentence."""
    if not vetted:
        return "no samples: no generator of a group with other real images to compare with"
    good = sum(len(one.good) for one in vetted.values())
    return f"{good:,} of {sum(one.candidates for one in vetted.values()):,} samples of seed {SEED}"


def in_words_nearest(listed: Mapping[str, Listed]) -> list[str]:
    """A line for each view: how often samples lie nearest to a source, as the mean over the generators."""
    if not listed:
        return []

    def mean(view: str, figure: str) -> float:
        found = [one.nearest[view] for one in listed.values() if view in one.nearest]
        return float(np.mean([getattr(share, figure) for share in found]))

    return [
        f"{view}: {mean(view, 'candidates'):.1%} of all, {mean(view, 'listed'):.1%} of the listed"
        f" (chance {mean(view, 'chance'):.1%})"
        for view in next(iter(listed.values())).nearest
    ]


def examine(candidate: bytes, spec: GeneratorSpec, real: RealImages, count: int) -> Examined:
    """Draw the samples 0 to `count - 1` of the published seed and look at them."""
    nearness = Nearness(real.sources, real.controls)
    return Examined.joined(
        [
            Examined.of(
                draw(candidate, spec, SEED, range(start, min(start + BATCH, count))),
                spec.layout.image_channels,
                nearness,
            )
            for start in range(0, count, BATCH)
        ]
    )


def _listed(examined: Examined, good: Flags) -> Listed:
    everything = np.ones(len(good), bool)
    return Listed(
        Vetted(SEED, len(good), tuple(np.flatnonzero(good).tolist())),
        {
            name: NearestShare(view.share(everything), view.share(good), view.chance)
            for name, view in examined.views.items()
        },
    )


def _kept_by_chance(node: Node, item: Asking, count: int) -> Flags:
    """`(count,)`: the same for every release of a generator, so that several lists show no more than one."""
    key = node.commit(b"sharekit: samples to list, version 1\0" + item.audit.candidate_sha256.encode())
    return np.random.default_rng(int(key, 16)).random(count) < KEPT
