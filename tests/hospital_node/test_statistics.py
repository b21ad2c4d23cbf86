"""Statistics of real masks and textures: protected, bounded, and never of one image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

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


def publish(
    path: Path, *, commitment: str = "a", epsilon: float = 1.0, limit: float = 2.0
) -> CoverageStatistics:
    return publish_coverage(
        COVERAGES,
        image_count=4,
        commitment=commitment,
        published=path,
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


def test_statistics_fit_their_schema_and_survive_their_json(tmp_path: Path) -> None:
    statistics = publish(tmp_path / "published.json")
    schema.validate("statistics", statistics.to_json(), "statistics.json")
    assert CoverageStatistics.from_json(statistics.to_json()) == statistics
    assert Protection.from_json(statistics.protection.to_json()) == statistics.protection


def test_the_same_images_get_the_same_noise_again(tmp_path: Path) -> None:
    path = tmp_path / "published.json"
    assert publish(path) == publish(path)
    assert path.stat().st_mode & 0o077 == 0


def test_other_images_spend_more_and_the_sum_is_stated(tmp_path: Path) -> None:
    path = tmp_path / "published.json"
    publish(path)
    assert publish(path, commitment="b").total_epsilon == 2.0


def test_the_privacy_budget_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "published.json"
    publish(path)
    publish(path, commitment="b")
    with pytest.raises(PolicyError, match="total epsilon"):
        publish(path, commitment="c")
    assert publish(path).total_epsilon == 1.0


def test_a_damaged_record_of_the_budget_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "published.json"
    for data in (b"{", b'[{"commitment": "a"}]', b"[1]"):
        path.write_bytes(data)
        with pytest.raises(NodeStateError):
            publish(path)


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
