"""Decide which samples lie too near to the sources, in every view that an attacker may take. Pure.

A sample is compared with the sources and with other real images of the node, which the generator never saw.
Real pictures are turned and mirrored in training, so a turned source is as telling as the source itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hospital_node.audit.attack import Array
from hospital_node.audit.attacks.distance import SPACES, Poses, as_they_are, poses, reduced, rmse
from hospital_node.audit.attacks.retrieval import histogram_images
from hospital_node.release.sample_checks import Flags

MARGIN = 1.02
"""Factor on the nearness of never-seen real images to a source, which a sample must not reach."""
PATCH_SIDE = 64
"""Pixels, long side, at which patches are compared."""
PATCH = 8  # pixels, both sides
STEP = 2  # pixels from one patch of a real image to the next
PATCHES = 16
"""Patches of each sample, at random places."""


@dataclass(frozen=True)
class View:
    """How near samples lie to the sources, in one view; one figure for a sample, `(N,)`."""

    order: NDArray[np.float64]
    """Smaller is nearer to a source, next to other real images."""
    shares: NDArray[np.float64]
    """Share of what the sample shows, 0 to 1, that lies nearer to a source than to any other real image."""
    chance: float
    """The mean of `shares` for a generator that learnt from none of the real images."""

    def share(self, among: Flags) -> float:
        """The mean of `shares` over the samples `among`; chance without any."""
        return float(self.shares[among].mean()) if among.any() else self.chance

    def excess(self, among: Flags) -> Flags:
        """The nearest of the samples `among`: as many as bring the mean of the others down to chance."""
        places = np.flatnonzero(among)
        places = places[np.argsort(self.order[places], kind="stable")]
        # Means of what is left if the nearest 0, 1, … samples go.
        left = np.cumsum(self.shares[places][::-1])[::-1] / np.arange(len(places), 0, -1)
        dropped = int(np.argmax(np.append(left, 0.0) <= self.chance))
        found = np.zeros(len(among), bool)
        found[places[:dropped]] = True
        return found


def joined(parts: Sequence[Mapping[str, View]]) -> dict[str, View]:
    """The views of several batches as one."""
    return {
        name: View(
            np.concatenate([part[name].order for part in parts]),
            np.concatenate([part[name].shares for part in parts]),
            first.chance,
        )
        for name, first in parts[0].items()
    }


def at_chance(views: Mapping[str, View], among: Flags) -> Flags:
    """Those of the samples `among` that are left once every view is at chance, or below."""
    kept = among.copy()
    while (before := kept.sum()) > 0:
        for view in views.values():
            kept &= ~view.excess(kept)
        if kept.sum() == before:
            break
    return kept


class Nearness:
    """Compares samples with the sources and with other real images, all `(n, c, H, W)` in [-1, 1]."""

    def __init__(self, sources: Array, controls: Array, seed: int = 0) -> None:
        """Prepare the real images.

        Args:
            sources: k real images behind the generator.
            controls: at least two other real images.
            seed: places of the samples' patches.
        """
        self._random = np.random.default_rng(seed)
        self._whole = {
            f"{space}{words}": _Pictures(show, way, sources, controls)
            for space, show in SPACES.items()
            for words, way in (("", as_they_are), (", turned", poses))
        }
        self._colours = _Pictures(histogram_images, as_they_are, sources, controls)
        # As many of either, since more images have more patches to be near to.
        count = min(len(sources), len(controls))
        chosen = [self._random.permutation(len(one))[:count] for one in (sources, controls)]
        self._patches = [
            patches_of(reduced(real[rows], PATCH_SIDE))
            for real, rows in zip((sources, controls), chosen, strict=True)
        ]

    def views(self, images: Array) -> dict[str, View]:
        """Every view of a batch of samples, by name."""
        found = {name: one.view(images) for name, one in {**self._whole, "colours": self._colours}.items()}
        if len(self._patches[0]):
            shares = self._patch_shares(reduced(images, PATCH_SIDE))
            found["patches"] = View(-shares, shares, 0.5)
        return found

    def too_near(self, views: Mapping[str, View]) -> Flags:
        """Whether samples lie nearer to a source than never-seen real images do, in any pose.

        Args:
            views: of these samples, from `views`.

        Nearness is the distance to the nearest source as a share of the distance to the nearest other real
        image: a blurred image is near to all of them. It is compared with that of each control.
        """
        return np.any([views[name].order < one.limit for name, one in self._whole.items()], axis=0)

    def _patch_shares(self, images: Array) -> NDArray[np.float64]:
        """`(n,)`: share of some patches of each image that lie nearer to a source than to a control."""
        some = np.concatenate([self._some_patches(image) for image in images])
        sources, controls = (rmse(some, known).min(axis=1) for known in self._patches)
        shares: NDArray[np.float64] = (sources < controls).reshape(len(images), -1).mean(axis=1)
        return shares

    def _some_patches(self, image: Array) -> Array:
        every = patches_of(image[None])
        return every[self._random.choice(len(every), min(PATCHES, len(every)), replace=False)]


class _Pictures:
    """One view of whole pictures."""

    def __init__(self, show: Callable[[Array], Array], way: Poses, sources: Array, controls: Array) -> None:
        self._show = show
        self._sources, self._controls = ([show(pose) for pose in way(real)] for real in (sources, controls))
        others = _distances(self._controls[0], self._controls)
        np.fill_diagonal(others, np.inf)
        self.limit = MARGIN * _ratio(_distances(self._controls[0], self._sources), others).min()

    def view(self, images: Array) -> View:
        shown = self._show(images)
        ratios = _ratio(_distances(shown, self._sources), _distances(shown, self._controls))
        sources = len(self._sources[0])
        chance = sources / (sources + len(self._controls[0]))
        return View(ratios, (ratios < 1).astype(np.float64), chance)


def _distances(shown: Array, real: Sequence[Array]) -> NDArray[np.float64]:
    """`(N, M)`; a real image is as near as the nearest of its poses."""
    found: NDArray[np.float64] = np.min([rmse(shown, pose) for pose in real], axis=0)
    return found


def patches_of(images: Array, step: int = STEP) -> Array:
    """All patches of images `(n, c, H, W)` on a grid of `step` pixels: `(patches, c, PATCH, PATCH)`.

    None for images that are smaller than a patch.
    """
    if min(images.shape[2:]) < PATCH:
        return np.zeros((0, images.shape[1], PATCH, PATCH), np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(images, (PATCH, PATCH), axis=(2, 3))
    chosen = windows[:, :, ::step, ::step].transpose(0, 2, 3, 1, 4, 5)
    return np.ascontiguousarray(chosen).reshape(-1, images.shape[1], PATCH, PATCH)


def _ratio(seen: NDArray[np.float64], unseen: NDArray[np.float64]) -> NDArray[np.float64]:
    """From distances `(N, k)` to the sources and `(N, M)` to other real images: `(N,)`, small if near."""
    return seen.min(axis=1) / np.maximum(unseen.min(axis=1), 1e-6)
