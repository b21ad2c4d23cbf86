"""The audit's figures in words that a data-protection officer reads."""

from __future__ import annotations

from collections.abc import Mapping

from hospital_node.audit import whole_bundle
from hospital_node.audit.attack import Measure, Quantity, Space
from hospital_node.audit.attacks import (
    canary,
    frames,
    inversion,
    mean,
    nearest,
    patches,
    retrieval,
    styled,
    zero_noise,
)

QUANTITIES: tuple[Quantity, ...] = (
    nearest.BEST_DISTANCE,
    nearest.DISTANCE_RATIO,
    nearest.RANK,
    nearest.LINKAGE_RATE,
    mean.DISTANCE,
    mean.CORRELATION,
    mean.MEDIAN_DISTANCE,
    zero_noise.CALM_DISTANCE,
    inversion.DISTANCE,
    *patches.COPIES.values(),
    retrieval.HISTOGRAM,
    retrieval.TURNED,
    retrieval.DEEP,
    frames.FRAME_DISTANCE,
    canary.CORRELATION,
    whole_bundle.AUC,
    whole_bundle.OWN_GENERATOR,
)
WORDS = {one.name: one.words for one in QUANTITIES}
"""Quantity to what it says; begins with a noun, in lower case."""
_SIZES: Mapping[str, str] = {Space.THUMBNAIL: "as thumbnails", Space.FULL: "at full size"}

SMALLEST_LEAKS = (
    "a near copy of an image in 2 % of the samples",
    "a square of 24x24 pixels copied into every sample of 60x48",
    "z* stored in the file, or an image drawn by zero noise",
    "a planted pattern at half of its contrast",
    "samples of which 70 % are one source",
)
"""Smallest planted leaks that the audit found, by `benchmarks/audit_power.py`: see benchmarks/RESULTS.md."""


def figure_in_words(measure: Measure) -> str:
    """What a measure says, with the size at which images were compared."""
    words = WORDS.get(measure.quantity, measure.quantity)
    space = measure.space.removeprefix(f"{styled.SPACE}-")
    size = _SIZES.get(space, f"at scale {space.removeprefix('scale-')}")
    after = "after style transfer, " if space != measure.space else ""
    return f"{words}, {after}{size}"
