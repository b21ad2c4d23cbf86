"""What a bundle gives away as a whole: which real images are behind it, by each part and by all parts. Pure.

A score of a real image is higher the more a part looks as if the image were behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hospital_node.audit.attack import Array, AttackResult, Compared, Measure, Quantity
from hospital_node.audit.attacks.distance import NEAREST_POSSIBLE, difficulty, rmse, scores
from hospital_node.audit.exposure import DECIDING, exposure, joined
from sharekit.intervals import Interval, bootstrap, wilson

MEMBERSHIP, RETRIEVAL = "bundle-membership", "bundle-retrieval"
AUC = Quantity(
    MEMBERSHIP, "auc", "chance that an image behind the bundle scores higher than another one of the node"
)
OWN_GENERATOR = Quantity(
    RETRIEVAL, "own_generator", "share of images whose nearest sample comes from a generator that saw them"
)
TOGETHER = "together"
"""Part that stands for all others: the sum of their scores, each in standard deviations of other images."""
BOOTSTRAP, WILSON = "percentile bootstrap over the images, 95 %", "Wilson, 95 %"
NOBODY_ELSE = "too few images of the node are not behind this bundle, so there is nothing to compare with"


@dataclass(frozen=True)
class PartScores:
    """Scores that one part of a bundle gives to real images."""

    part: str
    members: NDArray[np.float64]  # (k,), images behind the bundle
    others: NDArray[np.float64]  # (M,), images of the same node that are not


def sample_scores(part: str, images: Compared) -> PartScores:
    """Score the sources and controls by their nearest sample, relative to how near real images lie."""
    found = -scores(rmse(images.samples, images.real).min(axis=0), difficulty(images))
    k = len(images.sources)
    return PartScores(part, found[:k], found[k:])


def mean_scores(part: str, mean: Array, members: Array, others: Array) -> PartScores:
    """Score images by how far a published mean lies in their direction (Homer et al., PLOS Genetics 2008).

    Args:
        part: name of the mean.
        mean: `(d,)`, published.
        members: `(k, d)`, the same quantity of images that it may be an average of.
        others: `(M, d)`, of other images, M at least 2; they show what is usual.
    """
    total = others.sum(axis=0)

    def score(one: Array, left_out: int) -> float:
        usual = (total - others[left_out]) / (len(others) - 1)
        towards, published = one - usual, mean - usual
        lengths = float(np.linalg.norm(towards) * np.linalg.norm(published))
        return float(towards @ published) / max(lengths, NEAREST_POSSIBLE)

    return PartScores(part, *_each(score, members, others))


def histogram_scores(
    part: str, published: Mapping[str, Sequence[int]], members: Sequence[Bins], others: Sequence[Bins]
) -> PartScores:
    """Score images by how much more frequent their bins are in a published histogram than in other images.

    Args:
        part: name of the histograms.
        published: class to counts of its bins.
        members: bins of images that may be counted there.
        others: bins of other images.
    """

    def score(one: Bins, left_out: int) -> float:
        found = 0.0
        for name, number in one.items():
            counts = np.asarray(published[name], np.float64) + 1
            usual = np.ones(len(counts))
            for other in (*others[:left_out], *others[left_out + 1 :]):
                if name in other:
                    usual[other[name]] += 1
            found += float(np.log(counts[number] / counts.sum()) - np.log(usual[number] / usual.sum()))
        return found

    return PartScores(part, *_each(score, members, others))


def _each(
    score: Callable[[Any, int], float], members: Sequence[Any] | Array, others: Sequence[Any] | Array
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scores of members and others; the reference of each is the other images without one of them.

    No image is a part of its own reference, and a member's reference is no larger than another image's.
    """
    return (
        np.array([score(one, number % len(others)) for number, one in enumerate(members)]),
        np.array([score(one, number) for number, one in enumerate(others)]),
    )


Bins = Mapping[str, int]
"""Class of a mask to the bin that an image falls into."""


def membership(parts: Sequence[PartScores], seed: int) -> AttackResult:
    """Whether images behind the bundle score higher than other ones, by each part and by all together.

    Args:
        parts: scores of the same images by each part; empty if there are too few other images.
        seed: seed of the bootstrap.
    """
    if not parts:
        return AttackResult.not_made(MEMBERSHIP, NOBODY_ELSE)
    every = [*parts, _together(parts)] if len(parts) > 1 else list(parts)
    exposed = [exposure(-one.members, -one.others) for one in every]
    return AttackResult(
        MEMBERSHIP,
        "scores of real images behind the bundle, compared with those of other real images of the node, by"
        " what each part shows; together: the sum of the standardised scores",
        len(parts[0].members),
        len(parts[0].others),
        tuple(
            Measure.of(one.part, AUC, _auc(one, seed), BOOTSTRAP, baseline=0.5, control=None, effect=x.effect)
            for one, x in zip(every, exposed, strict=True)
        ),
        joined(one.at_chance for one in exposed),
    )


def _together(parts: Sequence[PartScores]) -> PartScores:
    def standardised(part: PartScores, values: NDArray[np.float64]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = (values - part.others.mean()) / max(part.others.std(), NEAREST_POSSIBLE)
        return found

    return PartScores(
        TOGETHER,
        np.sum([standardised(part, part.members) for part in parts], axis=0),
        np.sum([standardised(part, part.others) for part in parts], axis=0),
    )


def _auc(part: PartScores, seed: int) -> Interval:
    higher = np.sign(part.members[:, None] - part.others[None]) / 2 + 0.5

    def resampled(rows: NDArray[np.intp], rng: np.random.Generator) -> float:
        columns = rng.integers(0, higher.shape[1], higher.shape[1])
        return float(higher[rows][:, columns].mean())

    return bootstrap(float(higher.mean()), len(part.members), resampled, seed=seed, draws=500)


@dataclass(frozen=True)
class Attributed:
    """Samples and images of a bundle, each with the generators that it belongs to."""

    distances: NDArray[np.float64]  # (samples, images)
    between: NDArray[np.float64]  # (images, images)
    generator: NDArray[np.intp]  # (samples,), number of the generator that drew it
    saw: NDArray[np.bool_]  # (generators, images)


def retrieval(found: Attributed) -> AttackResult:
    """Whether the nearest sample of an image comes from a generator that learnt from it."""
    generators, images = found.saw.shape
    if generators < 2:
        return AttackResult.not_made(RETRIEVAL, "the bundle has one generator")
    own = found.saw[found.generator[found.distances.argmin(axis=0)], np.arange(images)]
    apart = np.where(np.eye(images, dtype=bool), np.inf, found.between)
    shared = np.asarray((found.saw[:, :, None] & found.saw[:, None, :]).any(axis=0))
    rate, chance = wilson(int(own.sum()), images), float(found.saw.mean())
    above = rate.low > chance
    return AttackResult(
        RETRIEVAL,
        "share of the images behind the bundle whose nearest sample, as a thumbnail, was drawn by a generator"
        " that learnt from them; member against member: whose nearest other image shares a generator",
        len(found.generator),
        images,
        (
            Measure.of(
                "thumbnail",
                OWN_GENERATOR,
                rate,
                WILSON,
                baseline=chance,
                control=float(shared[apart.argmin(axis=0), np.arange(images)].mean()) if images > 1 else None,
            ),
        ),
        False if above else (True if images >= DECIDING else None),
    )
