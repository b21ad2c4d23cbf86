"""Attacks on samples of a group: are they nearer to the sources than to real images never seen? Pure.

All pictures are `(N, 3, H, W)` in [-1, 1] and of one size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from hospital_node.audit.attack import AttackContext, AuditLimits, Space
from hospital_node.audit.attacks.distance import poses, resize, rmse
from hospital_node.audit.attacks.nearest import DISTANCE_RATIO, BestOfN
from hospital_node.release.nearness import patches_of
from sharekit.intervals import Interval, bootstrap, wilson

Array = NDArray[np.float32]
THUMBNAIL = 8  # pixels, both sides
BINS = 4
"""Bins of each colour channel in a histogram."""
PATCHES = 16
"""Patches of each picture, at random places."""
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


def patch_copying(samples: Array, sources: Array, unseen: Array, seed: int = 0) -> Interval:
    """Share of the samples' patches nearer to a source than to as many images never seen, less 0.5."""
    rng = np.random.default_rng(seed)
    others = unseen[rng.permutation(len(unseen))[: len(sources)]]
    own, control = patches_of(sources[: len(others)]), patches_of(others)
    shares = []
    for picture in samples:
        places = patches_of(picture[None])
        chosen = places[rng.choice(len(places), PATCHES, replace=False)]
        shares.append(float((rmse(chosen, own).min(axis=1) < rmse(chosen, control).min(axis=1)).mean()) - 0.5)
    values = np.array(shares)
    return bootstrap(float(values.mean()), len(values), lambda rows, _: float(values[rows].mean()))


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
