"""`consumer style`: a data set of the same form, masks untouched, from a verified bundle alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from consumer.cli import main
from consumer.datasets.folder_writer import DatasetDescription
from consumer.datasets.reader import read_folder
from consumer.style.gatys import StyleSettings
from consumer.style.styled_dataset import StyledDataset, style_dataset
from sharekit.bundle import features
from sharekit.errors import InputError
from sharekit.program.progress import Progress
from sharekit.signing import keys
from sharekit.signing.keys import SigningKey
from sharekit.storage import schema
from tests.consumer.pairs import picture, read_records, save, write_pairs, write_records
from tests.consumer.test_dataset import digests
from tests.sharekit.bundles import small_bundle
from tests.tiny_features import tiny_network, tiny_statistics, write_checkpoint

NETWORK = tiny_network()
STATISTICS = tiny_statistics(NETWORK)
THREE_STEPS = StyleSettings(steps=3)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def style(root: Path, out: Path, settings: StyleSettings = THREE_STEPS, **options: Any) -> StyledDataset:
    return style_dataset(read_folder(root), STATISTICS, NETWORK, out, settings, **options)


def test_masks_and_metadata_pass_through_untouched(tmp_path: Path) -> None:
    root = write_pairs(tmp_path / "set")
    style(root, tmp_path / "styled")
    for mask in sorted((root / "masks").iterdir()):
        assert (tmp_path / "styled/masks" / mask.name).read_bytes() == mask.read_bytes()
    assert read_records(tmp_path / "styled") == read_records(root)
    styled = read_folder(tmp_path / "styled").require_sound()
    assert styled.description["style"]["steps"] == 3
    for entry, before in zip(styled.entries, read_folder(root).entries, strict=True):
        after = styled.read_image(entry)
        assert after.shape == picture(0).shape
        assert not np.array_equal(after, read_folder(root).read_image(before))


def test_batches_of_any_size_give_nearly_the_same_images(tmp_path: Path) -> None:
    root = write_pairs(tmp_path / "set", 5)
    for size in (1, 3):
        style(root, tmp_path / f"styled-{size}", batch_size=size)
    one, three = (read_folder(tmp_path / f"styled-{size}") for size in (1, 3))
    for entry in one.entries:
        difference = one.read_image(entry).astype(int) - three.read_image(entry)
        assert np.abs(difference).max() <= 1


def test_images_of_several_sizes_are_styled_in_order(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for number, shape in enumerate([(20, 24), (20, 24), (18, 30), (20, 24)]):
        save(root / f"images/{number}.jpg", picture(number, shape))
        save(root / f"masks/{number}.png", picture(number, shape)[:, :, 0])
    seen: list[Progress] = []
    folder = read_folder(root)
    style_dataset(folder, STATISTICS, NETWORK, tmp_path / "styled", THREE_STEPS, on_progress=seen.append)
    styled = read_folder(tmp_path / "styled").require_sound()
    assert [entry.image for entry in styled.entries] == [f"images/{number}.png" for number in range(4)]
    assert [styled.read_image(entry).shape[:2] for entry in styled.entries][2] == (18, 30)
    assert [event.done for event in seen] == sorted(event.done for event in seen)
    assert seen[-1].done == seen[-1].total == 4


def test_nothing_is_left_behind_when_an_image_is_broken(tmp_path: Path) -> None:
    root = write_pairs(tmp_path / "set")
    (root / "images/000005.png").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"000005\.png"):
        style(root, tmp_path / "styled", batch_size=2)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_an_interrupted_styling_goes_on_with_the_images_that_are_left(tmp_path: Path) -> None:
    root = write_pairs(tmp_path / "set")
    style(root, tmp_path / "whole", batch_size=1)

    def stop(event: Progress) -> None:
        if event.done > 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        style_dataset(
            read_folder(root),
            STATISTICS,
            NETWORK,
            tmp_path / "styled",
            THREE_STEPS,
            batch_size=1,
            on_progress=stop,
        )
    assert not (tmp_path / "styled").exists()
    seen: list[Progress] = []
    result = style_dataset(
        read_folder(root),
        STATISTICS,
        NETWORK,
        tmp_path / "styled",
        THREE_STEPS,
        batch_size=1,
        on_progress=seen.append,
    )
    assert (result.styled, result.images) == (3, 6)
    assert {event.free for event in seen} == {3}
    assert digests(tmp_path / "styled") == digests(tmp_path / "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set", "styled", "whole"]


def test_a_finished_styling_is_not_done_again(tmp_path: Path) -> None:
    root = write_pairs(tmp_path / "set", 2)
    first, again = (style(root, tmp_path / "styled") for _ in range(2))
    assert (first.styled, again.styled) == (2, 0)
    assert again.mean_change == pytest.approx(first.mean_change)


def test_settings_that_differ_from_an_earlier_styling_are_named(tmp_path: Path) -> None:
    root = write_pairs(tmp_path / "set", 2)
    style(root, tmp_path / "styled")
    with pytest.raises(InputError) as caught:
        style_dataset(
            read_folder(root), STATISTICS, NETWORK, tmp_path / "styled", StyleSettings(2.0, steps=4)
        )
    assert caught.value.found == "style content weight: 1.0 there, 2.0 now; style steps: 3 there, 4 now"
    save(root / "images/000001.png", picture(99))
    with pytest.raises(InputError, match="style source sha256"):
        style(root, tmp_path / "styled")


def test_an_unsound_data_set_is_refused(tmp_path: Path) -> None:
    root = write_pairs(tmp_path / "set")
    write_records(root, read_records(root)[:5])
    with pytest.raises(InputError, match="not listed"):
        style(root, tmp_path / "styled")


def test_an_image_too_small_for_the_network_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "set/images/one.png", picture(0, (15, 30)))
    save(tmp_path / "set/masks/one.png", picture(0, (15, 30))[:, :, 0])
    with pytest.raises(InputError, match="16 x 16"):
        style(tmp_path / "set", tmp_path / "styled")


@pytest.fixture
def signed_style(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, SigningKey]:
    """A bundle with style statistics of a feature file that is pinned for this test; the key that signed."""
    sha256 = write_checkpoint(tmp_path / "vgg16.ckpt")
    monkeypatch.setattr(features, "VGG16_CHECKPOINT_SHA256", sha256)
    monkeypatch.setenv(features.ENVIRONMENT_VARIABLE, str(tmp_path / "vgg16.ckpt"))
    key = keys.generate()
    key.public.save(tmp_path / "hospital.pub")
    statistics = tiny_statistics(tiny_network(sha256=sha256))
    small_bundle(tmp_path / "bundle", key, extra=statistics.to_files())
    return tmp_path / "bundle", key


def sampled(bundle: Path, out: Path) -> Path:
    arguments = [
        "--key",
        str(bundle.parent / "hospital.pub"),
        "--count",
        "3",
        "--seed",
        "1",
        "--size",
        "24x20",
    ]
    assert main(["sample", str(bundle), *arguments, "--provider", "cpu", "--out", str(out)]) == 0
    return out


def test_a_sampled_data_set_is_styled_with_the_key_that_it_was_drawn_with(
    signed_style: tuple[Path, SigningKey], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, _ = signed_style
    sampled(bundle, tmp_path / "set")
    capsys.readouterr()
    arguments = ["--bundle", str(bundle), "--steps", "2", "--threads", "1", "--format", "json"]
    assert main(["style", str(tmp_path / "set"), *arguments]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["images"], result["verdict"], result["statistics_images"]) == (3, "authentic", 5)
    description = json.loads((tmp_path / "set-styled/dataset.json").read_text())
    schema.validate("dataset", description, "dataset.json")
    for record in read_records(tmp_path / "set-styled"):
        schema.validate("dataset-record", record, "metadata.jsonl")
    assert DatasetDescription.from_json(description).count == 3


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, str]]:
    capsys.readouterr()
    code = main(["style", *arguments, "--steps", "1", "--device", "cpu", "--format", "json"])
    return code, json.loads(capsys.readouterr().err.splitlines()[-1])


def test_a_flipped_byte_of_the_statistics_is_refused_by_name(
    signed_style: tuple[Path, SigningKey], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, _ = signed_style
    root = sampled(bundle, tmp_path / "set")
    data = bytearray((bundle / "style/conv3_1.npy").read_bytes())
    data[-1] ^= 1
    (bundle / "style/conv3_1.npy").write_bytes(data)
    code, error = refusal(capsys, str(root), "--bundle", str(bundle))
    assert (code, error["item"]) == (4, "style/conv3_1.npy")
    assert not (tmp_path / "set-styled").exists()


def test_another_key_is_refused(
    signed_style: tuple[Path, SigningKey], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, _ = signed_style
    keys.generate().public.save(tmp_path / "other.pub")
    root = sampled(bundle, tmp_path / "set")
    code, _ = refusal(capsys, str(root), "--bundle", str(bundle), "--key", str(tmp_path / "other.pub"))
    assert code == 4


def test_a_data_set_without_a_key_needs_one(
    signed_style: tuple[Path, SigningKey], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, _ = signed_style
    code, error = refusal(capsys, str(write_pairs(tmp_path / "set")), "--bundle", str(bundle))
    assert (code, error["item"]) == (2, "--key")


def test_statistics_of_too_few_images_are_refused_though_signed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = keys.generate()
    key.public.save(tmp_path / "hospital.pub")
    few = tiny_statistics(NETWORK, image_count=4)
    small_bundle(tmp_path / "bundle", key, extra=few.to_files())
    root = sampled(tmp_path / "bundle", tmp_path / "set")
    code, error = refusal(capsys, str(root), "--bundle", str(tmp_path / "bundle"))
    assert (code, error["found"]) == (5, "4 images")


def test_a_bundle_without_style_statistics_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = keys.generate()
    key.public.save(tmp_path / "hospital.pub")
    small_bundle(tmp_path / "bundle", key)
    root = sampled(tmp_path / "bundle", tmp_path / "set")
    code, error = refusal(capsys, str(root), "--bundle", str(tmp_path / "bundle"))
    assert (code, error["item"]) == (3, str(tmp_path / "bundle"))
