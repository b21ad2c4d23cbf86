"""Attacks on a bundle as a whole: who is behind it, by each part, and by all parts together."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hospital_node.audit.attack import AuditLimits
from hospital_node.audit.attacks.distance import rmse
from hospital_node.audit.audit_node import audit_node
from hospital_node.audit.audit_settings import AuditSettings
from hospital_node.audit.whole_bundle import (
    Attributed,
    PartScores,
    histogram_scores,
    mean_scores,
    membership,
    retrieval,
)
from hospital_node.node import history
from hospital_node.node.erasure import erase
from hospital_node.node.node import Node
from hospital_node.release.approve import Proposal, approve
from hospital_node.release.bundle_attacks import PARTS, most_exposing
from hospital_node.release.export import export_bundle
from hospital_node.release.kept import FOLDER
from hospital_node.release.release_policy import Approver, Policy, save_policy
from hospital_node.release.together import Together
from sharekit.bundle import features
from sharekit.signing import dsse
from sharekit.storage import schema
from tests.hospital_node.trained_node import APPROVER_NAME, add_image, make_keys, train, trained_node
from tests.tiny_features import write_checkpoint

KEYS = make_keys()


def vectors(seed: int, count: int, length: int = 400) -> np.ndarray:
    return np.random.default_rng(seed).normal(1, 1, (count, length)).astype(np.float32)


def test_a_published_mean_of_many_values_names_the_images_in_it() -> None:
    members, others = vectors(1, 10), vectors(2, 12)
    found = membership([mean_scores("style", members.mean(axis=0), members, others)], 0)
    (auc,) = found.measures
    assert auc.value > 0.99
    assert found.at_chance is False


def test_a_mean_of_other_images_names_nobody() -> None:
    found = [
        membership(
            [
                mean_scores(
                    "style", vectors(seed, 10).mean(axis=0), vectors(seed + 1, 10), vectors(seed + 2, 12)
                )
            ],
            0,
        )
        for seed in range(0, 60, 3)
    ]
    assert np.mean([one.measures[0].value for one in found]) == pytest.approx(0.5, abs=0.08)
    assert all(one.at_chance is True for one in found)


def test_an_exact_histogram_of_few_images_says_more_than_one_with_noise() -> None:
    rng = np.random.default_rng(0)
    members = [{"lesion": int(number)} for number in rng.integers(0, 20, 8)]
    others = [{"lesion": int(number)} for number in rng.integers(0, 20, 12)]
    exact = np.bincount([one["lesion"] for one in members], minlength=20)
    noised = np.maximum(exact + np.round(rng.laplace(0, 20, 20)), 0).astype(int)
    sharp, dull = (
        membership([histogram_scores("masks", {"lesion": counts.tolist()}, members, others)], 0).measures[0]
        for counts in (exact, noised)
    )
    assert sharp.value > 0.75 > dull.value


def test_all_parts_together_are_one_more_figure() -> None:
    rng = np.random.default_rng(4)
    parts = [PartScores(name, rng.normal(1, 1, 20), rng.normal(0, 1, 20)) for name in ("style", "masks")]
    one, other, both = membership(parts, 0).measures
    assert both.space == "together"
    assert both.value >= min(one.value, other.value)
    assert set(PARTS) >= {"style", "masks", "together"}


def test_without_other_images_membership_is_not_decided() -> None:
    found = membership([], 0)
    assert found.description.startswith("not made: too few images of the node")
    assert found.at_chance is None
    assert most_exposing([found]) == found.description


@pytest.mark.parametrize(("noise", "at_chance"), [(0.05, False), (50.0, True)])
def test_retrieval_says_whether_samples_point_to_the_generator_s_own_images(
    noise: float, at_chance: bool
) -> None:
    rng = np.random.default_rng(0)
    images = vectors(5, 12)[:, :, None, None]
    generator = np.repeat(np.arange(4), 6)
    samples = (images[generator * 3 + rng.integers(0, 3, 24)] + rng.normal(0, noise, (24, 400, 1, 1))).astype(
        np.float32
    )
    saw = np.repeat(np.eye(4, dtype=bool), 3, axis=1)
    found = retrieval(Attributed(rmse(samples, images), rmse(images, images), generator, saw))
    (own,) = found.measures
    assert own.baseline == 0.25
    assert found.at_chance is at_chance


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two audited generators of five images each, ten images that no generator saw, and one approver."""
    root = tmp_path_factory.mktemp("audited")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features, "VGG16_CHECKPOINT_SHA256", write_checkpoint(root / "features.ckpt"))
        patch.setenv(features.ENVIRONMENT_VARIABLE, str(root / "features.ckpt"))
        _audited(root / "node")
        yield root / "node"


@pytest.fixture
def node(audited: Path, tmp_path: Path) -> Node:
    shutil.copytree(audited, tmp_path / "node")
    return Node.open(tmp_path / "node")


def _audited(root: Path) -> None:
    node = Node.create(root, "Test hospital")
    for first in (1, 6):
        train(node, [add_image(node, number) for number in range(first, first + 5)], seed=first)
    for number in range(20, 30):
        add_image(node, number)
    approver = Approver(APPROVER_NAME, KEYS.approver.public.pem().decode())
    policy = Policy((approver,), release_linkable=True, limits=AuditLimits(k=3))
    save_policy(node.policy_path, policy)
    audit_node(node, policy.limits, AuditSettings(samples=16))
    node.ledger.close()


def test_the_approver_sees_the_attack_on_all_that_would_leave_together(node: Node, tmp_path: Path) -> None:
    first, second = (one.id for one in node.ledger.generators.records())
    shown: list[Together] = []

    def confirm(policy: Policy, proposal: Proposal, together: Together) -> None:
        shown.append(together)

    for generator in (first, second):
        approve(node, KEYS.approver, generators=[generator], confirm=confirm)
    alone, both = shown
    assert (alone.generators, set(both.generators)) == ((first,), {first, second})
    assert (alone.behind, both.behind) == ("5 real images of 5 pictures", "10 real images of 10 pictures")
    assert [one.space for one in both.results[0].measures] == list(PARTS)
    assert "most is given away by" in both.in_words
    # Only the noise of the histogram is another one when it leaves.
    exported = export_bundle(node, tmp_path / "bundle", KEYS.release)
    predicate = json.loads(dsse.Envelope.from_bytes(exported.bundle.read("privacy.json"), "").payload)
    left = {one["name"]: one for one in predicate["predicate"]["bundle"][0]["measures"]}
    noised = {f"{part}.auc" for part in ("masks", "together")}
    same = [one.to_json() for one in both.results[0].measures if one.name not in noised]
    assert same == [left[one["name"]] for one in same]
    # From then on, the same histogram leaves again, so the approver sees exactly what the bundle says.
    approve(node, KEYS.approver, confirm=confirm)
    assert [one.to_json() for one in shown[-1].results] == predicate["predicate"]["bundle"]


def test_the_history_says_what_the_approver_was_shown(node: Node) -> None:
    given = approve(node, KEYS.approver)
    (facts,) = (one.facts for _, one in history.entries(node) if one.action is history.Action.APPROVAL)
    assert facts["shown"] == given.together.in_words
    assert facts["together"] == given.together.to_json() == given.to_json()["together"]


def test_the_attack_on_the_whole_is_made_once_for_the_same_generators(node: Node) -> None:
    first = approve(node, KEYS.approver)
    kept = {path: path.stat().st_mtime_ns for path in (node.root / FOLDER).iterdir()}
    again = approve(node, KEYS.approver)
    assert {path: path.stat().st_mtime_ns for path in (node.root / FOLDER).iterdir()} == kept
    assert again.together.results[1] == first.together.results[1]
    # A new image to compare with makes another attack.
    add_image(node, 40)
    approve(node, KEYS.approver)
    assert len(list((node.root / FOLDER).iterdir())) == len(kept) + 1


def test_what_somebody_changed_among_the_kept_results_is_computed_again(node: Node) -> None:
    first = approve(node, KEYS.approver)
    for path in (node.root / FOLDER).iterdir():
        path.write_bytes(path.read_bytes().replace(b"1", b"2"))
    again = approve(node, KEYS.approver)
    assert again.together.results[0].measures[0] == first.together.results[0].measures[0]
    assert again.together.results[1] == first.together.results[1]


def test_an_erasure_removes_the_kept_results(node: Node) -> None:
    approve(node, KEYS.approver)
    assert list((node.root / FOLDER).iterdir())
    erase(node, [node.ledger.get(f"{20:032x}")])
    assert not list((node.root / FOLDER).iterdir())


def test_a_bundle_says_what_gives_most_away_and_whether_nothing_could_be_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "features.ckpt"
    monkeypatch.setattr(features, "VGG16_CHECKPOINT_SHA256", write_checkpoint(path))
    monkeypatch.setenv(features.ENVIRONMENT_VARIABLE, str(path))
    node = trained_node(tmp_path / "node", 1)
    train(node, [add_image(node, number) for number in range(2, 6)], seed=9)
    policy = Policy(
        (Approver(APPROVER_NAME, KEYS.approver.public.pem().decode()),),
        release_linkable=True,
        limits=AuditLimits(k=3),
    )
    save_policy(node.policy_path, policy)
    audit_node(node, policy.limits, AuditSettings(samples=16))
    approve(node, KEYS.approver, APPROVER_NAME)
    nobody_else = export_bundle(node, tmp_path / "first", KEYS.release)
    assert "too few images of the node are not behind this bundle" in nobody_else.whole

    for number in range(20, 30):
        add_image(node, number)
    found = export_bundle(node, tmp_path / "second", KEYS.release)
    assert "most is given away by" in found.whole
    envelope = dsse.Envelope.from_bytes(found.bundle.read("privacy.json"), "privacy.json")
    predicate = json.loads(envelope.payload)["predicate"]
    schema.validate("privacy", predicate, "privacy.json")
    who, which = predicate["bundle"]
    assert [one["name"] for one in who["measures"]] == [f"{part}.auc" for part in PARTS]
    assert (who["samples"], who["controls"]) == (5, 10)
    assert which["measures"][0]["name"] == "thumbnail.own_generator"
    card = found.bundle.read("CARD.md").decode()
    assert "## The bundle as a whole" in card
    assert "by the style statistics: " in card
