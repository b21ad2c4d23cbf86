"""The demonstration's plan, its journal, and the whole of it on a few tiny pictures."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import consumer.cli
import hospital_node.cli
import sharekit.cli
from sharekit.demo.phantom import write_data_set
from sharekit.demo.plan import JOURNAL, Journal, Settings, Step, next_commands, plan, run_step
from sharekit.errors import DependencyError, InputError
from sharekit.program.command_line import build_parser

PROGRAMS = {"hospital-node": hospital_node.cli, "consumer": consumer.cli, "sharekit": sharekit.cli}
SETTINGS = Settings(Path("a folder/demo"), iterations=7)


def _parse(command: tuple[str, ...]) -> object:
    program, *arguments = command
    module = PROGRAMS[program]
    return build_parser(program, module.DESCRIPTION, module.COMMANDS).parse_args(arguments)


@pytest.mark.parametrize("step", plan(SETTINGS), ids=lambda step: step.name)
def test_every_step_is_a_command_that_its_program_knows(step: Step) -> None:
    _parse(step.command)


@pytest.mark.parametrize("command", next_commands(Settings(Path("demo"))))
def test_what_it_says_to_try_next_is_a_command_that_its_program_knows(command: str) -> None:
    _parse(tuple(command.split()))


def test_a_path_with_spaces_stays_one_argument() -> None:
    assert all("a folder/demo/node" in step.command for step in plan(SETTINGS) if "--node" in step.command)


def test_mixed_layouts_are_styled_and_validated_one_by_one(tmp_path: Path) -> None:
    for name in ("grey-polyp", "rgb-polyp"):
        (tmp_path / "samples" / name).mkdir(parents=True)
        (tmp_path / "samples" / name / "dataset.json").write_text("{}")
    (tmp_path / "few" / "rgb-polyp").mkdir(parents=True)
    (tmp_path / "few" / "rgb-polyp" / "dataset.json").write_text("{}")
    settings = Settings(tmp_path)
    steps = {step.name: step for step in plan(settings)[-3:]}
    assert list(steps) == ["style rgb-polyp", "validate grey-polyp", "validate rgb-polyp"]
    assert steps["style rgb-polyp"].command[2] == str(tmp_path / "few" / "rgb-polyp")
    assert steps["validate grey-polyp"].command[2] == str(tmp_path / "samples" / "grey-polyp")
    assert [page.name for page in settings.validation_pages] == [
        "validation-grey-polyp.html",
        "validation-rgb-polyp.html",
    ]
    for step in steps.values():
        _parse(step.command)


def test_named_iterations_are_used() -> None:
    chosen = {step.name: step.command for step in plan(SETTINGS)}
    assert chosen["train"][-1] == "--iterations=7"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (Settings(Path("demo")), ("group", "--group-size=10", "--iterations=160")),
        (Settings(Path("demo"), count=9), ("quick",)),
        (Settings(Path("demo"), data=Path("my/images")), ("quick",)),
    ],
)
def test_enough_drawn_pictures_are_trained_in_groups(settings: Settings, expected: tuple[str, ...]) -> None:
    train = next(step.command for step in plan(settings) if step.name == "train")
    assert train[train.index("--profile") + 1 :] == expected
    _parse(train)


@pytest.mark.parametrize("data", [None, Path("my/images")])
def test_a_journal_survives_the_round_trip(data: Path | None) -> None:
    journal = Journal(Settings(Path("demo"), data, 3, 9, 2)).finished("train", 12.345)
    assert Journal.from_json(json.loads(json.dumps(journal.to_json()))) == journal


def test_a_saved_journal_is_found_again(tmp_path: Path) -> None:
    journal = Journal(Settings(tmp_path / "demo")).finished("ingest", 1.0)
    journal.save()
    assert Journal.open(journal.settings) == journal


def test_other_settings_in_the_same_folder_are_refused(tmp_path: Path) -> None:
    Journal(Settings(tmp_path, count=6)).save()
    with pytest.raises(InputError, match="remove the folder"):
        Journal.open(Settings(tmp_path, count=7))


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"settings": {"out": 1, "data": null}}'])
def test_a_folder_that_holds_something_else_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / JOURNAL).write_bytes(content)
    with pytest.raises(InputError, match="readable"):
        Journal.open(Settings(tmp_path))


def test_a_program_that_is_not_installed_is_named() -> None:
    with pytest.raises(DependencyError, match="no-such-program"):
        run_step(Step("x", "y", ("no-such-program",)), sys.stdout)


def _demo(*arguments: object) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("sharekit")
    return subprocess.run(
        [program, "demo", *map(str, arguments)], capture_output=True, text=True, check=False, timeout=500
    )


@pytest.mark.slow
@pytest.mark.ray
def test_the_whole_way_works_with_grey_and_colour_images(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "demo"
    write_data_set(data, 6)
    path = sorted((data / "images").iterdir())[0]
    Image.open(path).convert("L").save(path)
    done = _demo("--data", data, "--out", out, "--samples", 12, "--iterations", 3, "--format", "json")
    assert done.returncode == 0, done.stderr
    reports = json.loads(done.stdout)["reports"]
    assert len(reports) == 2
    assert all(Path(report).stat().st_size for report in reports)


@pytest.mark.slow
@pytest.mark.ray
def test_the_whole_way_ends_ends_with_a_verified_bundle_and_a_report(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    first = _demo("--out", out, "--samples", 8, "--iterations", 3, "--format", "json")
    assert first.returncode == 0, first.stderr
    result = json.loads(first.stdout)
    report = Path(result["report"]).read_text()
    assert report.lstrip().lower().startswith("<!doctype html")
    assert "is missing?" not in report
    assert "LPIPS of two images" in report
    assert "Do the masks follow edges?" in report
    assert len(list((out / "samples" / "images").iterdir())) == 8
    assert set(result["seconds"]) == {"pictures", *(step.name for step in plan(Settings(out)))}

    again = _demo("--out", out, "--samples", 8, "--iterations", 3, "--format", "json")
    assert json.loads(again.stdout) == result

    shutil.rmtree(out / "samples")
    damaged = Journal.from_json(json.loads((out / JOURNAL).read_text()))
    seconds = {name: value for name, value in damaged.seconds.items() if name != "sample"}
    Journal(damaged.settings, seconds).save()
    resumed = _demo("--out", out, "--samples", 8, "--iterations", 3, "--format", "json")
    assert resumed.returncode == 0, resumed.stderr
    assert len(list((out / "samples" / "images").iterdir())) == 8
