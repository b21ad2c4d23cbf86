"""Figures of fidelity against analytic values, other implementations and examples worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.linalg import sqrtm

from consumer.torch_support import define_missing_operators
from hospital_node.fidelity.coverage_distance import kolmogorov_smirnov, total_variation
from hospital_node.fidelity.fidelity_report import Better
from hospital_node.fidelity.fidelity_settings import FidelitySettings
from hospital_node.fidelity.frechet import frechet_distance
from hospital_node.fidelity.halves import compare
from hospital_node.fidelity.kernel import kernel_distance
from hospital_node.fidelity.manifold import manifold
from hospital_node.fidelity.pixel_diversity import pixel_std
from sharekit.intervals import bootstrap_mean

Array = NDArray[np.float64]


def normal(seed: int, *shape: int, mean: float = 0.0, std: float = 1.0) -> Array:
    return np.random.default_rng(seed).normal(mean, std, shape)


def with_moments(mean: Array, root: Array) -> Array:
    """Rows whose mean and unbiased covariance are exactly `mean` and `rootᵀ root`."""
    rows = normal(0, 50, len(mean))
    rows -= rows.mean(axis=0)
    basis = np.linalg.qr(rows)[0] * np.sqrt(len(rows) - 1)
    return basis @ root + mean


def test_frechet_distance_of_gaussians_on_a_line_is_the_analytic_one() -> None:
    a = with_moments(np.array([1.0]), np.array([[2.0]]))
    b = with_moments(np.array([4.0]), np.array([[0.5]]))
    assert frechet_distance(a, b) == pytest.approx(3**2 + (2 - 0.5) ** 2)


def test_frechet_distance_of_diagonal_gaussians_is_the_analytic_one() -> None:
    first, second = np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 0.1])
    a = with_moments(np.zeros(3), np.diag(first))
    b = with_moments(np.array([0.0, 1.0, 2.0]), np.diag(second))
    assert frechet_distance(a, b) == pytest.approx(5 + ((first - second) ** 2).sum())


def test_frechet_distance_is_that_of_the_matrix_root() -> None:
    a, b = normal(1, 200, 8) @ normal(2, 8, 8), normal(3, 90, 8, mean=0.3) @ normal(4, 8, 8)
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    expected = ((a.mean(axis=0) - b.mean(axis=0)) ** 2).sum()
    expected += np.trace(first + second - 2 * np.real(sqrtm(first @ second)))
    assert frechet_distance(a, b) == pytest.approx(expected)


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_fewer_rows_than_dimensions_give_a_finite_distance(rows: int) -> None:
    a, b = normal(1, rows, 64), normal(2, rows, 64)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert 0 < frechet_distance(a, b) < np.inf
    constant = np.ones((rows, 64))
    assert frechet_distance(constant, constant) == 0
    assert frechet_distance(constant, constant + 1) == pytest.approx(64)


class Features(torch.nn.Module):
    """Fixed random features of pictures `(N, 3, H, W)`: any network will do to compare formulas on."""

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        small = torch.nn.functional.adaptive_avg_pool2d(pictures.double(), 4).flatten(1) / 255
        weights = torch.from_numpy(normal(7, 48, 16)).to(small)
        return torch.tanh(small @ weights)


def test_fid_and_kid_are_torchmetrics_on_the_same_features() -> None:
    define_missing_operators()
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.kid import KernelInceptionDistance

    random = np.random.default_rng(0)
    real = torch.from_numpy(random.integers(0, 256, (40, 3, 8, 8), dtype=np.uint8))
    other = torch.from_numpy(random.integers(60, 256, (40, 3, 8, 8), dtype=np.uint8))
    network = Features()
    a, b = network(real).numpy(), network(other).numpy()
    fid = FrechetInceptionDistance(feature=network).set_dtype(torch.float64)
    kid = KernelInceptionDistance(feature=network, subsets=1, subset_size=40)
    for metric in (fid, kid):
        metric.update(real, real=True)
        metric.update(other, real=False)
    assert frechet_distance(a, b) == pytest.approx(float(fid.compute()), rel=1e-5)
    assert kernel_distance(a, b) == pytest.approx(float(kid.compute()[0]), rel=1e-5)


def test_kid_is_unbiased_and_fid_is_not() -> None:
    pairs = [(normal(2 * k, 20, 8), normal(2 * k + 1, 30, 8)) for k in range(300)]
    kid = np.array([kernel_distance(a, b) for a, b in pairs])
    assert abs(kid.mean()) < 3 * kid.std() / np.sqrt(len(kid))
    assert np.mean([frechet_distance(a, b) for a, b in pairs]) > 1


def test_kid_of_different_distributions_is_far_from_zero() -> None:
    assert kernel_distance(normal(1, 60, 8), normal(2, 60, 8, mean=1)) > 1


def test_manifold_of_equal_sets_is_one() -> None:
    values = normal(0, 30, 4)
    found = manifold(values, values)
    assert (found.precision, found.recall, found.coverage) == (1, 1, 1)
    assert found.density == pytest.approx(1)


def test_manifold_of_sets_far_apart_is_zero() -> None:
    found = manifold(normal(0, 30, 4), normal(1, 30, 4) + 100)
    assert (found.precision, found.recall, found.density, found.coverage) == (0, 0, 0, 0)


def test_manifold_of_a_collapsed_generator_has_precision_without_recall() -> None:
    real = normal(0, 200, 2)
    found = manifold(real, real.mean(axis=0) + normal(1, 200, 2, std=0.01))
    assert found.precision == 1
    assert found.recall < 0.1
    assert found.coverage < 0.2


def test_manifold_on_a_line_is_what_is_counted_by_hand() -> None:
    # One neighbour: reach of the real points is 1, 1 and 8; of the samples 0.25, 0.25 and 13.75.
    found = manifold(np.array([[0.0], [1.0], [9.0]]), np.array([[0.5], [0.25], [14.25]]), neighbours=1)
    assert found.precision == 1  # 14.25 lies within 8 of 9
    assert found.recall == pytest.approx(2 / 3)  # 9 and 1 lie within 13.75 of 14.25; 0 lies nowhere
    assert found.density == pytest.approx((2 + 2 + 1) / 3)
    assert found.coverage == 1


def test_kolmogorov_smirnov_is_what_is_counted_by_hand() -> None:
    found = kolmogorov_smirnov(np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.25, 0.35, 0.45, 0.55]))
    assert found.statistic == 0.5
    apart = kolmogorov_smirnov(np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.5, 0.6, 0.7, 0.8]))
    # Two of the 70 ways in which 8 values fall into two fours are as far apart.
    assert apart == pytest.approx((1, 2 / 70))


def test_total_variation_is_what_is_counted_by_hand() -> None:
    real = np.array([[0.01], [0.02], [0.12], [0.13]])
    assert total_variation(real, np.array([0.03, 0.14])) == 0
    assert total_variation(real, np.array([0.03, 0.5])) == pytest.approx(0.5)
    assert total_variation(real, np.array([0.99, 1.0])) == 1


def test_pixel_std_is_the_analytic_one() -> None:
    pictures = np.stack([np.zeros((3, 4, 4)), np.ones((3, 4, 4))]).astype(np.float32)
    assert pixel_std(pictures).mean == pytest.approx(np.sqrt(0.5))
    noise = normal(0, 60, 3, 32, 32, std=0.3).astype(np.float32)
    found = pixel_std(noise)
    assert found.mean == pytest.approx(0.3, rel=0.01)
    assert found.low < found.mean < found.high


def test_pixel_std_of_one_picture_again_and_again_is_zero() -> None:
    found = pixel_std(np.repeat(normal(0, 1, 3, 8, 8), 5, axis=0).astype(np.float32))
    assert found.mean == found.low == found.high == pytest.approx(0, abs=1e-7)


SETTINGS = FidelitySettings(samples=3, halves=40)


def fid(real: Array, other: Array) -> dict[str, float]:
    return {"FID": frechet_distance(real, other)}


def test_floor_is_below_the_figure_of_clearly_different_sets() -> None:
    real = normal(0, 40, 4)
    (found,) = compare(real, normal(1, 40, 3, 4, mean=2), fid, Better.LOWER, SETTINGS)
    assert found.floor.high < found.samples.low
    assert found.worse
    assert not found.beats_real
    assert (found.floor.count, found.real_count, found.sample_count) == (20, 40, 120)


def test_samples_of_the_same_distribution_are_not_told_apart() -> None:
    (found,) = compare(normal(0, 40, 4), normal(1, 40, 3, 4), fid, Better.LOWER, SETTINGS)
    assert not found.worse
    assert not found.beats_real
    assert found.difference.low < 0 < found.difference.high


def test_a_generator_that_copies_its_source_gets_the_floor_and_no_better() -> None:
    real = normal(0, 40, 4)
    (found,) = compare(real, np.repeat(real[:, None], 3, axis=1), fid, Better.LOWER, SETTINGS)
    assert found.samples == found.floor
    assert found.difference.low == found.difference.high == 0
    assert found.whole < found.floor.low  # where sources are met, a copy looks better than real images


def test_no_sample_meets_its_own_source_in_the_halves() -> None:
    sources = np.arange(11.0)[:, None]
    met = []

    def overlap(real: Array, other: Array) -> dict[str, float]:
        met.append((len(np.intersect1d(real, other)), len(real), len(other)))
        return {"overlap": 0.0}

    compare(sources, np.repeat(sources[:, None], 3, axis=1), overlap, Better.LOWER, SETTINGS)
    assert set(met[:-1]) == {(0, 5, 5)}
    assert met[-1] == (11, 11, 33)


def test_halves_spread_like_the_bootstrap_of_all_images() -> None:
    def mean(real: Array, other: Array) -> dict[str, float]:
        return {"mean": float(real.mean())}

    real = normal(0, 60, 1)
    settings = FidelitySettings(halves=1000)
    (found,) = compare(real, real[:, None], mean, Better.LOWER, settings)
    of_all = bootstrap_mean(real[:, 0])
    assert found.floor.high - found.floor.low == pytest.approx(of_all.high - of_all.low, rel=0.1)


def test_intervals_of_differences_err_on_the_cautious_side() -> None:
    widths, differences = [], []
    for seed in range(40):
        (found,) = compare(
            normal(2 * seed, 24, 4), normal(2 * seed + 1, 24, 3, 4), fid, Better.LOWER, SETTINGS
        )
        widths.append(found.difference.high - found.difference.low)
        differences.append(found.difference.mean)
    implied = np.mean(widths) / (2 * 1.96)
    assert 1.3 < implied / np.std(differences) < 4


def test_what_is_better_decides_what_is_worse() -> None:
    def share(real: Array, other: Array) -> dict[str, float]:
        return {"share below 0.5": float((other < 0.5).mean())}

    real, samples = np.zeros((10, 1)), np.ones((10, 2, 1))
    (higher,) = compare(real, samples, share, Better.HIGHER, SETTINGS)
    (lower,) = compare(real, samples, share, Better.LOWER, SETTINGS)
    assert (higher.worse, higher.beats_real) == (True, False)
    assert (lower.worse, lower.beats_real) == (False, True)
