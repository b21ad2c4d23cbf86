"""Generators never cross folds, and a key changes with what a command's result depends on, and only then."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest

import consumer.cli
import hospital_node.cli
import sharekit.cli
from sharekit.bundle import features
from sharekit.errors import DependencyError, InputError, UsageError
from sharekit.experiment import fold_generators as generators
from sharekit.experiment import tasks
from sharekit.experiment.cells import Store
from sharekit.experiment.experiment_settings import GeneratorSettings, with_features
from sharekit.experiment.fold_generators import (
    FoldGenerators,
    fold_sources,
    fold_steps,
    key_steps,
    plan_folds,
)
from sharekit.experiment.folds import Split
from sharekit.experiment.stages import Cell, Impossible, Plan, check, trained_on
from sharekit.experiment.tasks import Given, RealImages, Task, file_digest, options
from sharekit.program.command_line import build_parser
from tests.sharekit.experiment.data import small_settings, small_split, untrained

PROGRAMS = {"hospital-node": hospital_node.cli, "consumer": consumer.cli, "sharekit": sharekit.cli}


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Split:
    return small_split(tmp_path_factory.mktemp("data"))


def cells(split: Split, table: str, **changes: object) -> list[Cell]:
    plan = Plan(small_settings(**changes), split, untrained(split))
    found = plan.table1() if table == "table1" else plan.table2()
    assert not any(isinstance(each, Impossible) for each in found)
    return [each for each in found if isinstance(each, Cell)]


def training_sets(cell: Cell) -> list[Task | RealImages]:
    until = cell.task.arguments.index("--validation")
    return [each for each in cell.task.arguments[:until] if isinstance(each, Task | RealImages)]


def bundles(task: Task) -> set[str]:
    """The folds of all bundles that went into a task."""
    found = {each.path.name for each in task.arguments if isinstance(each, Given)}
    return found.union(*(bundles(each) for each in task.inputs if isinstance(each, Task)))


def keys(found: Sequence[Cell]) -> dict[tuple[str, int | None, str, int], str]:
    return {(cell.arm.name, cell.arm.images, cell.held, cell.seed): cell.task.key for cell in found}


@pytest.mark.parametrize("table", ["table1", "table2"])
def test_nothing_of_the_held_out_fold_is_trained_on(split: Split, table: str) -> None:
    for cell in cells(split, table, held=("0", "1", "2")):
        held = {each.name for each in split.folds[cell.held]}
        assert cell.held not in bundles(cell.task)
        for each in training_sets(cell):
            if isinstance(each, RealImages):
                assert not held & {picture.name for picture in each.pictures}
        validation = cell.task.arguments[cell.task.arguments.index("--validation") + 1]
        assert isinstance(validation, RealImages)
        assert {each.name for each in validation.pictures} == held


@pytest.mark.parametrize("table", ["table1", "table2"])
@pytest.mark.parametrize("held", [(), ("1",), ("0", "2")])
def test_generators_are_trained_of_the_folds_that_a_table_needs_and_of_no_other(
    split: Split, table: str, held: tuple[str, ...]
) -> None:
    needed = trained_on(small_settings(held=held), split, table)
    assert set(needed) == set().union(*(bundles(cell.task) for cell in cells(split, table, held=held)))


@pytest.mark.parametrize("table", ["table1", "table2"])
def test_every_command_is_one_that_its_program_knows(split: Split, table: str, tmp_path: Path) -> None:
    store = Store(tmp_path, split.root)
    options = {
        "sample_options": ("--clean-masks",),
        "style_options": ("--batch-size", "2"),
        "segmenter_options": ("--encoder", "resnet18"),
    }
    waiting: list[Task] = [cell.task for cell in cells(split, table, **options)]
    seen: dict[str, Task] = {}
    while waiting:
        task = waiting.pop()
        seen[task.key] = task
        waiting += [each for each in task.inputs if isinstance(each, Task)]
    for task in seen.values():
        program, *arguments = store.step(task).command
        build_parser(program, "", PROGRAMS[program].COMMANDS).parse_args(arguments)


def test_every_step_to_a_bundle_is_one_that_its_program_knows(split: Split) -> None:
    settings = GeneratorSettings(split.root, Path("out"), train_options=("--profile", "quick"))
    plans = plan_folds(fold_sources(split, settings), settings)
    assert len({plan.folder for plan in plans}) == 3
    for step in (*key_steps(Path("keys")), *fold_steps(plans[0], settings)):
        program, *arguments = step.command
        build_parser(program, "", PROGRAMS[program].COMMANDS).parse_args([*arguments, "--format", "json"])


def test_a_node_is_another_one_when_its_images_or_its_training_change(split: Split) -> None:
    def folders(**changes: object) -> list[Path]:
        settings = GeneratorSettings(split.root, Path("out"), **changes)
        return [plan.folder for plan in plan_folds(fold_sources(split, settings), settings)]

    before = folders(train_options=("--iterations", "2"))
    assert folders(train_options=("--iterations", "2"), choice_seed=3) == before
    assert set(folders(train_options=("--iterations", "3"))).isdisjoint(before)
    assert set(folders(train_options=("--iterations", "2"), images_per_fold=2)).isdisjoint(before)


def test_both_tables_are_planned_alike_wherever_they_are_run(split: Split) -> None:
    elsewhere = [
        dataclasses.replace(each, bundle=Path("/elsewhere"), key=Path("/a.pub")) for each in untrained(split)
    ]
    found = Plan(small_settings(), split, elsewhere).table1()
    assert [each.task.key for each in found if isinstance(each, Cell)] == [
        each.task.key for each in cells(split, "table1")
    ]


def test_another_option_of_sampling_redoes_what_is_synthetic(split: Split) -> None:
    before = keys(cells(split, "table1"))
    after = keys(cells(split, "table1", sample_options=("--clean-masks",)))
    for cell, key in before.items():
        assert (after[cell] == key) == (cell[0] == "real")


def test_another_number_of_style_steps_redoes_what_is_styled(split: Split) -> None:
    before, after = keys(cells(split, "table1")), keys(cells(split, "table1", style_steps=7))
    for cell, key in before.items():
        assert (after[cell] != key) == ("1:1" in cell[0])


def test_another_bundle_redoes_what_its_generators_made(split: Split) -> None:
    first, *rest = untrained(split)
    changed = (dataclasses.replace(first, manifest_sha256="another"), *rest)
    after = Plan(small_settings(), split, changed).table1()
    before = keys(cells(split, "table1"))
    for cell in after:
        assert isinstance(cell, Cell)
        name = (cell.arm.name, cell.arm.images, cell.held, cell.seed)
        assert (cell.task.key == before[name]) == (cell.arm.name == "real" or cell.held == first.label)


def test_threads_and_workers_change_no_result(split: Split) -> None:
    assert keys(cells(split, "table1", threads=3, workers=5)) == keys(cells(split, "table1"))


def test_a_weights_file_is_known_by_its_content(split: Split, tmp_path: Path) -> None:
    found = []
    for folder, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "weights").write_bytes(content)
        options = ("--encoder-weights", str(tmp_path / folder / "weights"))
        found.append(keys(cells(split, "table1", segmenter_options=options)))
    assert found[0] == found[1]
    assert set(found[0].values()).isdisjoint(found[2].values())


def test_a_file_given_in_one_word_is_known_by_its_content_too(split: Split, tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.write_bytes(b"1")
    one_word, two_words = (f"--encoder-weights={weights}",), ("--encoder-weights", str(weights))
    before = keys(cells(split, "table1", segmenter_options=one_word))
    assert before == keys(cells(split, "table1", segmenter_options=two_words))
    (first, *_) = cells(split, "table1", segmenter_options=one_word)
    assert Store(tmp_path, split.root).step(first.task).command[-4:-2] == two_words
    weights.write_bytes(b"2")
    assert set(before.values()).isdisjoint(keys(cells(split, "table1", segmenter_options=one_word)).values())


def test_words_that_name_no_file_stay_as_they_are() -> None:
    words = ("--size=32", "--encoder-weights=/no/such/file", "--clean-masks", "a=b", "")
    assert options(words) == words


def test_another_version_of_the_program_does_everything_again(
    split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    def folders() -> set[Path]:
        settings = GeneratorSettings(split.root, Path("out"))
        plans = plan_folds(fold_sources(split, settings), settings)
        return {path for plan in plans for path in (plan.folder, plan.release)}

    before, folders_before = keys(cells(split, "table1")), folders()
    for module in (tasks, generators):
        monkeypatch.setattr(module, "__version__", "9.9.9")
    assert set(before.values()).isdisjoint(keys(cells(split, "table1")).values())
    assert folders_before.isdisjoint(folders())


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine that has no feature file but the one in this folder's `vgg`, when it is written."""
    monkeypatch.setattr(features, "candidates", lambda: [(features.VGG19, tmp_path / "vgg")])
    monkeypatch.delenv(features.ENVIRONMENT_VARIABLE, raising=False)
    return tmp_path / "vgg"


def test_a_feature_file_that_was_found_makes_another_release_and_is_named_to_every_command(
    split: Split, machine: Path
) -> None:
    plain = GeneratorSettings(split.root, Path("out"))
    without = with_features(plain)
    assert without.features is None
    machine.write_bytes(b"1")
    found = with_features(plain)
    assert found.features == machine
    sources = fold_sources(split, plain)
    for before, after in zip(plan_folds(sources, without), plan_folds(sources, found), strict=True):
        assert before.folder == after.folder
        assert before.release != after.release
        export = next(step for step in fold_steps(after, found) if step.name == "export")
        assert export.command[-2:] == ("--features", str(machine))
    styled = [
        each
        for cell in cells(split, "table1", generators=found)
        for each in training_sets(cell)
        if isinstance(each, Task) and each.arguments[1] == "style"
    ]
    assert styled
    assert all(Given(machine, file_digest(machine)) in each.arguments for each in styled)


def test_a_named_feature_file_goes_before_one_that_is_found(split: Split, machine: Path) -> None:
    machine.write_bytes(b"1")
    named = GeneratorSettings(split.root, Path("out"), features=Path("mine"))
    assert with_features(named) == named


def test_styles_without_a_feature_file_are_refused_before_anything_is_trained(
    split: Split, machine: Path
) -> None:
    settings = small_settings(generators=with_features(GeneratorSettings(split.root, Path("out"))))
    with pytest.raises(DependencyError, match="--styles") as refused:
        check(settings, split, "table1")
    assert refused.value.exit_code == 6
    check(dataclasses.replace(settings, styles=()), split, "table1")
    check(settings, split, "table2")


def test_a_feature_file_that_is_not_there_is_an_input_error(split: Split, tmp_path: Path) -> None:
    absent = GeneratorSettings(split.root, Path("out"), features=tmp_path / "missing.pth")
    with pytest.raises(InputError, match=r"missing\.pth") as refused:
        plan_folds(fold_sources(split, absent), absent)
    assert refused.value.exit_code == 3
    with pytest.raises(InputError, match=r"missing\.pth"):
        cells(split, "table1", generators=absent)


def test_the_samples_of_fake_1_are_among_those_of_fake_2(split: Split) -> None:
    by_arm = {
        cell.arm.name: {each.key for each in training_sets(cell) if isinstance(each, Task)}
        for cell in cells(split, "table1", seeds=(0,), held=("0",))
    }
    assert by_arm["FAKE-1"] < by_arm["FAKE-2"]
    assert by_arm["FAKE-1 1:1"] < by_arm["FAKE-2 1:1"]
    assert by_arm["FAKE-1"].isdisjoint(by_arm["FAKE-1 1:1"])


def test_seeds_draw_other_samples_unless_they_are_fixed(split: Split) -> None:
    def samples(**changes: object) -> list[set[str]]:
        found = cells(split, "table1", held=("0",), **changes)
        return [
            {each.key for each in training_sets(cell) if isinstance(each, Task)}
            for cell in found
            if cell.arm.name == "FAKE-2"
        ]

    drawn, fixed = samples(), samples(fixed_samples=True)
    assert drawn[0].isdisjoint(drawn[1])
    assert fixed[0] == fixed[1]


def test_synthetic_images_of_table_2_come_from_the_chosen_real_ones(split: Split) -> None:
    found = {(cell.arm.name, cell.arm.images, cell.seed): cell for cell in cells(split, "table2")}
    for seed in (0, 1):
        for number in (1, 3):
            real, synthetic, both = (found[arm, number, seed] for arm in ("real", "synthetic", "both"))
            (chosen,) = training_sets(real)
            assert isinstance(chosen, RealImages)
            names = {each.name for each in chosen.pictures}
            generators = {
                each.arguments[each.arguments.index("--generator") + 1]
                for each in training_sets(synthetic)
                if isinstance(each, Task)
            }
            assert generators == {f"generator of {name}" for name in names}
            assert (real.real_images, real.synthetic_images) == (number, 0)
            assert (both.real_images, both.synthetic_images) == (number, 10 * number)
            assert training_sets(both) == [chosen, *training_sets(synthetic)]
    few, more = (training_sets(found["real", number, 0])[0] for number in (1, 3))
    assert isinstance(few, RealImages)
    assert isinstance(more, RealImages)
    assert set(few.pictures) < set(more.pictures)


def grouped(split: Split) -> tuple[FoldGenerators, ...]:
    """One generator for all pictures of each fold."""
    return tuple(
        dataclasses.replace(fold, generators=dict.fromkeys(fold.generators, f"group of {fold.label}"))
        for fold in untrained(split)
    )


def test_table_2_draws_the_pictures_of_a_group_together(split: Split) -> None:
    plan = Plan(small_settings(real=(3, 6), held=("0", "1")), split, grouped(split))
    found = {(cell.arm.name, cell.arm.images, cell.held, cell.seed): cell for cell in plan.table2()}
    for (_, images, held, seed), cell in found.items():
        assert isinstance(cell, Cell)
        (chosen,) = training_sets(found["real", images, held, seed])
        folds = {label for label, fold in split.folds.items() if set(fold) <= set(chosen.pictures)}
        assert len(folds) == images / 3
        samples = [each for each in training_sets(cell) if isinstance(each, Task)]
        if cell.arm.samples:
            named = [each.arguments[each.arguments.index("--generator") + 1] for each in samples]
            assert sorted(named) == sorted(f"group of {label}" for label in folds)
            assert {each.arguments[each.arguments.index("--count") + 1] for each in samples} == {"30"}
            assert cell.synthetic_images == 10 * images


def test_an_r_that_no_groups_make_up_is_no_cell(split: Split) -> None:
    found = Plan(small_settings(real=(1, 3), seeds=(0,)), split, grouped(split)).table2()
    assert {each.arm.images for each in found if isinstance(each, Impossible)} == {1}
    assert {each.arm.images for each in found if isinstance(each, Cell)} == {3}


def test_every_arm_has_the_same_number_of_updates(split: Split) -> None:
    for cell in cells(split, "table2"):
        arguments = cell.task.arguments
        assert arguments[arguments.index("--updates") + 1] == "4"


def test_what_the_audit_withheld_is_not_counted_and_nothing_at_all_is_no_cell(split: Split) -> None:
    first = split.folds["1"][0].name
    found = Plan(small_settings(held=("0",)), split, untrained(split, withheld=(first,))).table1()
    counts = {each.arm.name: each.synthetic_images for each in found if isinstance(each, Cell)}
    assert (counts["FAKE-1"], counts["FAKE-2"]) == (5, 10)
    everything = tuple(each.name for fold in split.folds.values() for each in fold)
    none = Plan(small_settings(), split, untrained(split, withheld=everything)).table2()
    assert {each.arm.name for each in none if isinstance(each, Impossible)} == {"synthetic", "both"}


def test_what_cannot_be_planned_is_refused_before_anything_is_trained(split: Split) -> None:
    with pytest.raises(UsageError, match="--held"):
        check(small_settings(held=("7",)), split, "table1")
    check(small_settings(real=(6,)), split, "table2")
    with pytest.raises(UsageError, match="at most 6"):
        check(small_settings(real=(7,)), split, "table2")


@pytest.mark.parametrize(
    "wrong",
    [
        {"styles": ("1",)},
        {"styles": ("a:b",)},
        {"styles": ("1:nan",)},
        {"samples": (0,)},
        {"real": (0,)},
        {"seeds": (-1,)},
        {"updates": 0},
        {"workers": 0},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        small_settings(**wrong)
