"""Look at the samples that consumers will draw first, and list the good ones for the manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from hospital_node.audit.attack import MIN_CONTROLS
from hospital_node.audit.audited import Asking, read_candidate_bytes
from hospital_node.audit.real_images import RealImages, control_pool, real_images
from hospital_node.audit.verdict import Verdict
from hospital_node.candidate.draw import draw
from hospital_node.node.node import Node
from hospital_node.release.sample_checks import Look, broken, look, masks_of, too_near
from hospital_node.release.vetting_settings import CANDIDATES, SEED
from sharekit.bundle.vetted import MAX_CANDIDATES, Vetted
from sharekit.generator.spec import GeneratorSpec, short_id
from sharekit.program.progress import Progress, ProgressCallback, ignore

BATCH = 64  # samples in memory at once
KEPT = 0.8
"""Share of the good samples that are listed; chance drops the others.

A list of all good samples would show which sound ones were dropped, and these resemble a real image.
"""


def vet(
    node: Node,
    leaving: Sequence[Asking],
    samples: int = CANDIDATES,
    on_progress: ProgressCallback = ignore,
) -> dict[str, Vetted]:
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
            good = good_samples(candidate, item.generator.spec, real, count)
            good &= _kept_by_chance(node, item, count)
            found[item.record.id] = Vetted(SEED, count, tuple(np.flatnonzero(good).tolist()))
    on_progress(Progress(len(groups) * count, len(groups) * count))
    return found


def in_words(vetted: Mapping[str, Vetted]) -> str:
    """How many samples were found good, in a sentence."""
    if not vetted:
        return "no samples: no generator of a group with other real images to compare with"
    good = sum(len(one.good) for one in vetted.values())
    return f"{good:,} of {sum(one.candidates for one in vetted.values()):,} samples of seed {SEED}"


def good_samples(candidate: bytes, spec: GeneratorSpec, real: RealImages, count: int) -> NDArray[np.bool_]:
    """`(count,)`: whether the masks are sound, the look is usual and no source is too near."""
    channels = spec.layout.image_channels
    sound, looks, far = [], list[Look](), []
    for start in range(0, count, BATCH):
        samples = draw(candidate, spec, SEED, range(start, min(start + BATCH, count)))
        images, masks = samples[:, :channels], masks_of(samples, channels)
        sound.append(~broken(masks))
        looks.append(look(images, masks))
        far.append(~too_near(images, real.sources, real.controls))
    whole = np.concatenate(sound)
    return whole & ~Look.joined(looks).poor(whole) & np.concatenate(far)


def _kept_by_chance(node: Node, item: Asking, count: int) -> NDArray[np.bool_]:
    """`(count,)`: the same for every release of a generator, so that several lists show no more than one."""
    key = node.commit(b"sharekit: samples to list, version 1\0" + item.audit.candidate_sha256.encode())
    return np.random.default_rng(int(key, 16)).random(count) < KEPT
