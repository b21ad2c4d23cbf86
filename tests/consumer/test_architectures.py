"""Every network that `consumer train` offers is trained, exported and compared with torch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from consumer.cli import main
from consumer.torch_support import define_missing_operators
from consumer.training import TrainingSettings, network, read_task, train_segmenter
from consumer.training.export_segmenter import NOT_PLAIN, TOLERANCE, averaging
from consumer.training.training_settings import ARCHITECTURES
from sharekit.errors import UsageError
from tests.consumer.pairs import disc, picture, save

define_missing_operators()
torch = pytest.importorskip("torch")
smp = pytest.importorskip("segmentation_models_pytorch")

SMALL, OTHER = "timm-tf_efficientnet_lite0", "resnet18"
ENCODERS = {"dpt": ("tu-mobilenetv3_small_050", "tu-resnet18")}
"""Of the architectures that do not take `SMALL` and `OTHER`."""
SIZES = {"pan": (128, 160)}
"""Of the architectures that cannot take 64 pixels."""
EVERY = [
    (architecture, encoder, size)
    for architecture in ARCHITECTURES
    for encoder in ENCODERS.get(architecture, (SMALL, OTHER))
    for size in SIZES.get(architecture, (64, 96))
]
FEW = [("fpn", SMALL, 64), ("pspnet", SMALL, 96), ("segformer", SMALL, 64), ("pan", SMALL, 128)]
"""One of each kind of graph that needed help: group norm, pooling between any sizes, attention, dilation."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    for folder, numbers in (("train", range(4)), ("held-out", range(10, 13))):
        for number in numbers:
            save(root / folder / f"images/{number}.png", picture(number))
            save(root / folder / f"masks/{number}.png", disc(number))
    return root


def trained(data: Path, out: Path, architecture: str, encoder: str, size: int) -> None:
    """Two updates, an export, and a comparison with torch in batches of 3, 1 and 3 images."""
    settings = TrainingSettings(
        architecture=architecture, encoder=encoder, size=size, batch_size=2, updates=2
    )
    task = read_task([data / "train"], data / "held-out", settings)
    result = train_segmenter(task, out / "model.onnx", device="cpu")
    assert result.parity <= TOLERANCE
    assert not set(result.operators) & NOT_PLAIN


@pytest.mark.parametrize(("architecture", "encoder", "size"), FEW)
def test_a_network_that_needed_help_is_trained_and_exported(
    data: Path, tmp_path: Path, architecture: str, encoder: str, size: int
) -> None:
    trained(data, tmp_path, architecture, encoder, size)


@pytest.mark.slow
@pytest.mark.parametrize(("architecture", "encoder", "size"), EVERY)
def test_every_offered_network_is_trained_and_exported(
    data: Path, tmp_path: Path, architecture: str, encoder: str, size: int
) -> None:
    trained(data, tmp_path, architecture, encoder, size)


def test_what_is_offered_exists_in_the_package() -> None:
    assert set(ARCHITECTURES) <= set(smp.MODEL_ARCHITECTURES_MAPPING)


@pytest.mark.parametrize(("length", "parts"), [(16, 3), (12, 6), (7, 7), (5, 2), (2, 6)])
def test_pooling_by_matrices_is_torchs(length: int, parts: int) -> None:
    image = np.random.default_rng(0).normal(size=(1, 2, length, length + 1)).astype(np.float32)
    down, across = averaging(length, parts), averaging(length + 1, parts).T
    expected = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(image), parts).numpy()
    assert np.allclose(down @ image @ across, expected, atol=1e-6)


def refused(data: Path, out: Path, option: str, **changes: object) -> UsageError:
    settings = TrainingSettings(**{"encoder": SMALL, "updates": 1, **changes})  # type: ignore[arg-type]
    task = read_task([data / "train"], data / "held-out", settings)
    with pytest.raises(UsageError) as caught:
        train_segmenter(task, out / "model.onnx", device="cpu")
    assert option in caught.value.item
    assert not (out / "model.onnx.training").exists()
    return caught.value


@pytest.mark.parametrize(("architecture", "size"), [("deeplabv3plus", 64), ("pan", 128), ("unet", 32)])
def test_a_batch_of_one_that_batch_norm_cannot_take_is_wrong_usage(
    data: Path, tmp_path: Path, architecture: str, size: int
) -> None:
    error = refused(data, tmp_path, "--batch-size", architecture=architecture, batch_size=1, size=size)
    assert "--batch-size 2" in error.next_step


def test_a_batch_of_one_that_the_network_can_take_is_taken(data: Path, tmp_path: Path) -> None:
    settings = TrainingSettings(architecture="unet", encoder=SMALL, size=64, batch_size=1, updates=1)
    task = read_task([data / "train"], data / "held-out", settings)
    assert train_segmenter(task, tmp_path / "model.onnx", device="cpu").parity <= TOLERANCE


def test_a_size_that_the_network_cannot_take_is_wrong_usage(data: Path, tmp_path: Path) -> None:
    error = refused(data, tmp_path, "--size", architecture="pan", size=64)
    assert "larger --size" in error.next_step


def test_an_encoder_of_one_size_alone_is_wrong_usage(data: Path, tmp_path: Path) -> None:
    refused(data, tmp_path, "--size", architecture="dpt", encoder="tu-vit_tiny_patch16_224", size=64)


@pytest.mark.slow
def test_what_onnx_cannot_express_is_wrong_usage_without_pages_of_graph(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vision = {"architecture": "dpt", "encoder": "tu-vit_tiny_patch16_224", "size": 224}
    error = refused(data, tmp_path, "--architecture", **vision)
    assert len(str(error)) < 400
    given = capsys.readouterr()
    assert not given.out
    assert "Float(" not in given.err


def test_an_encoder_that_does_not_fit_is_wrong_usage() -> None:
    settings = TrainingSettings(architecture="dpt", encoder=OTHER)
    with pytest.raises(UsageError, match="tu-"):
        network.build_network(settings, network.EncoderWeights("none"))


@pytest.mark.parametrize("name", ["model.pt", "model", "model.onnx.pt", "model.safetensors"])
def test_another_file_than_onnx_is_refused_before_anything_is_read(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nothing = str(tmp_path / "no such data set")
    words = ["train", nothing, "--validation", nothing, "--out", str(tmp_path / name), "--format", "json"]
    assert main(words) == UsageError.exit_code
    error = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert name in error["item"]
    assert ".onnx" in error["next_step"]
