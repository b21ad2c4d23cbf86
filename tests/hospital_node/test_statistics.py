"""Statistics of real masks and textures: protected, bounded, and never of one image."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from hospital_node.ledger.ledger import Ledger
from hospital_node.ledger.states import GeneratorState
from hospital_node.statistics.gram_matrices import load_torch, style_statistics
from hospital_node.statistics.privacy import Protection, protect
from hospital_node.statistics.protected_coverage import (
    BIN_EDGES,
    CoverageStatistics,
    coverage_histograms,
    publish_coverage,
)
from sharekit.bundle import features
from sharekit.bundle.features import FeatureNetwork
from sharekit.bundle.style_statistics import StyleStatistics
from sharekit.errors import NodeStateError, PolicyError
from sharekit.generator.tensors import pixels_to_tensor
from sharekit.storage import files, schema
from tests.hospital_node.trained_node import picture

COVERAGES = {"lesion": [0.01, 0.12, 0.5, 1.0]}


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    Ledger.create(tmp_path / "ledger.sqlite")
    return Ledger(tmp_path / "ledger.sqlite")


def earlier(ledger: Ledger) -> Path:
    """Where earlier releases kept what they published."""
    return ledger.path.with_name("published-statistics.json")


def publish(
    ledger: Ledger, *, commitment: str = "a", epsilon: float = 1.0, limit: float = 2.0
) -> CoverageStatistics:
    return publish_coverage(
        COVERAGES,
        image_count=4,
        commitment=commitment,
        ledger=ledger,
        earlier=earlier(ledger),
        epsilon=epsilon,
        max_total_epsilon=limit,
    )


def test_histogram_counts_every_image_once_in_every_class() -> None:
    counts = coverage_histograms(COVERAGES)["lesion"]
    assert len(counts) == len(BIN_EDGES) - 1 == 20
    assert sum(counts) == 4
    assert [counts[0], counts[2], counts[10], counts[19]] == [1, 1, 1, 1]


def test_noise_is_discrete_laplace_of_the_stated_scale() -> None:
    counts = [1000] * 4000
    noised, protection = protect({"lesion": counts}, epsilon=0.5)
    differences = np.array(noised["lesion"]) - 1000
    assert protection.scale == 4.0
    # Discrete Laplace with p = exp(-1 / scale): variance 2 p / (1 - p)^2.
    p = np.exp(-1 / 4.0)
    assert abs(differences.mean()) < 0.4
    assert differences.var() == pytest.approx(2 * p / (1 - p) ** 2, rel=0.15)


def test_more_classes_share_one_epsilon() -> None:
    _, one = protect({"a": [1]}, 1.0)
    _, three = protect({"a": [1], "b": [1], "c": [1]}, 1.0)
    assert (one.l1_sensitivity, three.l1_sensitivity) == (2, 6)
    assert three.scale == 3 * one.scale


def test_counts_are_never_negative() -> None:
    noised, _ = protect({"lesion": [0] * 1000}, 0.1)
    assert min(noised["lesion"]) == 0
    assert max(noised["lesion"]) > 0


def test_statistics_fit_their_schema_and_survive_their_json(ledger: Ledger) -> None:
    statistics = publish(ledger)
    schema.validate("statistics", statistics.to_json(), "statistics.json")
    assert CoverageStatistics.from_json(statistics.to_json()) == statistics
    assert Protection.from_json(statistics.protection.to_json()) == statistics.protection


def test_the_same_images_get_the_same_noise_again(ledger: Ledger) -> None:
    first = publish(ledger)
    ledger.close()
    assert publish(Ledger(ledger.path)) == first


def test_other_images_spend_more_and_the_sum_is_stated(ledger: Ledger) -> None:
    publish(ledger)
    assert publish(ledger, commitment="b").total_epsilon == 2.0


def test_the_privacy_budget_is_kept(ledger: Ledger) -> None:
    publish(ledger)
    publish(ledger, commitment="b")
    with pytest.raises(PolicyError, match="total epsilon"):
        publish(ledger, commitment="c")
    assert publish(ledger).total_epsilon == 1.0


def entries(ledger: Ledger, *commitments: str) -> list[dict]:
    """What an earlier release's file holds of these publications."""
    statistics = publish(ledger).to_json()
    return [{"commitment": commitment, "statistics": statistics} for commitment in commitments]


@pytest.fixture
def history(tmp_path: Path) -> list[dict]:
    Ledger.create(tmp_path / "other.sqlite")
    return entries(Ledger(tmp_path / "other.sqlite"), "a", "b")


def test_the_record_of_an_earlier_release_is_brought_into_the_ledger(
    ledger: Ledger, history: list[dict]
) -> None:
    files.write_json(earlier(ledger), history)
    assert publish(ledger).to_json() == history[0]["statistics"]
    assert not earlier(ledger).exists()
    with pytest.raises(PolicyError, match="2 spent, 1 more wanted"):
        publish(ledger, commitment="c")


def test_a_record_that_is_deleted_or_emptied_later_resets_no_budget(
    ledger: Ledger, history: list[dict]
) -> None:
    files.write_json(earlier(ledger), history)
    publish(ledger)
    assert not earlier(ledger).exists()
    with pytest.raises(PolicyError, match="total epsilon"):
        publish(ledger, commitment="c")
    files.write_json(earlier(ledger), [])
    with pytest.raises(PolicyError, match="total epsilon"):
        publish(ledger, commitment="c")


def test_a_missing_record_of_a_node_that_released_is_an_error(ledger: Ledger) -> None:
    (generator,) = ledger.generators.plan([["1" * 32]])
    for state in (GeneratorState.TRAINED, GeneratorState.AUDITED, GeneratorState.RELEASED):
        if state is GeneratorState.TRAINED:
            ledger.generators.begin(generator, "quick", "{}")
        ledger.generators.transition(generator, state)
    with pytest.raises(NodeStateError, match="released a bundle"):
        publish(ledger)


@pytest.mark.parametrize("change", ["DELETE FROM publications", "UPDATE publications SET content = '[]'"])
def test_what_was_published_stays_published(ledger: Ledger, change: str) -> None:
    publish(ledger)
    with closing(sqlite3.connect(ledger.path)) as database, pytest.raises(sqlite3.IntegrityError):
        database.execute(change)


def test_a_damaged_record_of_the_budget_is_an_error(ledger: Ledger) -> None:
    for data in (b"{", b'[{"commitment": "a"}]', b"[1]"):
        earlier(ledger).write_bytes(data)
        with pytest.raises(NodeStateError):
            publish(ledger)


def images(count: int, channels: int = 3) -> list[np.ndarray]:
    return [pixels_to_tensor(picture(seed, channels).image) for seed in range(count)]


@pytest.fixture(scope="module")
def network() -> FeatureNetwork:
    path = features.find()
    if path is None:
        pytest.skip("no file of a feature network on this machine")
    return load_torch(path)


def test_style_of_fewer_than_k_images_is_refused(network: FeatureNetwork) -> None:
    with pytest.raises(PolicyError, match="at least 5 real images"):
        style_statistics(images(4), network, k=5)


@pytest.fixture(scope="module")
def style(network: FeatureNetwork) -> StyleStatistics:
    """Of one RGB and one grey picture."""
    return style_statistics([*images(1), *images(1, channels=1)], network, k=2)


def test_style_is_the_mean_over_the_images_and_grey_counts_as_equal_rgb(
    style: StyleStatistics, network: FeatureNetwork
) -> None:
    colour, grey = images(1)[0], np.repeat(images(1, channels=1)[0], 3, axis=0)
    alone = [style_statistics([image], network, k=1) for image in (colour, grey)]
    for layer, gram in style.grams.items():
        mean = (alone[0].grams[layer] + alone[1].grams[layer]) / 2
        np.testing.assert_allclose(gram, mean, rtol=1e-3, atol=1e-7)
    assert style.image_count == 2


def test_style_survives_its_files_and_fits_its_schema(style: StyleStatistics) -> None:
    contents = style.to_files()
    assert StyleStatistics.from_files(contents, min_images=2) == style
    schema.validate("style", files.parse_json(contents["style/style.json"], "style.json"), "style.json")


def test_large_images_are_reduced_before_their_features(network: FeatureNetwork) -> None:
    large = np.kron(images(1)[0], np.ones((1, 4, 4), np.float32))
    reduced, whole = (style_statistics([large], network, k=1, max_side=side) for side in (32, 96))
    assert (reduced.max_side, whole.max_side) == (32, 96)
    assert not np.allclose(reduced.grams["conv1_1"], whole.grams["conv1_1"], rtol=1e-3)
