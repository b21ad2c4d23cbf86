"""The feature network: the published architecture, pinned weights, and features that mean something."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from consumer.torch_support import define_missing_operators
from hospital_node.fidelity import inception
from hospital_node.fidelity.frechet import frechet_distance
from hospital_node.fidelity.inception import Inception
from hospital_node.fidelity.sifid import sifid
from hospital_node.fidelity.subject import features
from sharekit.errors import InputError, VerificationError
from sharekit.generator.tensors import pixels_to_tensor
from tests.hospital_node.feature_network import random_stem

WEIGHTS = Path(__file__).resolve().parents[3] / "shared" / "weights" / "inception-v3-fid-2015-12-05"


@pytest.fixture(scope="module")
def network() -> Inception:
    return inception.load(_weights("fid_inception_to_mixed7_768.safetensors"))


def _weights(name: str) -> Path:
    if not (WEIGHTS / name).is_file():
        pytest.skip("Inception's weights are not beside the project")
    return WEIGHTS / name


def _names(prefix: str, first: str, length: int) -> Iterator[str]:
    for number in range(length):
        yield f"{prefix}_{first}{f'_{number}' if number else ''}"


def _torchvision_names() -> dict[str, str]:
    """torchvision's convolution to TensorFlow's name for the same one."""
    names = dict(
        zip(
            ["Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3"],
            ["conv", "conv_1", "conv_2", "conv_3", "conv_4"],
            strict=True,
        )
    )
    small = ["branch5x5_1", "branch5x5_2"], [f"branch3x3dbl_{number}" for number in (1, 2, 3)]
    large = [f"branch7x7_{number}" for number in (1, 2, 3)], [f"branch7x7dbl_{n}" for n in (1, 2, 3, 4, 5)]
    blocks = [("5b", "mixed", small), ("5c", "mixed_1", small), ("5d", "mixed_2", small)]
    blocks += [
        (f"6{letter}", f"mixed_{number}", large) for letter, number in zip("bcde", range(4, 8), strict=True)
    ]
    for letter, prefix, (tower, tower_1) in blocks:
        names[f"Mixed_{letter}.branch1x1"] = f"{prefix}_conv"
        names[f"Mixed_{letter}.branch_pool"] = f"{prefix}_tower_2_conv"
        for branch, name in zip(tower, _names(prefix, "tower_conv", len(tower)), strict=True):
            names[f"Mixed_{letter}.{branch}"] = name
        for branch, name in zip(tower_1, _names(prefix, "tower_1_conv", len(tower_1)), strict=True):
            names[f"Mixed_{letter}.{branch}"] = name
    names["Mixed_6a.branch3x3"] = "mixed_3_conv"
    for number, name in enumerate(_names("mixed_3", "tower_conv", 3), start=1):
        names[f"Mixed_6a.branch3x3dbl_{number}"] = name
    return names


def test_network_is_torchvisions_inception_v3_up_to_mixed_7(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights in both. FID's network leaves padding out of average pools: torchvision is told to."""
    define_missing_operators()
    from torchvision.models import inception as reference

    torch.manual_seed(0)
    published = reference.Inception3(aux_logits=False, init_weights=False).eval()
    tensors = {}
    for theirs, ours in _torchvision_names().items():
        convolution = published.get_submodule(theirs)
        with torch.no_grad():
            torch.nn.init.kaiming_normal_(convolution.conv.weight)
            convolution.bn.bias.normal_(0, 0.1)
        convolution.bn.eps = 0.0  # mean 0, variance 1: the norm adds its bias and does nothing else
        tensors[f"{ours}.weight"] = convolution.conv.weight.detach()
        tensors[f"{ours}.bias"] = convolution.bn.bias.detach()
    plain = torch.nn.functional.avg_pool2d
    monkeypatch.setattr(reference.F, "avg_pool2d", functools.partial(plain, count_include_pad=False))
    pictures = torch.rand(1, 3, 299, 299) * 2 - 1
    network = Inception(tensors, 768)
    values = pictures
    with torch.inference_mode():
        for name, child in published.named_children():
            values = child(values)
            if name == "Mixed_6e":
                break
        expected = values.mean(dim=(2, 3))
        monkeypatch.undo()
        found = network(pictures)
    assert found.shape == (1, 768)
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_8_bit_and_float_pictures_and_grey_ones_have_the_same_features() -> None:
    network = random_stem()
    pixels = np.random.default_rng(0).integers(0, 256, (1, 24, 20), dtype=np.uint8)
    grey = torch.from_numpy(pixels)[None]
    values = torch.from_numpy(pixels_to_tensor(pixels[0]))[None]
    assert torch.allclose(network(grey), network(values), atol=1e-5)
    assert torch.allclose(network(grey), network(grey.expand(-1, 3, -1, -1)), atol=1e-5)


def test_features_do_not_depend_on_the_batch() -> None:
    network = random_stem()
    pictures = np.random.default_rng(0).uniform(-1, 1, (10, 3, 20, 24)).astype(np.float32)
    alone = np.concatenate([features(picture[None], network) for picture in pictures])
    assert features(pictures, network) == pytest.approx(alone, abs=1e-5)


def test_sifid_of_an_image_with_itself_is_zero_and_grows_with_what_is_done_to_it() -> None:
    network = random_stem()
    random = np.random.default_rng(0)
    real = random.uniform(-1, 1, (3, 48, 40)).astype(np.float32)
    noise = random.normal(0, 1, real.shape).astype(np.float32)
    found = sifid(real, np.stack([real, real + 0.1 * noise, real + noise]), network)
    assert found[0] == pytest.approx(0, abs=1e-6)
    assert found[0] < found[1] < found[2]


def test_sifid_does_not_see_where_a_texture_is() -> None:
    network = random_stem()
    tile = np.random.default_rng(0).uniform(-1, 1, (3, 16, 16)).astype(np.float32)
    real = np.tile(tile, (1, 4, 4))
    other = np.random.default_rng(1).uniform(-1, 1, real.shape).astype(np.float32) * 0.3
    shifted, different = sifid(real, np.stack([np.roll(real, (4, 8), axis=(1, 2)), other]), network)
    assert shifted < 0.1 * different


@pytest.mark.parametrize(("content", "error"), [(b"weights", VerificationError), (None, InputError)])
def test_weights_that_are_not_pinned_or_not_there_are_refused(
    tmp_path: Path, content: bytes | None, error: type[Exception]
) -> None:
    path = tmp_path / "weights.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(error):
        inception.load(path)


def test_environment_names_the_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(inception.ENVIRONMENT_VARIABLE, raising=False)
    assert inception.find() is None
    monkeypatch.setenv(inception.ENVIRONMENT_VARIABLE, str(tmp_path / "file"))
    assert inception.find() == tmp_path / "file"


@pytest.mark.real_data
def test_both_weights_files_hold_the_same_stem_and_only_one_goes_deeper(network: Inception) -> None:
    small = inception.load(_weights("fid_inception_pool0_64.safetensors"))
    assert (small.dimension, network.dimension) == (64, 768)
    picture = torch.rand(1, 3, 40, 50) * 2 - 1
    assert torch.equal(small.stem(picture), network.stem(picture))
    with pytest.raises(InputError, match="768-d"):
        inception.load(_weights("fid_inception_pool0_64.safetensors"), 768)


@pytest.mark.real_data
def test_trained_features_know_an_image_again_and_tell_kinds_of_images_apart(
    network: Inception, kvasir_seg: Path, dsb2018_nuclei: Path
) -> None:
    polyps, nuclei = _pictures(kvasir_seg, 8), _pictures(dsb2018_nuclei, 4)
    seen = features(polyps, network)
    mirrored = features(np.ascontiguousarray(polyps[:4, :, :, ::-1]), network)
    distances = np.linalg.norm(mirrored[:, None] - seen[None], axis=2)
    assert distances.argmin(axis=1).tolist() == [0, 1, 2, 3]
    other = features(nuclei, network)
    floor = frechet_distance(seen[:4], seen[4:])
    assert floor < 0.7 * frechet_distance(seen[:4], other)
    # Sparse, as trained features with ReLU are.
    assert (seen >= 0).all()
    assert 0 < seen.mean() < 1


def _pictures(folder: Path, count: int) -> np.ndarray:
    """`(count, 3, 128, 128)` in [-1, 1] of the first images of a data set."""
    paths = sorted((folder / "images").iterdir())[:count]
    pixels = [np.asarray(Image.open(path).convert("RGB").resize((128, 128))) for path in paths]
    return np.stack([pixels_to_tensor(one) for one in pixels])
