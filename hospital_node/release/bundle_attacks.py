"""Attack a bundle as a whole, with everything that it publishes, before it leaves."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hospital_node.audit.attack import MIN_CONTROLS, Array, AttackResult, Compared
from hospital_node.audit.attacks.distance import resize, rmse, with_channels
from hospital_node.audit.attacks.retrieval import histogram_images
from hospital_node.audit.audited import Asking, read_candidate_bytes
from hospital_node.audit.generator_audit import NONE_SUCCEEDED
from hospital_node.audit.whole_bundle import (
    MEMBERSHIP,
    Attributed,
    Bins,
    PartScores,
    histogram_scores,
    mean_scores,
    membership,
    retrieval,
    sample_scores,
)
from hospital_node.candidate.draw import draw_images
from hospital_node.ledger.states import ImageState
from hospital_node.node.node import Node
from hospital_node.node.units import readable_units
from hospital_node.release.kept import keep, read_kept
from hospital_node.release.real_statistics import mean_coverages
from hospital_node.release.released_colours import colours_of
from hospital_node.release.units_behind import RealUnit
from hospital_node.statistics.gram_matrices import grams_of, load_torch_once
from hospital_node.statistics.protected_coverage import CoverageStatistics
from sharekit.bundle import features
from sharekit.bundle.colour_statistics import BOUNDS, ColourStatistics
from sharekit.bundle.style_statistics import Gram, StyleStatistics
from sharekit.generator.tensors import pixels_to_tensor
from sharekit.pictures.mask_statistics import coverage_histogram
from sharekit.storage import files

GENERATORS = 32
"""Generators of a bundle that are attacked together, a random choice."""
SAMPLES = 8
"""Samples of each."""
UNITS = 24
"""Patients or pictures behind the bundle, and others of the node, that are compared; random choices."""
THUMBNAIL = 16
"""Pixels, both sides."""
PARTS = {
    "generators": "the samples, as thumbnails",
    "colours": "the samples' colours",
    "style": "the style statistics",
    "masks": "the histogram of the masks",
    "together": "everything together",
}
"""Each part of a bundle in words."""


@dataclass(frozen=True)
class Published:
    """What a bundle publishes about its images."""

    leaving: Sequence[Asking]
    units: Sequence[RealUnit]  # behind the generators
    style: StyleStatistics | None
    masks: CoverageStatistics  # with the protected colours, if they leave in place of `style`


def attack_bundle(
    node: Node, published: Published, features_path: Path | None, seed: int = 0
) -> tuple[AttackResult, ...]:
    """Membership by each part and by all together, and which generator an image belongs to.

    Args:
        node: holds the images; those that are not behind the bundle are the ones to compare with.
        published: everything that the bundle shows.
        features_path: file of the feature network of the style statistics; None looks for one.
        seed: seed of the random choices.
    """
    chosen = _choose(node, published, seed)
    name = _name(chosen, published, seed)
    kept = read_kept(node, name)
    scores = _score(node, chosen, published, features_path) if kept is None else Scores.from_bytes(kept)
    if kept is None:
        keep(node, name, scores.to_bytes())
    parts = list(scores.parts)
    if parts:
        parts += _colour_scores(node, published.masks.colours, chosen)
        parts.append(
            histogram_scores(
                "masks",
                published.masks.histograms,
                [_bins(node, unit.behind, published.masks) for unit in chosen.members],
                [_bins(node, [image], published.masks) for image in chosen.others],
            )
        )
    return membership(parts, seed), scores.retrieval


@dataclass(frozen=True)
class Scores:
    """Everything that takes long, and does not depend on the noise of the histogram.

    Law: `from_bytes(to_bytes(x)) == x`.
    """

    parts: tuple[PartScores, ...]  # none: there are too few other images
    retrieval: AttackResult

    def to_bytes(self) -> bytes:
        parts = [
            {"part": one.part, "members": one.members.tolist(), "others": one.others.tolist()}
            for one in self.parts
        ]
        return files.dump_json({"parts": parts, "retrieval": self.retrieval.to_json()})

    @staticmethod
    def from_bytes(data: bytes) -> Scores:
        value = files.parse_json(data, "kept scores")
        return Scores(
            tuple(
                PartScores(one["part"], np.array(one["members"]), np.array(one["others"]))
                for one in value["parts"]
            ),
            AttackResult.from_json(value["retrieval"]),
        )


@dataclass(frozen=True)
class _Chosen:
    """What is attacked: random choices of what leaves and of the node's images."""

    leaving: Sequence[Asking]
    members: Sequence[RealUnit]  # behind these generators
    others: Sequence[str]  # one image each of units that are not behind the bundle


def _choose(node: Node, published: Published, seed: int) -> _Chosen:
    rng = np.random.default_rng(seed)
    leaving = [published.leaving[number] for number in rng.permutation(len(published.leaving))[:GENERATORS]]
    learnt = {image for item in leaving for image in item.record.images}
    behind = [unit for unit in published.units if not learnt.isdisjoint(unit.behind)]
    members = [behind[number] for number in rng.permutation(len(behind))[:UNITS]]
    return _Chosen(leaving, members, _others(node, published.units, rng))


def _name(chosen: _Chosen, published: Published, seed: int) -> str:
    """Everything that the scores depend on; an image keeps its pixels as long as its identifier."""
    style = {} if published.style is None else published.style.to_files()
    return json.dumps(
        {
            "what": "scores of a bundle, version 1",
            "seed": seed,
            "generators": [[item.record.id, item.candidate.sha256] for item in chosen.leaving],
            "members": [[one.first, *one.behind] for one in chosen.members],
            "others": list(chosen.others),
            "style": {name: hashlib.sha256(data).hexdigest() for name, data in sorted(style.items())},
        }
    )


def _score(node: Node, chosen: _Chosen, published: Published, features_path: Path | None) -> Scores:
    samples, drew = _draw(node, chosen.leaving)
    sources = _thumbnails(node, [unit.behind[0] for unit in chosen.members])
    images = Compared(samples, sources, _thumbnails(node, chosen.others), samples[:0])
    saw = [
        [not set(item.record.images).isdisjoint(one.behind) for one in chosen.members]
        for item in chosen.leaving
    ]
    attributed = Attributed(rmse(samples, sources), rmse(sources, sources), drew, np.array(saw))
    parts: tuple[PartScores, ...] = ()
    if len(chosen.others) >= MIN_CONTROLS:
        firsts = [unit.first for unit in chosen.members]
        parts = (
            sample_scores("generators", images),
            sample_scores("colours", images.at(histogram_images)),
            *_style_scores(node, published.style, firsts, chosen.others, features_path),
        )
    return Scores(parts, retrieval(attributed))


def most_exposing(results: Sequence[AttackResult]) -> str:
    """What gives most away, in one sentence."""
    (found,) = (one for one in results if one.attack == MEMBERSHIP)
    if not found.measures:
        return found.description
    worst = max(found.measures, key=lambda one: one.value)
    lost = [one.attack for one in results if one.succeeded]
    outcome = f"succeeded: {', '.join(lost)}" if lost else NONE_SUCCEEDED
    return (
        f"{outcome}; most is given away by {PARTS[worst.space]} (an image behind the bundle scores higher"
        f" than another one in {worst.value:.0%} of pairs, 95 % interval {worst.low:.0%} to {worst.high:.0%};"
        " guessing gives 50%)"
    )


def _others(node: Node, behind: Sequence[RealUnit], rng: np.random.Generator) -> list[str]:
    """One image each of units that are not behind the bundle; never of the hold-out."""
    own = {image for unit in behind for image in (unit.first, *unit.behind)}
    groups = readable_units(node, node.ledger.iterate(ImageState.INGESTED))
    free = [group[0] for group in groups if own.isdisjoint(group)]
    return [free[number] for number in rng.permutation(len(free))[:UNITS]]


def _draw(node: Node, leaving: Sequence[Asking]) -> tuple[Array, NDArray[np.intp]]:
    """Thumbnails of the samples of all generators, and the number of the generator of each."""
    drawn = [
        _small(
            draw_images(read_candidate_bytes(node, item.record.id), item.generator.spec, 0, range(SAMPLES))
        )
        for item in leaving
    ]
    return np.concatenate(drawn), np.repeat(np.arange(len(leaving)), SAMPLES)


def _thumbnails(node: Node, images: Sequence[str]) -> Array:
    found = [_small(pixels_to_tensor(node.load_pair(image).image)[None])[0] for image in images]
    return np.stack(found) if found else np.zeros((0, 3, THUMBNAIL, THUMBNAIL), np.float32)


def _small(images: Array) -> Array:
    """RGB, `(n, 3, THUMBNAIL, THUMBNAIL)`, whatever kind and size they had."""
    return resize(np.stack([with_channels(one, 3) for one in images]), THUMBNAIL, THUMBNAIL)


def _style_scores(
    node: Node,
    style: StyleStatistics | None,
    members: Sequence[str],
    others: Sequence[str],
    features_path: Path | None,
) -> list[PartScores]:
    path = features_path or features.find()
    if style is None or path is None:
        return []
    network = load_torch_once(path)

    def flat(grams: Mapping[str, Gram]) -> Array:
        """One vector; each layer counts as much as the others."""
        return np.concatenate(
            [(grams[name] / np.linalg.norm(mean)).ravel() for name, mean in sorted(style.grams.items())]
        )

    def of(images: Sequence[str]) -> Array:
        pictures = (pixels_to_tensor(node.load_pair(image).image) for image in images)
        return np.stack([flat(grams) for grams in grams_of(pictures, network, style.max_side)])

    return [mean_scores("style", flat(style.grams), of(members), of(others))]


def _colour_scores(node: Node, colours: ColourStatistics | None, chosen: _Chosen) -> list[PartScores]:
    if colours is None:
        return []

    def scaled(values: Sequence[NDArray[np.float64]]) -> Array:
        """Each number as a share of its bounds."""
        low, high = np.array(list(BOUNDS.values())).T
        found: Array = ((np.stack(values) - low) / (high - low)).astype(np.float32)
        return found

    published = scaled([np.array([colours.values[name] for name in BOUNDS])])[0]
    members = scaled([colours_of(node, unit.first) for unit in chosen.members])
    return [
        mean_scores("style", published, members, scaled([colours_of(node, one) for one in chosen.others]))
    ]


def _bins(node: Node, images: Sequence[str], published: CoverageStatistics) -> Bins:
    """Class to the bin of the images' mean coverage, as the histogram counts it."""
    return {
        name: int(coverage_histogram([mean]).argmax())
        for name, mean in mean_coverages(node, images).items()
        if name in published.histograms
    }
