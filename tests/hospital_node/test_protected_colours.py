"""Protected colours: clipped, with noise, drawn once for a set of images, from one budget with the masks."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from hospital_node.ledger.publications import Published
from hospital_node.ledger.states import ImageState
from hospital_node.node.node import Node
from hospital_node.release.real_statistics import StatisticsAsked
from hospital_node.release.release_policy import Policy
from hospital_node.release.units_behind import units_behind
from hospital_node.statistics.epsilon_budget import spent
from hospital_node.statistics.protected_colours import STEPS, protected_colours
from hospital_node.statistics.protected_coverage import CoverageStatistics
from sharekit.bundle.colour_statistics import BOUNDS, MIN_UNITS, picture_colours
from sharekit.errors import PolicyError
from sharekit.storage import schema
from tests.hospital_node.trained_node import add_image

LOW, HIGH = np.array(list(BOUNDS.values())).T
POLICY = Policy(epsilon=1.0, style_epsilon=1.0, max_total_epsilon=3.0)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Node:
    """A node with pictures of as many patients as protected colours take, and a few more."""
    node = Node.create(tmp_path_factory.mktemp("place") / "node", "Test hospital")
    # A few of the drawn pictures resemble others, and count as one with them.
    for number in range(1, MIN_UNITS + 9):
        add_image(node, number)
    return node


@pytest.fixture
def fresh(node: Node, tmp_path: Path) -> Node:
    """The same node, which has published nothing."""
    shutil.copytree(node.root, tmp_path / "node")
    return Node.open(tmp_path / "node")


def images(node: Node, count: int) -> list[str]:
    """So many different pictures."""
    every = [one.id for one in node.ledger.iterate(ImageState.INGESTED)]
    return [unit.first for unit in units_behind(node, every)][:count]


def release(node: Node, count: int, policy: Policy = POLICY) -> tuple[CoverageStatistics, str]:
    chosen = images(node, count)
    masks, style, text = StatisticsAsked(node, policy, units_behind(node, chosen), chosen, None).publish()
    assert style is None
    return masks, text


def test_no_picture_moves_the_sums_by_more_than_the_noise_allows_for() -> None:
    rng = np.random.default_rng(0)
    wild = rng.uniform(-500, 500, (50, len(BOUNDS)))
    found = protected_colours(wild, epsilon=1e6)
    averages = np.clip(wild, LOW, HIGH).mean(axis=0)
    assert [found.values[name] for name in BOUNDS] == pytest.approx(averages.tolist(), abs=0.1)
    assert found.protection["l1_sensitivity"] == STEPS * len(BOUNDS)
    assert found.protection["scale"] == STEPS * len(BOUNDS) / 1e6


def test_the_noise_is_as_large_as_it_is_said_to_be() -> None:
    middle = np.tile((LOW + HIGH) / 2, (MIN_UNITS, 1))
    draws = [protected_colours(middle, epsilon=1.0) for _ in range(300)]
    for name, (low, high) in BOUNDS.items():
        assert draws[0].noise[name] == pytest.approx((high - low) * 6 / MIN_UNITS, rel=1e-3)
        off = np.array([one.values[name] for one in draws]) - (low + high) / 2
        # The mean absolute value of Laplace noise is its scale; five standard errors of 300 draws.
        assert np.abs(off).mean() == pytest.approx(draws[0].noise[name], rel=0.29)
    assert len({tuple(one.values.values()) for one in draws}) == 300


def test_grey_pictures_have_no_colour() -> None:
    grey = np.linspace(-1, 1, 64, dtype=np.float32).reshape(1, 8, 8)
    found = dict(zip(BOUNDS, picture_colours(grey), strict=True))
    assert found["mean L*"] > 20
    assert [found[name] for name in ("mean a*", "mean b*", "deviation a*")] == pytest.approx(
        [0, 0, 0], abs=0.01
    )


def test_a_release_holds_six_numbers_and_both_epsilons(fresh: Node) -> None:
    masks, text = release(fresh, MIN_UNITS)
    assert masks.colours is not None
    assert text == masks.colours.in_words
    value = masks.to_json()
    schema.validate("statistics", value, "statistics.json")
    assert CoverageStatistics.from_json(value) == masks
    assert (masks.total_epsilon, spent(fresh.ledger)) == (2.0, 2.0)


def test_repeating_an_export_draws_no_second_noise_and_spends_nothing(fresh: Node) -> None:
    first, again = (release(fresh, MIN_UNITS)[0] for _ in range(2))
    assert again.colours == first.colours
    assert spent(fresh.ledger) == 2.0


def test_one_budget_pays_for_masks_and_colours_and_masks_come_first(fresh: Node) -> None:
    release(fresh, MIN_UNITS)
    masks, text = release(fresh, MIN_UNITS + 1)
    assert masks.colours is None
    assert text.startswith("none, because of 3 spent, 1 more wanted")
    assert spent(fresh.ledger) == 3.0
    with pytest.raises(PolicyError, match="total epsilon of at most 3"):
        release(fresh, MIN_UNITS + 2)


def test_no_setting_of_the_colours_buys_more_than_the_budget(fresh: Node) -> None:
    masks, text = release(fresh, MIN_UNITS, dataclasses.replace(POLICY, style_epsilon=50.0))
    assert (masks.colours, spent(fresh.ledger)) == (None, 1.0)
    assert "50 more wanted" in text


def test_fewer_patients_get_no_protected_colours(fresh: Node) -> None:
    masks, text = release(fresh, MIN_UNITS - 1)
    assert (masks.colours, spent(fresh.ledger)) == (None, 1.0)
    assert text == "none, because protected colours take 100 pictures, and there are 99 pictures"


def test_a_look_before_the_release_spends_nothing_and_shows_what_was_published(fresh: Node) -> None:
    chosen = images(fresh, MIN_UNITS)
    asked = StatisticsAsked(fresh, POLICY, units_behind(fresh, chosen), chosen, None)
    one, other = (asked.before_release()[0] for _ in range(2))
    assert one.colours is not None
    assert one.colours != other.colours
    assert fresh.ledger.publications.all(Published.COVERAGE) == []
    left, _ = release(fresh, MIN_UNITS)
    seen, _, _ = asked.before_release()
    assert (seen.colours, seen.histograms) == (left.colours, left.histograms)


def test_a_policy_without_protected_colours_keeps_its_digest() -> None:
    assert "style_epsilon" not in Policy().to_json()
    assert Policy.from_json(POLICY.to_json()) == POLICY
