"""What a second release says that the first did not: the real attacks, and the rules that stop them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hospital_node.audit.attack import AuditLimits
from hospital_node.audit.attacks.distance import rmse
from hospital_node.audit.audit_node import audit_node
from hospital_node.audit.audit_settings import AuditSettings
from hospital_node.candidate.draw import draw_images
from hospital_node.node.erasure import erase
from hospital_node.node.node import Node
from hospital_node.release.approve import approve
from hospital_node.release.export import ExportResult, export_bundle
from hospital_node.release.group_differences import fewest_apart
from hospital_node.release.release_policy import Approver, Policy, load_policy, save_policy
from hospital_node.statistics.gram_matrices import grams_of, style_statistics
from hospital_node.statistics.style_differences import smallest_part
from sharekit.bundle import features
from sharekit.errors import PolicyError
from tests import planted_leaks as planted
from tests.hospital_node.test_audit_controls import real
from tests.hospital_node.trained_node import APPROVER_NAME, add_image, make_keys, train
from tests.tiny_features import tiny_network

KEYS = make_keys()
K = 3


def names(*numbers: int) -> frozenset[str]:
    return frozenset(map(str, numbers))


# -- the attacks


def test_two_published_means_give_the_added_image_s_own_gram_matrices_and_so_name_it() -> None:
    import torch

    network = tiny_network().map(lambda array: torch.from_numpy(np.array(array)))
    images = [real(number)[:3] for number in range(12)]
    first, second = (style_statistics(images[:count], network, k=5) for count in (5, 6))
    recovered = {name: 6 * second.grams[name] - 5 * first.grams[name] for name in first.grams}
    own = list(grams_of(images, network, 256))
    for name, gram in recovered.items():
        np.testing.assert_allclose(gram, own[5][name], rtol=1e-3, atol=1e-6)
    far = [sum(np.linalg.norm(one[name] - recovered[name]) for name in recovered) for one in own]
    assert int(np.argmin(far)) == 5
    assert sorted(far)[0] < 0.01 * sorted(far)[1]
    assert smallest_part([names(*range(5))], names(*range(6)), 5) == 1


def test_samples_of_two_groups_that_differ_by_one_picture_name_that_picture() -> None:
    rng = np.random.default_rng(0)
    pictures = [real(number) for number in range(12)]
    means = []
    for count in (5, 6):
        candidate, spec = planted.generator(f"{count:032x}", pictures[:count], rng, pictures[0], None)
        means.append(draw_images(candidate, spec, 0, range(600)).mean(axis=0))
    difference = 6 * means[1] - 5 * means[0]
    far = rmse(difference[None], np.stack([one[:3] for one in pictures]))[0]
    assert int(far.argmin()) == 5
    assert fewest_apart(names(*range(6)), names(*range(5)), 5) == 1


# -- the rule for groups


@pytest.mark.parametrize(
    ("group", "other", "few"),
    [
        (names(1, 2, 3, 4), names(1, 2, 3, 4), None),
        (names(1, 2, 3, 4), names(1, 2, 3), 1),
        (names(1, 2, 3), names(1, 2, 3, 4), 1),
        (names(1, 2, 3, 4), names(1, 2, 3, 5), 1),
        (names(1, 2, 3, 4, 5), names(1, 2, 3), 2),
        (names(1, 2, 3, 4, 5, 6), names(1, 2, 3), None),
        (names(1, 2, 3), names(4, 5), None),
        (names(1, 2), names(1), None),
    ],
)
def test_a_group_differs_from_another_by_nothing_or_by_k(
    group: frozenset[str], other: frozenset[str], few: int | None
) -> None:
    assert fewest_apart(group, other, K) == few


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    """A node that released a generator of four images, without style statistics."""
    monkeypatch.setattr(features, "find", lambda name=None: None)
    made = Node.create(tmp_path / "node", "Test hospital")
    approver = Approver(APPROVER_NAME, KEYS.approver.public.pem().decode())
    policy = Policy((approver,), release_linkable=True, min_group=2, limits=AuditLimits(k=K))
    save_policy(made.policy_path, policy)
    train(made, [add_image(made, number) for number in range(1, 5)], seed=1)
    release(made, tmp_path / "first")
    return made


def release(node: Node, out: Path) -> ExportResult:
    audit_node(node, load_policy(node.policy_path).limits, AuditSettings(samples=16))
    approve(node, KEYS.approver, APPROVER_NAME)
    return export_bundle(node, out, KEYS.release)


def test_a_group_with_one_image_more_than_a_released_one_stays_inside_unless_the_policy_lets_it_leave(
    node: Node, tmp_path: Path
) -> None:
    more = train(node, [*(f"{number:032x}" for number in range(1, 5)), add_image(node, 5)], seed=2)
    second = release(node, tmp_path / "second")
    assert len(second.released) == 1
    reason = second.refused[more][0]
    assert "differs from that of generator" in reason
    assert "1 patient or distinct picture, fewer than k = 3" in reason
    with pytest.raises(PolicyError, match="release_small_differences") as refused:
        approve(node, KEYS.approver, APPROVER_NAME, generators=[more])
    assert "train the new patients as groups of their own" in refused.value.next_step

    policy = load_policy(node.policy_path).with_setting("release_small_differences=true")
    save_policy(node.policy_path, policy)
    third = release(node, tmp_path / "third")
    assert more in third.released
    (warning,) = [line for line in third.warnings if "differs" in line]
    assert "learns about these alone" in warning


def test_a_group_without_an_erased_image_would_single_that_image_out_and_another_group_would_not(
    node: Node,
) -> None:
    erase(node, [node.ledger.get(f"{4:032x}")])
    fewer = train(node, [f"{number:032x}" for number in range(1, 4)], seed=3)
    new = train(node, [add_image(node, number) for number in range(11, 15)], seed=4)
    audit_node(node, load_policy(node.policy_path).limits, AuditSettings(samples=16))
    with pytest.raises(PolicyError, match="1 patient or distinct picture"):
        approve(node, KEYS.approver, APPROVER_NAME, generators=[fewer])
    given = approve(node, KEYS.approver, APPROVER_NAME)
    assert [item.record.id for item in given.proposal.items] == [new]


def test_an_older_policy_file_keeps_its_digest() -> None:
    assert "release_small_differences" not in Policy().to_json()
    changed = Policy(release_small_differences=True)
    assert Policy.from_json(changed.to_json()) == changed
