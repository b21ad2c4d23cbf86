"""Training a segmenter: it learns, survives a kill, refuses leaks, and its file is the trained network."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

pytest.importorskip("torch")

from consumer.cli import main
from consumer.torch_support import define_missing_operators
from consumer.training import Task, TrainingResult, TrainingSettings, network, read_task, train_segmenter
from consumer.training import export_segmenter as export
from consumer.training.batches import Batches
from sharekit.errors import DependencyError, InputError, UsageError
from sharekit.program.progress import Progress, ProgressCallback, ignore
from sharekit.segmenter.contract import contract_of
from tests.consumer.pairs import save

export_onnx = export.export_onnx

define_missing_operators()
torch = pytest.importorskip("torch")
pytest.importorskip("segmentation_models_pytorch")

TINY = TrainingSettings(
    architecture="unet", encoder="timm-tf_efficientnet_lite0", size=32, batch_size=4, updates=4, validations=2
)
TINY_OPTIONS = ("--architecture", "unet", "--encoder", TINY.encoder, "--size", "32", "--batch-size", "4")


def lesion(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A noisy dark picture with one bright reddish disc, and the disc's mask."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:40, :48]
    row, column = rng.uniform(12, 28, 2)
    inside = (y - row) ** 2 + (x - column) ** 2 <= rng.uniform(6, 11) ** 2
    colour = np.where(inside[:, :, None], (210, 120, 90), (70, 60, 60)) + rng.normal(0, 12, (40, 48, 3))
    return np.clip(colour, 0, 255).astype(np.uint8), np.where(inside, 255, 0).astype(np.uint8)


def write(root: Path, seeds: range, classes: tuple[str, ...] = ("",)) -> Path:
    for seed in seeds:
        image, mask = lesion(seed)
        save(root / f"images/{seed:03d}.png", image)
        for name in classes:
            save(root / "masks" / name / f"{seed:03d}.png", mask)
    return root


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `train` and `held-out`, of different pictures."""
    root = tmp_path_factory.mktemp("data")
    write(root / "train", range(10))
    write(root / "held-out", range(100, 104))
    return root


def task(data: Path, settings: TrainingSettings = TINY) -> Task:
    return read_task([data / "train"], data / "held-out", settings)


def train(
    data: Path, out: Path, settings: TrainingSettings = TINY, on_progress: ProgressCallback = ignore
) -> TrainingResult:
    return train_segmenter(task(data, settings), out, device="cpu", save_every=0, on_progress=on_progress)


def stop_after(update: int, stop: Callable[[], object]) -> ProgressCallback:
    def on_progress(event: Progress) -> None:
        if event.done == update:
            stop()

    return on_progress


@pytest.fixture(scope="module")
def whole(data: Path) -> bytes:
    """The file of `TINY`, trained without interruption."""
    out = data / "whole.onnx"
    train(data, out)
    return out.read_bytes()


def test_it_learns_more_than_the_empty_mask(data: Path, tmp_path: Path) -> None:
    settings = replace(TINY, updates=20, decay_at=20, learning_rate=3e-3, validations=2)
    result = train(data, tmp_path / "model.onnx", settings)
    assert result.best.iou > 0.4  # the empty mask has 0: every picture has a lesion
    assert result.best.iou >= result.last.iou
    assert not (tmp_path / "model.onnx.training").exists()


def test_equal_settings_give_equal_bytes_and_another_seed_gives_others(
    data: Path, whole: bytes, tmp_path: Path
) -> None:
    again, other = tmp_path / "again.onnx", tmp_path / "other.onnx"
    train(data, again)
    train(data, other, replace(TINY, seed=1))
    assert again.read_bytes() == whole
    assert other.read_bytes() != whole


def test_test_sets_are_scored_and_change_nothing(data: Path, whole: bytes, tmp_path: Path) -> None:
    unused = write(tmp_path / "unused", range(300, 303))
    given = read_task([data / "train"], data / "held-out", TINY, tests=[unused, unused])
    result = train_segmenter(given, tmp_path / "model.onnx", device="cpu")
    assert (tmp_path / "model.onnx").read_bytes() == whole
    first, second = result.to_json()["tests"]
    assert first == second
    assert first["images"] == 3
    assert first["foreground"] == pytest.approx(given.tests[0].masks.mean(axis=(1, 2)), abs=1e-6)
    for which in ("best", "last"):
        mean = first[which]["metrics"]["iou"]["mean"]
        assert mean == pytest.approx(np.mean(first[f"{which}_iou"]), abs=1e-6)


def test_a_test_image_that_is_trained_on_or_chooses_the_weights_is_refused(
    data: Path, tmp_path: Path
) -> None:
    for seeds in (range(3, 5), range(102, 106)):
        leaked = write(tmp_path / str(seeds.start), seeds)
        with pytest.raises(InputError, match="test images that are neither"):
            read_task([data / "train"], data / "held-out", TINY, tests=[leaked])


def test_a_killed_training_goes_on_to_the_same_bytes(data: Path, whole: bytes, tmp_path: Path) -> None:
    out = tmp_path / "model.onnx"
    program = (
        "import pathlib, time; from tests.consumer.test_training import *;"
        f"train(pathlib.Path({str(data)!r}), pathlib.Path({str(out)!r}), on_progress=lambda event:"
        " time.sleep(60 if event.done == 3 else 0))"
    )
    process = subprocess.Popen([sys.executable, "-c", program], cwd=Path(__file__).parents[2])
    checkpoint = tmp_path / "model.onnx.training" / "checkpoint.pt"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None and not checkpoint.exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert checkpoint.exists()
    assert not out.exists()
    started = []
    train(data, out, on_progress=lambda event: started.append(event.free))
    assert started[0] > 0
    assert out.read_bytes() == whole


def test_an_interruption_saves_first(data: Path, whole: bytes, tmp_path: Path) -> None:
    out = tmp_path / "model.onnx"
    interrupt = stop_after(2, lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        train_segmenter(task(data), out, device="cpu", on_progress=interrupt)
    done = []
    train(data, out, on_progress=lambda event: done.append(event.done))
    assert done == [3, 4]
    assert out.read_bytes() == whole


class CrashError(Exception):
    """The process is gone."""


def crash() -> None:
    raise CrashError


@pytest.mark.parametrize("change", ["settings", "training", "validation"])
def test_a_checkpoint_of_another_training_is_refused(data: Path, tmp_path: Path, change: str) -> None:
    out = tmp_path / "model.onnx"
    with pytest.raises(CrashError):
        train(data, out, on_progress=stop_after(2, crash))
    settings = replace(TINY, learning_rate=1e-3) if change == "settings" else TINY
    other = tmp_path / "data"
    write(other / "train", range(20, 30) if change == "training" else range(10))
    write(other / "held-out", range(200, 204) if change == "validation" else range(100, 104))
    named = {"settings": "learning_rate", "training": "training data", "validation": "validation data"}
    with pytest.raises(InputError, match=named[change]):
        train(other, out, settings)


def test_a_damaged_checkpoint_is_refused(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model.onnx.training"
    folder.mkdir()
    (folder / "checkpoint.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(InputError, match="checkpoint"):
        train(data, tmp_path / "model.onnx")


def test_a_validation_image_that_is_trained_on_is_refused(data: Path, tmp_path: Path) -> None:
    leaked = write(tmp_path / "leaked", range(104, 106))
    image, mask = lesion(3)
    save(leaked / "images/another-name.png", image)
    save(leaked / "masks/another-name.png", 255 - mask)
    with pytest.raises(InputError, match=r"another-name.png.*003.png"):
        read_task([data / "train"], leaked, TINY)


def test_a_broken_image_is_named(data: Path, tmp_path: Path) -> None:
    broken = write(tmp_path / "broken", range(2))
    (broken / "images/001.png").write_bytes(b"\x89PNG but no more")
    with pytest.raises(InputError, match=r"001\.png"):
        read_task([broken], data / "held-out", TINY)


def test_a_folder_without_pairs_is_refused(data: Path, tmp_path: Path) -> None:
    (tmp_path / "empty/images").mkdir(parents=True)
    with pytest.raises(InputError, match="no pairs"):
        read_task([tmp_path / "empty"], data / "held-out", TINY)


def test_several_classes_need_a_choice(data: Path, tmp_path: Path) -> None:
    several = write(tmp_path / "several", range(2), ("polyp", "instrument"))
    with pytest.raises(UsageError, match="instrument, polyp"):
        read_task([several], data / "held-out", TINY)
    chosen = read_task([several], data / "held-out", TINY, class_name="polyp")
    assert chosen.contract.classes == ("polyp",)
    with pytest.raises(InputError, match="a mask of the class vessel"):
        read_task([several], data / "held-out", TINY, class_name="vessel")


def test_several_folders_are_joined(data: Path, tmp_path: Path) -> None:
    more = write(tmp_path / "more", range(50, 53))
    assert len(read_task([data / "train", more], data / "held-out", TINY).training) == 13


def test_a_loss_that_is_no_number_is_an_error(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="smaller --learning-rate"):
        train(data, tmp_path / "model.onnx", replace(TINY, learning_rate=1e30))


def test_the_file_is_the_trained_network_and_nothing_else(data: Path, whole: bytes) -> None:
    model = onnx.load_from_string(whole)
    assert contract_of(model, "model") == task(data).contract
    assert [(value.name, value.type.tensor_type.shape.dim[0].dim_param) for value in model.graph.input] == [
        ("image", "batch")
    ]
    assert [value.name for value in model.graph.output] == ["mask"]
    assert not any(node.name or node.doc_string for node in model.graph.node)
    assert {entry.version for entry in model.opset_import} == {export.OPSET}
    for trace in (str(Path.cwd()), str(data), "site-packages", "encoder", "torch"):
        assert trace.encode() not in whole


@pytest.mark.parametrize(
    ("architecture", "encoder"), [("unetplusplus", "resnet18"), ("linknet", TINY.encoder)]
)
def test_an_export_equals_torch_with_plain_operators(architecture: str, encoder: str, data: Path) -> None:
    settings = replace(TINY, architecture=architecture, encoder=encoder)
    torch.manual_seed(0)
    built = network.build_network(settings, network.EncoderWeights("none"))
    found = task(data)
    exported = export.export_onnx(built, found.contract)
    assert export.measure_parity(exported, built, found.contract, found.validation.images) < export.TOLERANCE
    assert not set(export.operators(exported)) & export.NOT_PLAIN


def test_an_export_that_differs_is_refused(data: Path, whole: bytes) -> None:
    found = task(data)
    torch.manual_seed(7)
    other = network.build_network(TINY, network.EncoderWeights("none"))
    with pytest.raises(Exception, match="a difference of"):
        export.measure_parity(whole, other, found.contract, found.validation.images)


def test_a_frozen_encoder_keeps_every_weight_and_average(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(1)
    encoder = network.build_network(TINY, network.EncoderWeights("none")).encoder.state_dict()
    floats = {name: value for name, value in encoder.items() if value.is_floating_point()}
    save_file(floats, tmp_path / "encoder.safetensors")
    trained = []
    monkeypatch.setattr(export, "export_onnx", lambda *given: trained.append(given[0]) or export_onnx(*given))
    frozen = replace(TINY, encoder_weights=str(tmp_path / "encoder.safetensors"), freeze_encoder=True)
    result = train(data, tmp_path / "out.onnx", frozen)
    assert result.to_json()["freeze_encoder"]
    after = trained[-1].state_dict()
    for name, value in floats.items():
        assert torch.equal(after[f"encoder.{name}"], value), name
    torch.manual_seed(frozen.seed)
    before = network.build_network(frozen, network.read_weights(frozen.encoder_weights)).decoder.state_dict()
    assert any(not torch.equal(after[f"decoder.{name}"], value) for name, value in before.items())


def test_a_random_encoder_is_not_frozen() -> None:
    with pytest.raises(UsageError, match=r"--encoder-weights.*--freeze-encoder"):
        replace(TINY, freeze_encoder=True)
    assert not TrainingSettings.from_json({"updates": 4}).freeze_encoder


def test_encoder_weights_must_fit_tensor_by_tensor() -> None:
    encoder = network.build_network(TINY, network.EncoderWeights("none")).encoder
    state = {
        name: value.numpy() + 1 for name, value in encoder.state_dict().items() if value.is_floating_point()
    }
    network.load_encoder(encoder, {**state, "classifier.weight": np.ones((9, 9), np.float32)}, "file")
    for name, value in encoder.state_dict().items():
        if value.is_floating_point():
            assert np.array_equal(value.numpy(), state[name])
    name = "conv_stem.weight"
    with pytest.raises(InputError, match=f"{name}.*no such tensor"):
        network.load_encoder(encoder, {key: state[key] for key in state if key != name}, "file")
    with pytest.raises(InputError, match=f"{name}.*shape"):
        network.load_encoder(encoder, {**state, name: state[name][:1]}, "file")


def test_published_weights_that_cannot_be_had_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    settings = replace(TINY, encoder="se_resnext50_32x4d", encoder_weights="imagenet")
    with pytest.raises(DependencyError, match="imagenet") as caught:
        network.build_network(settings, network.read_weights("imagenet"))
    assert caught.value.exit_code == 6


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    with pytest.raises(DependencyError, match=r"sharekit\[train\]"):
        network.build_network(TINY, network.EncoderWeights("none"))


@pytest.mark.parametrize(
    "change",
    [{"architecture": "nothing"}, {"encoder": "nothing"}, {"encoder": "tu-nothing"}],
    ids=lambda change: next(iter(change.values())),
)
def test_an_unknown_network_is_a_usage_error(change: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        network.build_network(replace(TINY, **change), network.EncoderWeights("none"))


@pytest.mark.parametrize(
    "change",
    [
        *({"size": 40}, {"size": 0}, {"updates": 0}, {"epochs": 0}, {"batch_size": 0}, {"seed": -1}),
        *({"learning_rate": 0.0}, {"learning_rate": float("nan")}, {"decay_at": 0}, {"validations": 0}),
    ],
)
def test_settings_that_make_no_sense_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        replace(TINY, **change)


def test_settings_survive_json() -> None:
    assert TrainingSettings.from_json(json.loads(json.dumps(TINY.to_json()))) == TINY


def test_the_schedule_is_the_papers() -> None:
    schedule = TrainingSettings(batch_size=8).schedule(80)
    assert (schedule.updates, schedule.decay_after, schedule.validate_every) == (3000, 500, 150)
    by_updates = TrainingSettings(updates=300).schedule(5)
    assert (by_updates.updates, by_updates.decay_after, by_updates.validate_every) == (300, 100, 15)


@given(st.integers(1, 30), st.integers(1, 12), st.integers(0, 9))
def test_every_image_comes_equally_often(images: int, batch_size: int, seed: int) -> None:
    settings = TrainingSettings(batch_size=batch_size, seed=seed)
    batches = Batches(np.zeros(images, np.bool_), settings, images)
    drawn = [index for update in range(images) for index in batches.indices(update)]
    assert sorted(drawn) == sorted(list(range(images)) * batch_size)


@given(st.integers(1, 9), st.integers(1, 30), st.integers(2, 12), st.floats(0.05, 0.95), st.floats(0, 0.95))
def test_batches_hold_the_share_of_real_images_and_end_with_them_alone(
    real: int, synthetic: int, batch_size: int, share: float, finish: float
) -> None:
    settings = TrainingSettings(batch_size=batch_size, real_share=share, real_finish=finish)
    updates, kinds = 20, np.array([True] * synthetic + [False] * real)
    batches = [Batches(kinds, settings, updates).indices(update) for update in range(updates)]
    counts = [int((~kinds[batch]).sum()) for batch in batches]
    last = round(finish * updates)
    assert all(len(batch) == batch_size for batch in batches)
    assert set(counts[: updates - last]) <= {min(batch_size - 1, max(1, round(share * batch_size)))}
    assert all(count == batch_size for count in counts[updates - last :])
    for kind in (True, False):
        times = np.bincount([i for batch in batches for i in batch if kinds[i] == kind], minlength=len(kinds))
        assert np.ptp(times[kinds == kind]) <= 1


def test_synthetic_is_what_names_its_generator_and_not_what_has_a_description(
    data: Path, tmp_path: Path
) -> None:
    real, drawn = tmp_path / "real", tmp_path / "drawn"
    for folder in (real, drawn):
        shutil.copytree(data / "train", folder)
    # nnU-Net keeps a file of this name beside real images, too.
    (real / "dataset.json").write_text('{"channel_names": {"0": "R"}}')
    records = [
        {"file_name": f"images/{path.name}", "mask_file_name": f"masks/{path.name}", "generator": "0" * 32}
        for path in sorted((drawn / "images").iterdir())
    ]
    (drawn / "metadata.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    task = read_task([real, drawn], data / "held-out", TINY)
    assert task.training.synthetic.tolist() == [False] * 10 + [True] * 10


@pytest.mark.parametrize("synthetic", [True, False])
def test_images_of_one_kind_are_drawn_as_if_no_share_were_asked_for(synthetic: bool) -> None:
    kinds = np.full(7, synthetic)
    asked = Batches(kinds, TrainingSettings(real_share=0.5, real_finish=0.5), 9)
    plain = Batches(kinds, TrainingSettings(), 9)
    assert [asked.indices(update) for update in range(9)] == [plain.indices(update) for update in range(9)]


@pytest.mark.parametrize(
    "settings",
    [
        {"real_share": 0.0},
        {"real_share": 1.0},
        {"real_finish": 1.0},
        {"real_share": 0.5, "batch_size": 1},
    ],
)
def test_a_share_that_is_none_is_refused(settings: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="--real-"):
        TrainingSettings(**settings)


@given(st.integers(1, 20), st.integers(1, 200), st.integers(1, 500), st.integers(1, 40))
def test_there_are_no_more_validations_than_asked_and_one_at_the_end(
    batch_size: int, images: int, updates: int, validations: int
) -> None:
    settings = TrainingSettings(batch_size=batch_size, updates=updates, validations=validations)
    schedule = settings.schedule(images)
    at = [update for update in range(1, updates + 1) if schedule.validates_after(update)]
    assert at[-1] == updates
    assert len(at) <= validations


@given(st.integers(1, 1000), st.integers(1, 1000), st.integers(1, 500), st.integers(1, 40))
def test_equal_updates_are_equally_many_tries_for_the_best_weights_however_many_the_images(
    few: int, many: int, updates: int, validations: int
) -> None:
    settings = TrainingSettings(updates=updates, validations=validations)
    assert settings.schedule(few) == settings.schedule(many)


def test_there_is_no_more_than_one_validation_an_epoch() -> None:
    schedule = TrainingSettings(epochs=3, batch_size=4, validations=20).schedule(40)
    assert (schedule.updates, schedule.validate_every) == (30, 10)


def test_the_command_prints_the_result_as_json(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "new" / "model.onnx"
    arguments = ["train", str(data / "train"), "--validation", str(data / "held-out"), "--out", str(out)]
    assert main([*arguments, *TINY_OPTIONS, "--updates", "2", "--threads", "1", "--format", "json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["out"], result["images"], result["updates"]) == (str(out), 10, 2)
    assert result["synthetic_images"] == 0
    assert (result["architecture"], result["encoder"]) == ("unet", TINY.encoder)
    assert result["encoder_weights"] == {"source": "none", "sha256": None}
    for when in ("best", "last"):
        assert result[when]["update"] <= 2
        assert set(result[when]["metrics"]) == {
            *("dice_loss", "iou", "f_score", "accuracy", "recall", "precision")
        }
        assert result[when]["metrics"]["iou"]["count"] == 4
    assert main([*arguments, *TINY_OPTIONS]) == InputError.exit_code  # never over something
