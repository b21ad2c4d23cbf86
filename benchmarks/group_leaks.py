"""Attacks on samples of a group: are they nearer to the sources than to real images never seen? Pure.

All pictures are `(N, 3, H, W)` in [-1, 1] and of one size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from hospital_node.audit.attack import AttackContext, AuditLimits, Space
from hospital_node.audit.attacks.distance import poses, resize, rmse
from hospital_node.audit.attacks.nearest import DISTANCE_RATIO, BestOfN
from hospital_node.release.nearness import STEP, patches_of
from sharekit.intervals import Interval, bootstrap, wilson

Array = NDArray[np.float32]
THUMBNAIL = 8  # pixels, both sides
BINS = 4
"""Bins of each colour channel in a histogram."""
PATCHES = 16
"""Patches of each picture, at random places."""
CONTROLS = 200
"""Choices of images in place of the sources."""
NEIGHBOURS = 20
"""Candidates nearest to a real image that a look for gaps in a list counts."""


def histogram(pictures: Array) -> Array:
    """Square roots of the shares of pixels in each colour bin, `(N, BINS^3, 1, 1)`: Hellinger distances."""
    bins = ((pictures + 1) / 2 * BINS).astype(int).clip(0, BINS - 1)
    number = bins[:, 0] * BINS**2 + bins[:, 1] * BINS + bins[:, 2]
    counts = np.stack([np.bincount(one.ravel(), minlength=BINS**3) for one in number])
    return np.sqrt(counts / number[0].size).astype(np.float32)[:, :, None, None]


VIEWS: Mapping[str, Callable[[Array], Array]] = {
    "thumbnail": lambda pictures: resize(pictures, THUMBNAIL, THUMBNAIL),
    "full": lambda pictures: pictures,
    "histogram": histogram,
    "mirrored": lambda pictures: resize(pictures, THUMBNAIL, THUMBNAIL),
    "turned": lambda pictures: resize(pictures, THUMBNAIL, THUMBNAIL),
}
"""What an attack compares; in `mirrored` and `turned`, a real image is as near as the nearest of its mirror
images, or of its poses as the audit takes them."""


def distances(samples: Array, real: Array, view: str) -> NDArray[np.float64]:
    """`(N, M)` of every sample to every real image."""
    known = [real]
    if view == "mirrored":
        known = [np.flip(real, way) for way in ((), (2,), (3,), (2, 3))]
    elif view == "turned":
        known = poses(real)
    return np.min([rmse(VIEWS[view](samples), VIEWS[view](one)) for one in known], axis=0)


def nearest_source(samples: Array, sources: Array, unseen: Array) -> dict[str, Interval]:
    """Share of samples whose nearest real image is a source; chance is `k / (k + M)`."""
    found = {}
    for name in VIEWS:
        nearest = distances(samples, np.concatenate([sources, unseen]), name).argmin(axis=1)
        found[name] = wilson(int((nearest < len(sources)).sum()), len(samples))
    return found


def membership(samples: Array, sources: Array, unseen: Array) -> dict[str, Interval]:
    """AUC of telling sources from images never seen by the nearest sample's distance; chance is 0.5."""
    found = {}
    truth = np.arange(len(sources) + len(unseen)) < len(sources)
    for name in VIEWS:
        near = -distances(samples, np.concatenate([sources, unseen]), name).min(axis=0)

        def auc(rows: NDArray[np.intp], rng: np.random.Generator, near: NDArray = near) -> float:
            inside, outside = near[truth], near[~truth]
            resampled = [rng.choice(inside, len(inside)), rng.choice(outside, len(outside))]
            return float(roc_auc_score(truth, np.concatenate(resampled)))

        found[name] = bootstrap(float(roc_auc_score(truth, near)), len(truth), auc, draws=500)
    return found


def patch_copying(
    samples: Array, sources: Array, unseen: Array, seed: int = 0, *, turned: bool = False
) -> Interval:
    """Share of the samples' patches nearer to a source than to as many images never seen, less 0.5.

    Args:
        turned: look at real images in every second pose, and in every second row and column of patches.
    """
    rng = np.random.default_rng(seed)
    others = unseen[rng.permutation(len(unseen))[: len(sources)]]
    if turned:
        samples = samples[::4]

    def known(real: Array) -> Array:
        if not turned:
            return patches_of(real)
        return np.concatenate([patches_of(pose, 2 * STEP) for pose in poses(real)[::2]])

    own, control = known(sources[: len(others)]), known(others)
    shares = []
    for picture in samples:
        places = patches_of(picture[None])
        chosen = places[rng.choice(len(places), PATCHES, replace=False)]
        shares.append(float((rmse(chosen, own).min(axis=1) < rmse(chosen, control).min(axis=1)).mean()) - 0.5)
    values = np.array(shares)
    return bootstrap(float(values.mean()), len(values), lambda rows, _: float(values[rows].mean()))


def controls(samples: Array, mates: Array, unseen: Array, k: int) -> dict[str, dict[str, Interval]]:
    """What the attacks find if k images that the generator never saw stand in for the sources.

    Images of one fold resemble each other more than those of others, so a sample may lie near to a source
    for that alone. Each interval holds 95 % of `CONTROLS` choices of k.

    Args:
        mates: images of the sources' fold that the generator never saw, more than k of them.
        unseen: images of the other folds.
    """
    rng = np.random.default_rng(0)
    chosen = [rng.permutation(len(mates))[:k] for _ in range(CONTROLS)]
    truth = np.arange(k + len(unseen)) < k
    found: dict[str, dict[str, Interval]] = {"nearest": {}, "auc": {}}
    for name in VIEWS:
        near, far = distances(samples, mates, name), distances(samples, unseen, name)
        rates = [(near[:, rows].min(axis=1) < far.min(axis=1)).mean() for rows in chosen]
        nearest = -near.min(axis=0), -far.min(axis=0)
        aucs = [roc_auc_score(truth, np.concatenate([nearest[0][rows], nearest[1]])) for rows in chosen]
        found["nearest"][name], found["auc"][name] = _middle(rates), _middle(aucs)
    found["patches"] = {
        name: _middle(
            [patch_copying(some, mates[rows], unseen, turned=turned).mean for rows in chosen[:count]]
        )
        for name, some, turned, count in (
            ("patches", samples[::4], False, 16),
            ("turned patches", samples, True, 6),
        )
    }
    return found


def _middle(values: Sequence[float]) -> Interval:
    low, high = np.quantile(values, [0.025, 0.975])
    return Interval(float(np.mean(values)), float(low), float(high), len(values))


def gaps(kept: NDArray[np.bool_], candidates: Array, sources: Array, unseen: Array) -> Interval:
    """AUC of telling sources from images never seen by what a list of good samples leaves out near them.

    Whoever has a generator can draw all candidates. The score of a real image is the share of its nearest
    candidates that the list lacks.
    """
    near = distances(candidates, np.concatenate([sources, unseen]), "mirrored").argsort(axis=0)[:NEIGHBOURS]
    score = 1 - kept[near].mean(axis=0)
    truth = np.arange(len(sources) + len(unseen)) < len(sources)

    def auc(rows: NDArray[np.intp], rng: np.random.Generator) -> float:
        inside, outside = score[truth], score[~truth]
        resampled = [rng.choice(inside, len(inside)), rng.choice(outside, len(outside))]
        return float(roc_auc_score(truth, np.concatenate(resampled)))

    return bootstrap(float(roc_auc_score(truth, score)), len(truth), auc, draws=500)


def best_of_n(samples: Array, sources: Array, unseen: Array) -> dict[str, float]:
    """The audit's attack: how near the nearest sample comes to a source, and to an image never seen.

    Distances are shares of the median distance between real images.
    """
    context = AttackContext("0" * 32, b"", samples, sources, len(sources), unseen, (), AuditLimits(), 0)
    found = BestOfN().run(context)
    ratios = {space: found.measure(space, DISTANCE_RATIO) for space in Space}
    return {
        f"{space}.{name}": float(value)
        for space, ratio in ratios.items()
        if ratio is not None and ratio.control is not None
        for name, value in (("source", ratio.value), ("unseen", ratio.control))
    }
