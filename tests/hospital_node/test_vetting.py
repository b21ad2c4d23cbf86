"""Which samples the node lists: sound masks, the usual look, no source too near; chance drops some more."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from hospital_node.audit.audit_node import audit_node
from hospital_node.audit.audit_settings import AuditSettings
from hospital_node.audit.audited import read_asking
from hospital_node.audit.verdict import Verdict
from hospital_node.node.node import Node
from hospital_node.release import examined, sample_checks, vetting
from hospital_node.release.approve import give_approval, propose
from hospital_node.release.examined import Examined
from hospital_node.release.export import export_bundle
from hospital_node.release.nearness import Nearness, View, at_chance, joined
from hospital_node.release.release_policy import Approver, Policy, load_policy, save_policy
from hospital_node.release.sample_checks import Look, broken, look
from hospital_node.release.vetting import vet
from sharekit.bundle.bundle import verify_bundle
from sharekit.bundle.manifest import Group, Unit
from sharekit.bundle.vetted import Vetted
from tests.hospital_node.trained_node import APPROVER_NAME, add_image, make_keys, picture, train

KEYS = make_keys()
SIDE = 40


def disc(radius: float, y: float = 20, x: float = 20) -> np.ndarray:
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    return (rows - y) ** 2 + (columns - x) ** 2 < radius**2


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (disc(8), False),
        (disc(8) | disc(6, 33, 33), False),  # two lesions
        (disc(8) | disc(1, 3, 3), False),  # a speck
        (np.zeros((SIDE, SIDE), bool), True),
        (np.ones((SIDE, SIDE), bool), True),
        (disc(4) | (np.indices((SIDE, SIDE)) % 4 == 0).all(axis=0), True),  # dust
    ],
    ids=["sound", "two regions", "one speck", "empty", "full", "fragments"],
)
def test_broken_masks_are_empty_or_full_or_in_fragments(mask: np.ndarray, expected: bool) -> None:
    assert broken(mask[None, None]).tolist() == [expected]


def test_one_empty_class_of_several_is_no_defect() -> None:
    assert broken(np.stack([disc(8), np.zeros((SIDE, SIDE), bool)])[None]).tolist() == [False]


def scenes(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Noisy images `(count, 3, H, W)` with a bright disc, and masks `(count, 1, H, W)` that follow it."""
    random = np.random.default_rng(seed)
    masks = np.stack([disc(random.uniform(6, 9), *random.uniform(14, 26, 2)) for _ in range(count)])[:, None]
    images = random.normal(-0.3, 0.1, (count, 3, SIDE, SIDE)) + 0.6 * masks
    return images.astype(np.float32), masks


def test_poor_samples_are_those_unlike_the_generators_others() -> None:
    images, masks = scenes(60)
    masks[3] = np.roll(masks[3], 18, axis=-1)  # marks nothing in the image
    images[7] = images[7].mean(axis=(1, 2), keepdims=True)  # flat
    images[9] += np.random.default_rng(1).normal(0, 0.5, images[9].shape)  # noise
    poor = look(images, masks).poor(np.ones(60, bool))
    assert poor[[3, 7, 9]].all()
    assert poor.sum() <= 3 + 8


def test_figures_of_batches_are_those_of_all_samples() -> None:
    images, masks = scenes(6)
    parts = [look(images[:4], masks[:4]), look(images[4:], masks[4:])]
    np.testing.assert_array_equal(Look.joined(parts).detail, look(images, masks).detail)


def pictures(*seeds: int) -> np.ndarray:
    return np.stack([picture(seed).tensor()[:3] for seed in seeds])


def test_a_sample_nearer_to_a_source_than_never_seen_images_is_too_near() -> None:
    sources, controls, fresh = pictures(1, 2, 3, 4), pictures(*range(10, 22)), pictures(*range(30, 60))
    noise = np.random.default_rng(2).normal(0, 0.15, sources.shape).astype(np.float32)
    nearness = Nearness(sources, controls)

    def near(images: np.ndarray) -> np.ndarray:
        return nearness.too_near(nearness.views(images))

    assert near(sources + noise).all()
    assert near(np.flip(sources + noise, 3)).all()
    assert near(np.flip(sources + noise, 2)).all()
    assert near(fresh).mean() < 0.3
    # A blurred image is near to every image; it is not nearer to a source than to others.
    assert not near(fresh.mean(axis=0, keepdims=True)).any()


def test_samples_of_other_images_are_nearest_to_a_source_as_often_as_chance_says() -> None:
    views = Nearness(pictures(*range(1, 6)), pictures(*range(10, 25))).views(pictures(*range(30, 70)))
    every = np.ones(40, bool)
    for name, view in views.items():
        assert view.chance == (0.5 if name == "patches" else 0.25)
        assert abs(view.share(every) - view.chance) < 0.3, name


def test_mirrored_copies_show_in_turned_views_and_leave_the_list_at_chance_in_every_view() -> None:
    sources, controls, fresh = pictures(1, 2, 3, 4), pictures(*range(10, 22)), pictures(*range(30, 60))
    noise = np.random.default_rng(3).normal(0, 0.4, (3, *sources.shape)).astype(np.float32)
    copies = np.concatenate([np.flip(sources, way) for way in (2, 3, (2, 3))]) + noise.reshape(
        -1, *sources.shape[1:]
    )
    nearness = Nearness(sources, controls)
    views = joined([nearness.views(fresh), nearness.views(copies)])
    copied = np.arange(len(fresh) + len(copies)) >= len(fresh)
    assert views["full, turned"].share(copied) > 0.9
    assert views["full"].share(copied) < 0.6
    kept = at_chance(views, np.ones(len(copied), bool))
    assert all(view.share(kept) <= view.chance for view in views.values())
    assert kept[~copied].mean() > kept[copied].mean() + 0.3


def test_the_nearest_go_first_and_no_more_than_the_excess() -> None:
    order = np.array([0.9, 0.2, 1.5, 0.4, 2.0, 1.1])
    view = View(order, (order < 1).astype(float), 0.25)
    assert view.excess(np.ones(6, bool)).tolist() == [False, True, False, True, False, False]
    assert not view.excess(order > 0.4).any()
    assert not view.excess(np.zeros(6, bool)).any()


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Node:
    """A group of five images, a generator of one, and five other images; all audited."""
    node = Node.create(tmp_path_factory.mktemp("vetting") / "node", "Test hospital")
    images = [add_image(node, number) for number in range(1, 11)]
    train(node, images[:5], seed=5)
    train(node, images[:1], seed=6)
    officer = Approver(APPROVER_NAME, KEYS.approver.public.pem().decode())
    save_policy(node.policy_path, Policy((officer,), release_linkable=True))
    audit_node(node, load_policy(node.policy_path).limits, AuditSettings(samples=16))
    return node


def test_the_manifest_lists_samples_of_groups_alone_and_counts_what_stands_behind(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Random weights draw no sound mask.
    monkeypatch.setattr(sample_checks, "MIN_MARKED", 0.0)
    monkeypatch.setattr(examined, "broken", lambda masks: np.zeros(len(masks), bool))
    policy = load_policy(node.policy_path)
    give_approval(node, policy, propose(node, policy), KEYS.approver, APPROVER_NAME)
    result = export_bundle(node, tmp_path / "bundle", KEYS.release, vetted=40)
    bundle = verify_bundle(tmp_path / "bundle", [KEYS.release.public])
    group, single = sorted(bundle.manifest.generators, key=lambda entry: entry.group.images, reverse=True)
    assert (group.group, single.group) == (Group(5, 5, Unit.PICTURE), Group(1, 1, Unit.PICTURE))
    assert single.verdict == Verdict.LINKABLE
    assert single.vetted is None
    assert (group.vetted.seed, group.vetted.candidates) == (1, 40)
    (nearest,) = result.to_json()["nearest"].values()
    assert {"thumbnail", "thumbnail, turned", "full, turned", "colours"} <= set(nearest)
    assert all(
        one["listed"] <= one["chance"] or one["listed"] <= one["candidates"] for one in nearest.values()
    )
    assert result.vetted == f"{len(group.vetted.good)} of 40 samples of seed 1"
    card = bundle.read("CARD.md").decode()
    assert "5 images of 5 distinct pictures (1 of 2 generators)" in card
    assert result.vetted in card


def test_no_sample_is_looked_at_if_none_is_wanted(node: Node) -> None:
    asking, _ = read_asking(node)
    assert vet(node, asking, 0) == {}
    assert vet(node, [one for one in asking if len(one.record.images) == 1]) == {}


def faultless(count: int) -> Examined:
    """What was found in samples without any fault, all alike and compared in no view."""
    every, figure = np.ones(count, bool), np.ones(count)
    return Examined(every, Look(figure, figure, figure), every, {})


def test_a_list_is_the_same_in_every_release_and_chance_drops_good_samples(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking, _ = read_asking(node)
    monkeypatch.setattr(vetting, "examine", lambda *arguments: faultless(arguments[-1]))

    def listed(count: int) -> Vetted:
        (found,) = vet(node, asking, count).values()
        return found.vetted

    first = listed(400)
    assert 0.15 < len(first.good) / 400 < 0.35
    assert first == listed(400)
    # A list of fewer samples is the beginning of the longer one.
    shorter = listed(100)
    assert shorter.good == tuple(index for index in first.good if index < 100)
    assert dataclasses.asdict(first)["seed"] == 1
