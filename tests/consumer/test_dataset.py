"""The data set on disk: whole or absent, the samples themselves, and readable by others as it is."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import consumer
from consumer.datasets.folder_writer import DatasetDescription, write_dataset
from consumer.datasets.reader import read_folder
from consumer.sampling.request import Request, Size
from consumer.sampling.synthetic_bundle import Bundle
from sharekit.errors import InputError, UsageError
from sharekit.program.progress import Progress
from sharekit.storage import files, schema
from tests.consumer.conftest import BundleMaker
from tests.tiny import tiny_generator


@pytest.fixture(scope="module")
def written(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "set"
    write_dataset(bundle, out, 8, Request(seed=5))
    return out


@pytest.fixture(scope="module")
def two_classes(make_bundle: BundleMaker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    generator = tiny_generator(3, sizes=((9, 9), (12, 13)), image_channels=1, mask_classes=("polyp", "tool"))
    out = tmp_path_factory.mktemp("data") / "set"
    opened = consumer.open_bundle(*make_bundle(generator), provider="cpu")
    write_dataset(opened, out, 3, Request(seed=5, probabilities=True))
    return out


def records(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_files_hold_the_samples_of_their_numbers(bundle: Bundle, written: Path) -> None:
    for sample, record in zip(bundle.sample(8, 5), records(written), strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(written / record["file_name"])), sample.image)
        np.testing.assert_array_equal(np.asarray(Image.open(written / record["mask_file_name"])), sample.mask)
        assert (record["generator"], record["seed"], record["index"]) == (
            sample.generator,
            sample.seed,
            sample.index,
        )


def test_nothing_but_the_described_files_is_there(written: Path) -> None:
    listed = {record[key] for record in records(written) for key in ("file_name", "mask_file_name")}
    assert set(digests(written)) == listed | {"metadata.jsonl", "dataset.json"}


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_equal_requests_give_equal_bytes_whatever_the_batch_size(
    bundle: Bundle, written: Path, tmp_path: Path, batch_size: int
) -> None:
    write_dataset(bundle, tmp_path / "set", 8, Request(seed=5, batch_size=batch_size))
    assert digests(tmp_path / "set") == digests(written)


def test_pngs_carry_pixels_only(written: Path) -> None:
    for path in written.rglob("*.png"):
        with Image.open(path) as image:
            assert image.info == {}
            assert image.mode == ("L" if path.parent.name == "masks" else "RGB")


def test_metadata_fits_its_schema(written: Path, two_classes: Path) -> None:
    for folder in (written, two_classes):
        for record in records(folder):
            schema.validate("dataset-record", record, folder)


def test_the_description_fits_its_schema_and_names_the_bundle(bundle: Bundle, written: Path) -> None:
    value = files.parse_json((written / "dataset.json").read_bytes(), "dataset.json")
    schema.validate("dataset", value, "dataset.json")
    assert value["bundle"]["manifest_sha256"] == bundle.verified.manifest_sha256
    assert value["key"]["fingerprint"] == bundle.verified.fingerprint


def test_description_from_json_of_to_json_is_the_same(bundle: Bundle, tmp_path: Path) -> None:
    description = write_dataset(bundle, tmp_path / "set", 1, Request(seed=1, size=Size(20, 16))).description
    assert DatasetDescription.from_json(description.to_json()) == description


def test_several_classes_lie_in_folders_of_their_own(two_classes: Path) -> None:
    for record in records(two_classes):
        stem = Path(record["file_name"]).stem
        for name in ("polyp", "tool"):
            assert record[f"{name}_mask_file_name"] == f"masks/{name}/{stem}.png"
            assert (two_classes / record[f"{name}_mask_file_name"]).is_file()
        assert Image.open(two_classes / record["file_name"]).mode == "L"


def test_probabilities_are_stored_without_pickle(two_classes: Path) -> None:
    for record in records(two_classes):
        probability = np.load(two_classes / record["probabilities"], allow_pickle=False)
        assert (probability.dtype, probability.shape) == (np.float32, (2, 12, 13))
        for channel, name in zip(probability, ("polyp", "tool"), strict=True):
            mask = np.asarray(Image.open(two_classes / record[f"{name}_mask_file_name"]))
            np.testing.assert_array_equal(mask, np.where(channel > 0.5, 255, 0))


def test_our_own_reader_finds_no_problem(written: Path, two_classes: Path) -> None:
    assert len(read_folder(written).require_sound().entries) == 8
    assert set(read_folder(two_classes).require_sound().entries[0].masks) == {"polyp", "tool"}


def test_progress_ends_at_the_count(bundle: Bundle, tmp_path: Path) -> None:
    events: list[Progress] = []
    write_dataset(bundle, tmp_path / "set", 4, Request(), events.append)
    assert [event.done for event in events] == [1, 2, 3, 4]
    assert {event.total for event in events} == {4}


def test_a_folder_with_something_in_it_is_left_alone(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError):
        write_dataset(bundle, tmp_path, 1, Request())
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_an_empty_folder_may_stand_there(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    write_dataset(bundle, tmp_path / "set", 1, Request())
    assert len(records(tmp_path / "set")) == 1


def test_an_interrupted_data_set_leaves_nothing_at_its_path_and_is_finished_by_the_same_call(
    bundle: Bundle, written: Path, tmp_path: Path
) -> None:
    def interrupt(event: Progress) -> None:
        if event.done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_dataset(bundle, tmp_path / "set", 8, Request(seed=5), interrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["set.partial"]
    events: list[Progress] = []
    result = write_dataset(bundle, tmp_path / "set", 8, Request(seed=5, batch_size=3), events.append)
    assert (result.drawn, [(event.done, event.free) for event in events]) == (
        5,
        [(n, 3) for n in range(4, 9)],
    )
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    assert digests(tmp_path / "set") == digests(written)


def test_generators_of_different_classes_do_not_mix(make_bundle: BundleMaker, tmp_path: Path) -> None:
    one = tiny_generator(0, sizes=((8, 8),), mask_classes=("polyp",))
    other = tiny_generator(1, sizes=((8, 8),), mask_classes=("tool",))
    opened = consumer.open_bundle(*make_bundle(one, other), provider="cpu")
    with pytest.raises(UsageError, match="3 channels with polyp; 3 channels with tool"):
        write_dataset(opened, tmp_path / "set", 2, Request())
    write_dataset(opened, tmp_path / "set", 2, Request(generator=other.spec.id))


def test_no_samples_are_wrong_usage(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="count"):
        write_dataset(bundle, tmp_path / "set", 0, Request())


def load_with_hugging_face(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets", reason="Hugging Face datasets is not installed")
    return datasets.load_dataset("imagefolder", data_dir=str(folder), split="train", cache_dir=str(cache))


def test_hugging_face_imagefolder_reads_it_as_it_is(
    bundle: Bundle, written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_with_hugging_face(written, tmp_path, monkeypatch)
    assert set(loaded.column_names) == {"image", "mask", "generator", "seed", "index"}
    assert len(loaded) == 8
    expected = {(sample.generator, sample.index): sample for sample in bundle.sample(8, 5)}
    for row in loaded:
        sample = expected[row["generator"], row["index"]]
        np.testing.assert_array_equal(np.asarray(row["image"]), sample.image)
        np.testing.assert_array_equal(np.asarray(row["mask"]), sample.mask)


def test_hugging_face_imagefolder_reads_several_classes(
    two_classes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_with_hugging_face(two_classes, tmp_path, monkeypatch)
    assert {"image", "polyp_mask", "tool_mask", "probabilities"} <= set(loaded.column_names)
    assert loaded[0]["polyp_mask"].size == (13, 12)


def test_a_list_of_dictionaries_is_one_line_away(written: Path) -> None:
    """What MONAI's `CacheDataset` and segmentation-models users start from: pairs of paths."""
    pairs = [
        {"image": written / r["file_name"], "label": written / r["mask_file_name"]} for r in records(written)
    ]
    assert all(path.is_file() for pair in pairs for path in pair.values())
    by_name = sorted(path.name for path in (written / "images").iterdir())
    assert by_name == sorted(path.name for path in (written / "masks").iterdir())
