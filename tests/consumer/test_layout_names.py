"""A mixed bundle is drawn layout by layout: a data set for each, under its name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from torch.utils.data import DataLoader

import consumer
from consumer.cli import main
from consumer.datasets.reader import read_folder
from consumer.datasets.sample_bundle import sample_bundle
from consumer.sampling.layout_names import MAX_NAME_LENGTH, by_layout, layout_name
from consumer.sampling.request import Request
from consumer.sampling.synthetic_bundle import Bundle
from sharekit.bundle.manifest import GeneratorEntry, Parity
from sharekit.errors import InputError, UsageError
from sharekit.generator.tensors import ChannelLayout
from sharekit.program.progress import Progress
from sharekit.storage import schema
from tests.consumer.conftest import BundleMaker
from tests.tiny import tiny_generator

SIZES = ((8, 8), (10, 12))
MIXED = [
    tiny_generator(0, sizes=SIZES, mask_classes=("polyp",)),
    tiny_generator(1, sizes=SIZES, mask_classes=("polyp",), image_channels=1),
    tiny_generator(2, sizes=SIZES, mask_classes=("polyp",)),
    tiny_generator(3, sizes=SIZES, mask_classes=("polyp", "tool")),
]
NAMES = ["rgb-polyp", "grey-polyp", "rgb-polyp+tool"]


@pytest.fixture(scope="module")
def paths(make_bundle: BundleMaker) -> tuple[Path, Path]:
    return make_bundle(*MIXED)


@pytest.fixture(scope="module")
def mixed(paths: tuple[Path, Path]) -> Bundle:
    return consumer.open_bundle(*paths, device="cpu", threads=1, isolate=False)


def sample(paths: tuple[Path, Path], out: Path, *options: object) -> int:
    fixed = ("--key", paths[1], "--seed", 1, "--device", "cpu", "--out", out, "--format", "json")
    return main(["sample", *map(str, (paths[0], *fixed, *options))])


def test_every_layout_becomes_a_data_set_and_together_they_are_the_samples(
    paths: tuple[Path, Path], mixed: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sample(paths, tmp_path / "set", "--samples", 10) == 0
    result = json.loads(capsys.readouterr().out)
    assert [Path(each["out"]).name for each in result["data_sets"]] == NAMES
    drawn = {(each.generator, each.index): each for each in mixed.sample(10, 1)}
    for name in NAMES:
        folder = read_folder(tmp_path / "set" / name).require_sound()
        schema.validate("dataset", dict(folder.description), name)
        for entry in folder.entries:
            one = drawn.pop((entry.record["generator"], entry.record["index"]))
            assert folder.read_image(entry).tobytes() == one.image.tobytes()
            assert set(entry.masks) == set(one.masks)
    assert drawn == {}
    assert sample(paths, tmp_path / "set", "--samples", 10) == 0
    assert json.loads(capsys.readouterr().out)["drawn"] == 0


def test_who_names_the_folder_of_the_data_sets_hears_which_there_are(
    paths: tuple[Path, Path], tmp_path: Path
) -> None:
    assert sample(paths, tmp_path / "set", "--samples", 4) == 0
    with pytest.raises(InputError) as caught:
        read_folder(tmp_path / "set")
    assert caught.value.found == f"a folder of data sets: {', '.join(sorted(NAMES))}"


def test_fewer_samples_than_generators_leave_the_other_layouts_out(
    paths: tuple[Path, Path], tmp_path: Path
) -> None:
    assert sample(paths, tmp_path / "set", "--samples", 1) == 0
    assert [path.name for path in (tmp_path / "set").iterdir()] == ["rgb-polyp"]


def test_no_samples_are_wrong_usage(paths: tuple[Path, Path], tmp_path: Path) -> None:
    assert sample(paths, tmp_path / "set", "--samples", 0) == 2
    assert list(tmp_path.iterdir()) == []


def test_progress_counts_over_all_layouts(mixed: Bundle, tmp_path: Path) -> None:
    events: list[Progress] = []
    sample_bundle(mixed, tmp_path / "set", 10, Request(seed=1), events.append)
    assert [event.done for event in events] == list(range(1, 11))
    events.clear()
    sample_bundle(mixed, tmp_path / "set", 10, Request(seed=1), events.append)
    assert (events[-1].done, events[-1].free, events[-1].total) == (10, 10, 10)


def test_one_chosen_layout_is_a_data_set_of_its_own(paths: tuple[Path, Path], tmp_path: Path) -> None:
    assert sample(paths, tmp_path / "set", "--samples", 3, "--layout", "grey-polyp") == 0
    folder = read_folder(tmp_path / "set").require_sound()
    assert {entry.generator for entry in folder.entries} == {MIXED[1].spec.id}


def test_an_unknown_layout_names_those_that_are_there(
    paths: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sample(paths, tmp_path / "set", "--samples", 3, "--layout", "rgb-nuclei") == 2
    assert json.loads(capsys.readouterr().err)["expected"] == f"one of {', '.join(NAMES)}"
    assert not (tmp_path / "set").exists()


def test_data_sets_are_not_put_next_to_something_else(
    paths: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    assert sample(paths, tmp_path, "--samples", 10) == 3
    assert "thesis.tex" in json.loads(capsys.readouterr().err)["found"]
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_mixed_bundle_gives_samples_of_every_layout(mixed: Bundle) -> None:
    assert [(each.image.shape[2], list(each.masks)) for each in mixed.sample(4)] == [
        (3, ["polyp"]),
        (1, ["polyp"]),
        (3, ["polyp"]),
        (3, ["polyp", "tool"]),
    ]
    assert {each.image.shape[2] for each in mixed.sample(4, layout="grey-polyp")} == {1}
    assert repr(mixed).endswith(f"4 generators, {' and '.join(NAMES)}>")


def test_a_torch_data_set_asks_which_layout(mixed: Bundle) -> None:
    with pytest.raises(UsageError) as caught:
        mixed.torch_dataset()
    assert caught.value.item == "layout"
    assert all(name in caught.value.next_step for name in NAMES)
    batch = next(iter(DataLoader(mixed.torch_dataset(layout="rgb-polyp"), batch_size=4)))
    assert batch["image"].shape == (4, 3, 10, 12)


def entries(*layouts: ChannelLayout) -> list[GeneratorEntry]:
    spec = tiny_generator(0, sizes=SIZES).spec
    made = []
    for number, layout in enumerate(layouts):
        spec = type(spec)(f"{number:032x}", layout, spec.scales)
        made.append(GeneratorEntry(spec, f"generators/{spec.id}.onnx", "0" * 64, "quick", Parity(0, 18), "x"))
    return made


def test_names_are_short_and_differ_on_every_file_system() -> None:
    many = ChannelLayout(3, tuple(f"{'very-long-' * 5}{number}" for number in range(16)))
    assert len(layout_name(many)) == MAX_NAME_LENGTH
    names = by_layout(entries(ChannelLayout(3, ("Polyp",)), ChannelLayout(3, ("polyp",)), many))
    assert len({name.casefold() for name in names}) == 3
    assert layout_name(ChannelLayout(3, ("a", "b"))) != layout_name(ChannelLayout(3, ("b", "a")))
