"""Style statistics of two releases must not give those of fewer than k pictures by subtraction."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import numpy as np
import pytest

from hospital_node.audit.audit_node import audit_node
from hospital_node.audit.audit_settings import AuditSettings
from hospital_node.ledger.states import GeneratorState
from hospital_node.node.node import Node
from hospital_node.release.approve import approve
from hospital_node.release.export import ExportResult, export_bundle
from hospital_node.release.release_policy import Approver, Policy, load_policy, save_policy
from hospital_node.release.released_style import publish_style
from hospital_node.release.units_behind import units_behind
from hospital_node.statistics.style_differences import smallest_part
from sharekit.bundle import features
from sharekit.bundle.style_statistics import StyleStatistics
from tests.hospital_node.trained_node import APPROVER_NAME, add_image, make_keys, train

KEYS = make_keys()


def pictures(*numbers: int) -> frozenset[str]:
    return frozenset(map(str, numbers))


FIVE = pictures(*range(5))


@pytest.mark.parametrize(
    ("wanted", "small"),
    [
        (FIVE, None),
        (FIVE | pictures(5), 1),
        (FIVE - pictures(0), 1),
        (FIVE - pictures(0) | pictures(5), 1),
        (FIVE | pictures(5, 6, 7, 8), 4),
        (FIVE | pictures(5, 6, 7, 8, 9), None),
        (pictures(5, 6, 7, 8, 9), None),
    ],
)
def test_another_average_differs_by_nothing_or_by_k_pictures(
    wanted: frozenset[str], small: int | None
) -> None:
    assert smallest_part([FIVE], wanted, 5) == small


def test_three_averages_that_differ_pairwise_by_k_may_still_tell_of_one() -> None:
    other = pictures(*range(5, 10))
    assert smallest_part([FIVE, other], FIVE | other | pictures(10), 5) == 1


def test_no_sum_or_difference_of_published_averages_tells_of_fewer_than_k() -> None:
    k, everyone = 2, [str(number) for number in range(8)]
    generator = random.Random(0)
    published: list[frozenset[str]] = []
    for _ in range(300):
        wanted = frozenset(generator.sample(everyone, generator.randint(k, 8)))
        if smallest_part(published, wanted, k) is None:
            published.append(wanted)
    weights = np.array([[name in one for name in everyone] for one in published], float)
    rank = np.linalg.matrix_rank(weights)
    assert rank > 1
    for name, sign in itertools.product(range(8), (1.0, -1.0)):
        alone = np.zeros((1, 8))
        alone[0, name] = sign
        assert np.linalg.matrix_rank(np.concatenate([weights, alone])) == rank + 1


def release(node: Node, out: Path) -> ExportResult:
    audit_node(node, load_policy(node.policy_path).limits, AuditSettings(samples=16))
    approve(node, KEYS.approver, APPROVER_NAME)
    return export_bundle(node, out, KEYS.release)


def style(result: ExportResult) -> StyleStatistics:
    names = [name for name in result.bundle.names if name.startswith("style/")]
    return StyleStatistics.from_files({name: result.bundle.read(name) for name in names})


def test_the_sixth_picture_s_style_can_not_be_computed_from_two_releases(tmp_path: Path) -> None:
    if features.find() is None:
        pytest.skip("no file of a feature network on this machine")
    node = Node.create(tmp_path / "node", "Test hospital")
    save_policy(
        node.policy_path,
        Policy((Approver(APPROVER_NAME, KEYS.approver.public.pem().decode()),), release_linkable=True),
    )
    train(node, [add_image(node, number) for number in range(1, 6)], seed=1)
    first = style(release(node, tmp_path / "five"))
    assert style(release(node, tmp_path / "again")) == first

    train(node, [add_image(node, 6)], seed=2)
    six = release(node, tmp_path / "six")
    assert "tell of 1 picture, fewer than k = 5; release the same pictures as before" in six.style
    # Six times the second average less five times the first would be the sixth's own: there is no second one.
    assert not [name for name in six.bundle.names if name.startswith("style/")]

    new = [f"{6:032x}", *(add_image(node, number) for number in range(7, 11))]
    train(node, new[1:], seed=3)
    ten = style(release(node, tmp_path / "ten"))
    alone, _ = publish_style(node, units_behind(node, new), 5, None)
    assert alone is not None
    for layer, gram in ten.grams.items():
        difference = (10 * gram - 5 * first.grams[layer]) / 5
        np.testing.assert_allclose(difference, alone.grams[layer], rtol=1e-2, atol=1e-5)


def test_releases_from_before_the_record_count_as_published(tmp_path: Path) -> None:
    if features.find() is None:
        pytest.skip("no file of a feature network on this machine")
    node = Node.create(tmp_path / "node", "Test hospital")
    images = [add_image(node, number) for number in range(1, 7)]
    old = train(node, images[:5], seed=1)
    node.ledger.generators.transition(old, GeneratorState.AUDITED)
    node.ledger.generators.transition(old, GeneratorState.RELEASED, "release 1")
    found, text = publish_style(node, units_behind(node, images), 5, None)
    assert found is None
    assert "tell of 1 picture" in text
    assert publish_style(node, units_behind(node, images[:5]), 5, None)[0] is not None
