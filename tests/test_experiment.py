"""The experiments as a user runs them: the two sides' real commands, on a few tiny pictures."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sharekit.cli
from sharekit.demo.phantom import write_data_set
from sharekit.experiment.cells import ThisMachine
from sharekit.experiment.experiment_settings import GeneratorSettings, TableSettings
from sharekit.experiment.fair_plan import read_plan
from sharekit.experiment.fold_generators import FoldGenerators, fold_sources
from sharekit.experiment.folds import Split, split_data
from sharekit.experiment.run_fair import prepare, run_fair
from sharekit.experiment.run_table import PAGE, run_table
from sharekit.experiment.tasks import file_digest
from sharekit.signing import keys
from sharekit.steps.processes import Processes
from tests.consumer.pairs import disc, picture, save
from tests.sharekit.bundles import small_bundle, tiny_onnx
from tests.sharekit.experiment.data import small_settings, small_split, write_data, write_folds

SEGMENTER = ("--encoder", "resnet18", "--architecture", "unet", "--size", "32", "--batch-size", "2")


def released(split: Split, folder: Path) -> tuple[FoldGenerators, ...]:
    """Real, signed bundles of untrained generators, one for every picture."""
    key = keys.generate()
    folder.mkdir()
    key.public.save(folder / "release.pub")
    found, number = [], 0
    for label, pictures in split.folds.items():
        made = dict(tiny_onnx(number + offset) for offset in range(len(pictures)))
        number += len(pictures)
        small_bundle(folder / label, key, generators=made)
        digest = file_digest(folder / label / "manifest.json")
        by_name = {each.name: spec.id for each, spec in zip(pictures, made, strict=True)}
        found.append(
            FoldGenerators(label, folder / label, folder / "release.pub", digest, pictures, by_name, {})
        )
    return tuple(found)


@pytest.mark.slow
def test_the_commands_of_a_table_end_with_scores_and_a_page(tmp_path: Path) -> None:
    split = small_split(tmp_path)
    settings = small_settings(
        generators=GeneratorSettings(split.root, tmp_path / "out"),
        real=(2,),
        seeds=(0,),
        updates=1,
        samples_per_image=2,
        segmenter_options=SEGMENTER,
    )
    generators = released(split, tmp_path / "bundles")
    *_, table = run_table("table2", settings, split, generators, ThisMachine(Processes()))
    assert not table.failures
    assert [(each.arm, each.real_images, each.synthetic_images) for each in table.cells] == [
        ("real", 2, 0),
        ("synthetic", 0, 4),
        ("both", 2, 4),
    ]
    assert all(0 <= each.best["iou"] <= 1 for each in table.cells)
    (histogram,) = table.histograms
    assert (sum(histogram.real), sum(histogram.synthetic)) == (2, 4)
    assert "a single pair of cells" in (tmp_path / "out" / PAGE).read_text()


def split_by_size(root: Path, *folders: Path) -> None:
    """Deal the pictures of a data folder into one folder for each size, the smallest pictures first."""
    sizes = {path: Image.open(path).size for path in sorted((root / "images").iterdir())}
    for folder, size in zip(folders, sorted(set(sizes.values())), strict=True):
        for path in (path for path, found in sizes.items() if found == size):
            for part in ("images", "masks"):
                (folder / part).mkdir(parents=True, exist_ok=True)
                shutil.copy(root / part / path.name, folder / part / path.name)


@pytest.mark.slow
def test_a_fair_comparison_scores_pictures_of_another_size_in_the_same_run(tmp_path: Path) -> None:
    mixed = write_data(tmp_path / "mixed")
    for number in range(20, 23):
        save(mixed / f"images/large-{number}.png", np.tile(picture(number), (2, 2, 1)))
        save(mixed / f"masks/large-{number}.png", np.tile(disc(number), (2, 2)))
    split_by_size(mixed, tmp_path / "small", tmp_path / "large")
    split = split_data(tmp_path / "small", count=3)
    planned = read_plan(Path(__file__).with_name("fair-tiny.json"))
    settings = TableSettings(
        GeneratorSettings(split.root, tmp_path / "out"), segmenter_options=SEGMENTER, workers=1
    )
    prepared = prepare(planned, settings, split, tmp_path / "large")
    generators = dict(
        zip(fold_sources(split, settings.generators), released(split, tmp_path / "bundles"), strict=True)
    )
    *_, table = run_fair(
        prepared, lambda: contextlib.nullcontext(ThisMachine(Processes())), lambda _: generators
    )
    assert not table.failures
    assert [each.arm for each in table.cells] == ["real", "best classical + synthetic"]
    assert all(0 <= each.parts["external"] <= 1 for each in table.cells)
    page = (tmp_path / "out" / PAGE).read_text()
    assert "Too early for an answer" in page
    assert planned.sha256 in page


def test_the_program_refuses_a_planted_leak_and_makes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_data_set(tmp_path / "data", 4, height=72, width=88)
    shutil.copy(tmp_path / "data/images/case-0001.jpg", tmp_path / "data/images/stranger.jpg")
    shutil.copy(tmp_path / "data/masks/case-0001.png", tmp_path / "data/masks/stranger.png")
    folds = {f"case-{number:04d}": str(number % 2) for number in range(1, 5)} | {"stranger": "0"}
    command = ["--data", tmp_path / "data", "--folds", write_folds(tmp_path / "folds.csv", folds)]
    command += ["--out", tmp_path / "out", "--format", "json"]
    for name in ("generators", "table1", "table2"):
        assert sharekit.cli.main(["experiment", name, *map(str, command)]) == 3
        error = json.loads(capsys.readouterr().err.splitlines()[-1])
        assert error["item"] == "case-0001 and stranger"
    assert not (tmp_path / "out").exists()


def _experiment(folder: Path, *arguments: object) -> list[str]:
    train = "--profile quick --iterations 2 --max-side 40"
    command = [Path(sys.executable).with_name("sharekit"), "experiment", *arguments, "--format", "json"]
    command += ["--data", folder / "data", "--out", folder / "out", "--fold-count", 2]
    return [*map(str, command), "--train-options", train, "--segmenter-options", " ".join(SEGMENTER)]


def _run(command: Sequence[str]) -> tuple[Any, float]:
    started = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), time.monotonic() - started


@pytest.mark.slow
@pytest.mark.ray
def test_an_interrupted_experiment_goes_on_and_a_second_one_does_nothing(tmp_path: Path) -> None:
    write_data_set(tmp_path / "data", 4, seed=3, height=72, width=88)
    table1 = _experiment(
        tmp_path,
        "table1",
        "--samples",
        1,
        2,
        "--styles",
        "--seeds",
        0,
        "--updates",
        1,
        "--images-per-fold",
        2,
    )
    begun = subprocess.Popen(table1, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert begun.stderr is not None
    assert any("hospital-node train" in line for line in begun.stderr)
    begun.send_signal(signal.SIGINT)
    assert begun.wait(120) == 130
    begun.communicate()
    assert list((tmp_path / "out/folds").glob("*/results/ingest.json"))
    assert not list((tmp_path / "out/folds").glob("*/results/train.json"))

    first, _ = _run(table1)
    assert {path.stat().st_mode & 0o077 for path in (tmp_path / "out").rglob("*")} == {0}
    assert [row["arm"] for row in first["rows"]] == ["real", "FAKE-1", "FAKE-2"]
    assert [row["cells"] for row in first["rows"]] == [2, 2, 2]
    assert first["failures"] == []
    again, seconds = _run(table1)
    assert again == first
    assert seconds < 20

    more = _experiment(tmp_path, "table2", "--real", 1, "--seeds", 0, "--updates", 1, "--images-per-fold", 2)
    second, _ = _run(more)
    assert [row["arm"] for row in second["rows"]] == ["real", "synthetic", "both"]
    page = (tmp_path / "out" / PAGE).read_text()
    assert "6 of 6 cells are done" in page
    assert "3 of 3 cells are done" in page
