"""Many hospitals, one data set: shares are kept, each sample is its bundle's, one can be held out."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from consumer import open_bundle
from consumer.cli import main
from consumer.datasets.mixture import Part, plan
from consumer.datasets.reader import read_folder
from consumer.sampling.request import Request
from hospital_node.candidate.build import build_onnx
from sharekit.errors import UsageError
from sharekit.signing.keys import SigningKey, generate
from sharekit.storage import files, schema
from tests.sharekit.bundles import small_bundle, tiny_onnx
from tests.tiny import tiny_generator


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bundles `a` (two generators) and `b` (one) with the keys a.pub and b.pub, and `grey`."""
    root = tmp_path_factory.mktemp("hospitals")
    grey = tiny_generator(7, sizes=((5, 6), (7, 8)), image_channels=1)
    contents = {"a": None, "b": dict([tiny_onnx(5)]), "grey": {grey.spec: build_onnx(grey)}}
    for name, generators in contents.items():
        key: SigningKey = generate()
        small_bundle(root / name, key, hospital=f"Hospital {name}", generators=generators)
        key.public.save(root / f"{name}.pub")
    return root


def draw(hospitals: Path, out: Path, *names: str, count: int = 9, more: tuple[str, ...] = ()) -> int:
    keys = [part for name in names for part in ("--key", str(hospitals / f"{name}.pub"))]
    arguments = [*(str(hospitals / name) for name in names), *keys, "--samples", str(count), "--seed", "3"]
    return main(["sample", *arguments, "--threads", "1", "--out", str(out), *more])


def records(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]


def test_every_line_names_hospital_and_release_in_the_wanted_shares(hospitals: Path, tmp_path: Path) -> None:
    assert draw(hospitals, tmp_path / "mixed", "a", "b", more=("--weights", "2", "1")) == 0
    found = records(tmp_path / "mixed")
    for record in found:
        schema.validate("dataset-record", record, "record")
    assert Counter(record["hospital"] for record in found) == {"Hospital a": 6, "Hospital b": 3}
    assert {record["release"] for record in found} == {1}
    description = files.parse_json((tmp_path / "mixed" / "dataset.json").read_bytes(), "dataset.json")
    schema.validate("mixture", description, "dataset.json")
    folder = read_folder(tmp_path / "mixed").require_sound()
    assert {tuple(entry.masks) for entry in folder.entries} == {("lesion",)}


def test_a_mixture_holds_the_samples_that_each_bundle_gives_alone(hospitals: Path, tmp_path: Path) -> None:
    assert draw(hospitals, tmp_path / "mixed", "a", "b", count=6) == 0
    for name in ("a", "b"):
        with open_bundle(hospitals / name, hospitals / f"{name}.pub") as bundle:
            alone = [sample.image for sample in bundle.sample(3, seed=3)]
        mixed = [
            np.asarray(Image.open(tmp_path / "mixed" / record["file_name"]))
            for record in records(tmp_path / "mixed")
            if record["hospital"] == f"Hospital {name}"
        ]
        assert all(np.array_equal(one, other) for one, other in zip(alone, mixed, strict=True))


@pytest.mark.parametrize("weights", [(1.0, 1.0), (3.0, 1.0), (0.2, 0.7)])
def test_shares_are_never_more_than_one_sample_off(hospitals: Path, weights: tuple[float, ...]) -> None:
    parts = [
        Part(open_bundle(hospitals / name, hospitals / f"{name}.pub"), weight)
        for name, weight in zip("ab", weights, strict=True)
    ]
    places = plan(parts, 50, Request())
    for count in range(1, 51):
        for number, weight in enumerate(weights):
            share = count * weight / sum(weights)
            assert abs(sum(place.part == number for place in places[:count]) - share) <= 1


def test_an_interrupted_mixture_goes_on_and_a_finished_one_draws_nothing(
    hospitals: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert draw(hospitals, tmp_path / "mixed", "a", "b") == 0
    capsys.readouterr()
    assert draw(hospitals, tmp_path / "mixed", "a", "b", more=("--format", "json")) == 0
    assert [one["drawn"] for one in json.loads(capsys.readouterr().out)["data_sets"]] == [0]
    assert draw(hospitals, tmp_path / "mixed", "a", "b", more=("--weights", "1", "5")) == 3


def test_mixed_layouts_give_a_data_set_for_each(hospitals: Path, tmp_path: Path) -> None:
    assert draw(hospitals, tmp_path / "mixed", "a", "grey", count=6) == 0
    found = {path.name: len(records(path)) for path in (tmp_path / "mixed").iterdir()}
    assert found == {"rgb-lesion": 3, "grey-lesion": 3}


def test_one_release_is_not_mixed_with_itself(hospitals: Path, tmp_path: Path) -> None:
    assert draw(hospitals, tmp_path / "mixed", "a", "a") == 2


def test_a_weight_must_be_positive_and_there_is_one_for_each_bundle(hospitals: Path, tmp_path: Path) -> None:
    assert draw(hospitals, tmp_path / "mixed", "a", "b", more=("--weights", "1", "0")) == 2
    assert draw(hospitals, tmp_path / "mixed", "a", "b", more=("--weights", "1", "1", "1")) == 2


@pytest.mark.slow
def test_a_hospital_is_held_out_and_each_gets_its_scores(
    hospitals: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert draw(hospitals, tmp_path / "mixed", "a", "b", count=8) == 0
    assert draw(hospitals, tmp_path / "validation", "a", count=2, more=("--seed", "9")) == 0
    capsys.readouterr()
    small = ["--encoder", "resnet18", "--architecture", "unet", "--size", "32", "--batch-size", "2"]
    data = [str(tmp_path / "mixed"), "--validation", str(tmp_path / "validation")]
    held = ["--hold-out-hospital", "Hospital b", "--updates", "1", "--threads", "1", "--format", "json"]
    assert main(["train", *data, "--out", str(tmp_path / "s.onnx"), *small, *held]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["images"] == 4
    assert {name: (one["held_out"], one["images"]) for name, one in result["hospitals"].items()} == {
        "Hospital a": (False, 4),
        "Hospital b": (True, 4),
    }
    assert 0 <= result["hospitals"]["Hospital b"]["metrics"]["iou"]["mean"] <= 1


def test_an_unknown_hospital_cannot_be_held_out(hospitals: Path, tmp_path: Path) -> None:
    from consumer.training import TrainingSettings, read_task

    assert draw(hospitals, tmp_path / "mixed", "a", "b", count=4) == 0
    assert draw(hospitals, tmp_path / "validation", "a", count=2, more=("--seed", "9")) == 0
    with pytest.raises(UsageError, match="Hospital a, Hospital b"):
        read_task(
            [tmp_path / "mixed"],
            tmp_path / "validation",
            TrainingSettings(size=32),
            hold_out_hospital="Hospital c",
        )
