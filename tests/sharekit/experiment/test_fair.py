"""The fair comparison: rules first, equal arms, one role for each fold, an answer from one comparison."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import consumer.cli
import sharekit.cli
from sharekit.bundle.vetted import Vetted
from sharekit.errors import InputError, UsageError
from sharekit.experiment.cells import Store
from sharekit.experiment.document import Table
from sharekit.experiment.experiment_settings import GeneratorSettings, TableSettings
from sharekit.experiment.fair_answer import fair_answer
from sharekit.experiment.fair_comparisons import (
    CLASSICAL,
    EXTERNAL,
    LAST,
    best_classical,
    compare,
    stratum_labels,
)
from sharekit.experiment.fair_plan import FairArm, FairPlan, PlanFile, Role, name_with, read_plan
from sharekit.experiment.fair_stages import FairStages, check_fair, pool_of, roles
from sharekit.experiment.fold_generators import FoldGenerators, Sources, fold_steps, plan_folds
from sharekit.experiment.folds import Split
from sharekit.experiment.run_fair import prepare, run_fair, table_settings
from sharekit.experiment.run_table import PAGE
from sharekit.experiment.stages import Cell, Impossible
from sharekit.experiment.tables import REAL, Observation
from sharekit.experiment.tasks import RealImages, Task
from sharekit.page.mood import Mood
from sharekit.program.command_line import build_parser
from sharekit.segmenter.metrics import METRICS
from sharekit.steps.step import Step, read_record
from sharekit.storage import files
from tests.consumer.pairs import disc, picture, save
from tests.sharekit.experiment.data import small_split, untrained_from

PLAN = dataclasses.replace(read_plan(None).plan, real=(1, 2))
FEW = dataclasses.replace(
    PLAN,
    arms=tuple(
        arm
        for arm in PLAN.arms
        if arm.name
        in (
            *("real", "real + CutMix", "best classical + synthetic", "lever: style 1:1000"),
            "lever: generators of profile fast",
        )
    ),
)
"""Few arms, because every result rewrites the page."""
SMALLEST = (PLAN.arms[0], *PLAN.of(Role.ON_BEST))
WITH_FEATURES = {"lever: style 1:1000"}


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Split:
    return small_split(tmp_path_factory.mktemp("data"))


def settings(out: Path = Path("out"), **changes: Any) -> TableSettings:
    return table_settings(PLAN, TableSettings(GeneratorSettings(Path("data"), out), workers=1, **changes))


def planned(split: Split, plan: FairPlan = PLAN, **changes: Any) -> list[Cell]:
    """All cells, with copy-paste as the best classical arm."""
    stages = FairStages(plan, settings(**changes), split)
    best = {images: next(arm for arm in PLAN.arms if "copy" in arm.name) for images in plan.real}
    arms = plan.of(Role.SYNTHETIC, Role.ON_BEST, Role.LEVER)
    found = [
        *stages.real_cells(plan.of(Role.CLASSICAL, Role.CONTROL)),
        *(
            cell
            for draw in range(plan.draws)
            for cell in stages.synthetic_cells(arms, draw, best, untrained_from(stages.wanted(arms, draw)))
        ),
    ]
    assert {each.arm.name for each in found if isinstance(each, Impossible)} <= WITH_FEATURES
    return [each for each in found if isinstance(each, Cell)]


def words(cell: Cell) -> list[Any]:
    return list(cell.task.arguments)


def names_after(cell: Cell, option: str) -> set[str]:
    given = words(cell)[words(cell).index(option) + 1]
    assert isinstance(given, RealImages)
    return {each.name for each in given.pictures}


def trained_names(cell: Cell) -> list[set[str]]:
    until = words(cell).index("--validation")
    return [{p.name for p in each.pictures} for each in words(cell)[:until] if isinstance(each, RealImages)]


def bundles(cell: Cell) -> set[str]:
    samples = [each for each in words(cell) if isinstance(each, Task)]
    return {part.path.name for each in samples for part in each.arguments if hasattr(part, "path")}


def test_the_packaged_plan_survives_json_and_has_what_a_sceptic_asks_for() -> None:
    plan = read_plan(None).plan
    assert FairPlan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    assert plan.draws >= 5
    assert plan.real == (5, 10, 20)
    assert {arm.name for arm in plan.of(Role.CLASSICAL)} == {
        *("real", "real + strong", "real + CutMix", "real + copy-paste", "real + mixup")
    }
    assert len(plan.of(Role.LEVER)) >= 6
    assert plan.of(Role.ON_BEST)[0].name == plan.primary.arm
    assert {arm.role for arm in plan.arms if arm.per_draw} == {Role.SYNTHETIC, Role.ON_BEST}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"metric": "accuracy"}, "accuracy"),
        ({"draws": 0}, "below 1"),
        ({"real": [5, 5]}, "ascending"),
        ({"strata": [0.5, 1.5]}, "strata"),
        ({"primary": {"arm": "magic"}}, "magic"),
        ({"arms": []}, "named real"),
        ({"surprise": 1}, "surprise"),
        ({"schema_version": 9}, "schema version 9"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(change: dict[str, Any], named: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    files.write_json(path, {**PLAN.to_json(), **change})
    with pytest.raises(InputError, match=named) as caught:
        read_plan(path)
    assert str(path) in str(caught.value)


def test_each_fold_has_one_role_and_each_draw_its_own_images(split: Split) -> None:
    fold = {picture.name: label for label, pictures in split.folds.items() for picture in pictures}
    for held in split.labels:
        found = roles(split, held)
        cells = planned(split, held=(held,))
        for cell in cells:
            assert {fold[name] for name in names_after(cell, "--test")} == {held}
            assert {fold[name] for name in names_after(cell, "--validation")} == {found.validation}
            assert {fold[name] for each in trained_names(cell) for name in each} <= set(found.training)
            # A draw's own generator learns from the draw's images: see below.
            assert {name for name in bundles(cell) if "draw" not in name} <= set(found.training)
            # No more images to choose the weights by than to train on.
            assert len(names_after(cell, "--validation")) == cell.arm.images


def test_each_draw_has_its_own_images_and_a_larger_r_includes_a_smaller(split: Split) -> None:
    real = {(cell.arm.images, cell.draw): cell for cell in planned(split) if cell.arm.name == REAL}
    chosen = {where: trained_names(cell)[0] for where, cell in real.items()}
    assert len({frozenset(names) for (images, _), names in chosen.items() if images == 1}) > 1
    assert all(chosen[1, draw] < chosen[2, draw] for draw in range(PLAN.draws))
    validating = {frozenset(names_after(cell, "--validation")) for cell in real.values()}
    assert len(validating) > 2


def test_arms_differ_in_nothing_but_what_they_name(split: Split) -> None:
    of: dict[str, dict[tuple[Any, ...], Cell]] = {}
    for cell in planned(split):
        of.setdefault(cell.arm.name, {})[cell.arm.images, cell.draw] = cell
    for cells in of.values():
        assert cells.keys() == of[REAL].keys()
        for where, cell in cells.items():
            assert names_after(cell, "--validation") == names_after(of[REAL][where], "--validation")
            for option in ("--updates", "--seed"):
                assert (
                    words(cell)[words(cell).index(option) + 1]
                    == words(of[REAL][where])[words(of[REAL][where]).index(option) + 1]
                )
    for where, cell in of["real, repeated"].items():
        assert trained_names(cell) == trained_names(of[REAL][where]) * 11
    for where, cell in of["best classical + synthetic"].items():
        assert words(cell)[-4:] == ["--augment", "copy-paste", "--real-share", "0.5"]
        assert words(cell)[:-4][-1] != "--augment"
        plain = of["real + synthetic"][where]
        assert [each for each in words(cell) if isinstance(each, Task)] == [
            each for each in words(plain) if isinstance(each, Task)
        ]


GROUP = FairArm("group", True, 4, role=Role.SYNTHETIC, per_draw=True)
PATCHES = FairArm("patches", True, 4, role=Role.LEVER, command=("python", "patches.py"))


def samples_of(cell: Cell) -> list[list[Any]]:
    return [list(each.arguments) for each in words(cell) if isinstance(each, Task)]


def test_a_draw_of_its_own_generator_learns_from_exactly_the_images_of_the_draw(split: Split) -> None:
    plan = dataclasses.replace(PLAN, arms=(*SMALLEST, GROUP))
    stages = FairStages(plan, settings(), split)
    wanted = [each for draw in range(plan.draws) for each in stages.wanted([GROUP], draw)]
    assert len(wanted) == len(plan.real) * plan.draws
    real = {(cell.arm.images, cell.draw): cell for cell in planned(split, plan) if cell.arm.name == REAL}
    for each, place in zip(wanted, stages.places, strict=True):
        assert [{p.name for p in each.pictures}] == trained_names(real[place.images, place.draw])
        assert each.train_options[:2] == ("--group-size", str(place.images))


def test_a_group_gives_as_many_samples_as_its_images_would_alone(split: Split) -> None:
    plan = dataclasses.replace(PLAN, arms=(*SMALLEST, GROUP))
    for cell in planned(split, plan):
        if cell.arm.name == GROUP.name:
            assert cell.arm.images is not None
            (sample,) = samples_of(cell)
            assert sample[sample.index("--count") + 1] == str(4 * cell.arm.images)
            assert cell.synthetic_images == 4 * cell.arm.images


def test_a_group_that_learnt_from_other_images_than_the_draws_gives_nothing(split: Split) -> None:
    arm = dataclasses.replace(GROUP, per_draw=False)
    stages = FairStages(dataclasses.replace(PLAN, arms=(*SMALLEST, arm)), settings(), split)
    made = {
        each: dataclasses.replace(fold, generators=dict.fromkeys(fold.generators, "group of the fold"))
        for each, fold in untrained_from(stages.wanted([arm], 0)).items()
    }
    assert all(isinstance(each, Impossible) for each in stages.synthetic_cells([arm], 0, {}, made))


ELSEWHERE = dataclasses.replace(GROUP, name="synthetic of others", elsewhere=True)


def test_samples_from_elsewhere_show_the_images_of_all_other_draws_and_none_of_its_own(split: Split) -> None:
    plan = dataclasses.replace(PLAN, real=(1,), draws=3, arms=(*SMALLEST, ELSEWHERE))
    stages = FairStages(plan, settings(), split)
    alone = FairStages(dataclasses.replace(plan, arms=(*SMALLEST, GROUP)), settings(), split)
    own = {draw: set(alone.wanted([GROUP], draw)) for draw in range(3)}
    cells = {cell.draw: cell for cell in planned(split, plan) if cell.arm.name == ELSEWHERE.name}
    for draw, cell in cells.items():
        others = set.union(*(own[other] for other in own if other != draw))
        assert set(stages.wanted([ELSEWHERE], draw)) == others
        assert own[draw].isdisjoint(others)
        assert bundles(cell) == {each.label for each in others}
        assert cell.synthetic_images == 4 * 2
        # The samples of a draw's images are the same wherever they are used: drawn once.
        seeds = [sample[sample.index("--seed") + 1] for sample in samples_of(cell)]
        assert len(set(seeds)) == 2


def test_samples_from_elsewhere_do_not_shrink_with_the_real_images(split: Split) -> None:
    plan = dataclasses.replace(PLAN, real=(1, 2), draws=2, arms=(*SMALLEST, ELSEWHERE))
    cells = [cell for cell in planned(split, plan) if cell.arm.name == ELSEWHERE.name]
    assert {cell.arm.images for cell in cells} == {1, 2}
    for cell in cells:
        assert cell.synthetic_images == 4 * 2
        assert bundles(cell) == {f"{cell.held}-draw{1 - cell.draw}-R2"}


def test_samples_from_elsewhere_need_draws_that_share_no_image(split: Split) -> None:
    plan = dataclasses.replace(PLAN, real=(1,), draws=3, arms=(*SMALLEST, ELSEWHERE))
    check_fair(plan, settings(), split)
    with pytest.raises(UsageError, match="at most 1"):
        check_fair(dataclasses.replace(plan, real=(2,)), settings(), split)
    lonely = dataclasses.replace(plan, draws=1).to_json()
    with pytest.raises(InputError, match="elsewhere"):
        FairPlan.from_json(lonely)


def test_an_arm_with_a_command_takes_the_draws_images_and_no_generator(split: Split) -> None:
    plan = dataclasses.replace(PLAN, arms=(*SMALLEST, PATCHES))
    assert FairStages(plan, settings(), split).wanted([PATCHES], 0) == ()
    for cell in planned(split, plan):
        if cell.arm.name == PATCHES.name:
            (made,) = samples_of(cell)
            assert made[:2] == ["python", "patches.py"]
            assert isinstance(made[2], RealImages)
            assert [{each.name for each in made[2].pictures}] == trained_names(cell)
            assert cell.synthetic_images == 4 * len(made[2].pictures)


JUDGED = dataclasses.replace(GROUP, name="lever: judged", role=Role.LEVER, judge=0.5)


def test_the_judge_of_a_draw_learns_from_its_real_images_alone(split: Split) -> None:
    plan = dataclasses.replace(PLAN, arms=(*SMALLEST, JUDGED))
    for cell in planned(split, plan):
        if cell.arm.name == JUDGED.name:
            (sample,) = samples_of(cell)
            judge = sample[sample.index("--judge") + 1]
            assert sample[sample.index("--least-agreement") + 1] == "0.5"
            assert "--test" not in judge.arguments
            given = [each for each in judge.arguments if isinstance(each, RealImages)]
            assert [{each.name for each in given[0].pictures}] == trained_names(cell)
            assert {each.name for each in given[1].pictures} == names_after(cell, "--validation")


VETTED = dataclasses.replace(GROUP, name="lever: vetted", role=Role.LEVER, vetted=True, samples=2)


def test_a_vetted_arm_takes_the_list_of_a_node_that_compared_with_the_validation_images(
    split: Split,
) -> None:
    stages = FairStages(dataclasses.replace(PLAN, arms=(*SMALLEST, VETTED)), settings(), split)
    wanted = stages.wanted([VETTED], 0)
    without = untrained_from(wanted)

    def listing(*good: int) -> dict[Sources, FoldGenerators]:
        return {
            each: dataclasses.replace(
                fold, vetted=dict.fromkeys(fold.generators.values(), Vetted(1, 8, good))
            )
            for each, fold in without.items()
        }

    for nothing in (without, listing()):
        cells = stages.synthetic_cells([VETTED], 0, {}, nothing)
        assert all(isinstance(each, Impossible) for each in cells)
    cells = stages.synthetic_cells([VETTED], 0, {}, listing(0, 3, 5))
    for source, cell in zip(wanted, cells, strict=True):
        assert isinstance(cell, Cell)
        assert {picture.name for picture in source.others} == names_after(cell, "--validation")
        (sample,) = samples_of(cell)
        assert "--vetted-only" in sample
        assert sample[sample.index("--seed") + 1] == "1"
        assert cell.synthetic_images == min(2 * len(source.pictures), 3)


@pytest.mark.parametrize(
    "change",
    [
        {"sample_options": ("--redraw-below", "0.1")},
        {"sample_options": ("--coverage=0.1:1",)},
        {"judge": 0.3},
    ],
)
def test_a_vetted_arm_that_draws_samples_again_is_refused_before_anything_is_trained(
    change: dict[str, Any], split: Split
) -> None:
    arm = dataclasses.replace(VETTED, **{"sample_options": ("--clean-masks",), **change})
    plan = dataclasses.replace(PLAN, arms=(*PLAN.arms, arm))
    with pytest.raises(UsageError, match=r"lever: vetted.*drawn again"):
        check_fair(plan, settings(), split)
    # Results of an earlier release with such a plan stay readable.
    assert FairPlan.from_json(plan.to_json()) == plan


def test_the_generator_that_a_vetted_arm_takes_serves_the_other_arms_too(split: Split) -> None:
    both = FairStages(dataclasses.replace(PLAN, arms=(*SMALLEST, GROUP, VETTED)), settings(), split)
    assert both.wanted([GROUP], 0) == both.wanted([VETTED], 0) == both.wanted([GROUP, VETTED], 0)
    alone = FairStages(dataclasses.replace(PLAN, arms=(*SMALLEST, GROUP)), settings(), split)
    assert all(not source.others for source in alone.wanted([GROUP], 0))


def test_a_vetting_node_takes_its_other_pictures_in_after_the_training(split: Split, tmp_path: Path) -> None:
    first, *_, last = split.folds["0"]
    given = GeneratorSettings(split.root, tmp_path)
    (plan,) = plan_folds([Sources("draw", (first,), (), (last,))], given)
    names = [step.name for step in fold_steps(plan, given)]
    assert names.index("train") < names.index("ingest others") < names.index("audit") < names.index("export")
    (alone,) = plan_folds([Sources("draw", (first,), ())], given)
    assert plan.folder != alone.folder


def test_draws_share_no_image_where_there_are_enough(split: Split) -> None:
    plan = dataclasses.replace(PLAN, real=(1,), draws=3, arms=(*SMALLEST, GROUP))
    cells = [cell for cell in planned(split, plan) if cell.arm.name == REAL]
    for chosen in (
        [trained_names(cell)[0] for cell in cells],
        [names_after(c, "--validation") for c in cells],
    ):
        assert len(set.union(*chosen)) == 3


def test_every_command_is_one_that_its_program_knows(split: Split, tmp_path: Path) -> None:
    store, parser = Store(tmp_path, split.root), build_parser("consumer", "", consumer.cli.COMMANDS)
    seen = {
        task.key: task
        for cell in planned(split)
        for task in (cell.task, *cell.task.inputs)
        if isinstance(task, Task)
    }
    for task in seen.values():
        _, *arguments = store.step(task).command
        parser.parse_args(arguments)


def test_too_few_folds_or_images_are_refused(split: Split) -> None:
    two = dataclasses.replace(split, folds={label: split.folds[label] for label in split.labels[:2]})
    with pytest.raises(UsageError, match="at least 3 folds"):
        check_fair(PLAN, settings(), two)
    with pytest.raises(UsageError, match="nothing"):
        check_fair(PLAN, settings(held=("nothing",)), split)
    # Three images to draw from: with R = 3 every draw would be the same.
    with pytest.raises(UsageError, match="at most 2"):
        check_fair(dataclasses.replace(PLAN, real=(3,)), settings(), split)
    check_fair(PLAN, settings(), split)
    assert len(pool_of(split, roles(split, "0"), settings().generators)) == 3


def observation(arm: str, draw: int, iou: float, images: int = 1, **changes: Any) -> Observation:
    scores = dict.fromkeys(METRICS, iou)
    given = {"validation": iou, "parts": {}, **changes}
    return Observation("fair", arm, images, "0", 0, images, 0, f"{arm} {draw}", scores, scores, draw, **given)


def observations(arms: dict[str, Sequence[float]], images: int = 1) -> list[Observation]:
    return [observation(arm, draw, iou, images) for arm, of in arms.items() for draw, iou in enumerate(of)]


def test_the_validation_images_choose_the_best_classical_arm_and_the_test_images_do_not() -> None:
    cells = [
        observation("real", 0, 0.9, validation=0.3),
        observation("real + mixup", 0, 0.1, validation=0.4),
        observation("real + synthetic", 0, 0.1, validation=0.9),
    ]
    assert best_classical(PLAN, cells)[1].name == "real + mixup"


def test_the_best_classical_arm_is_chosen_where_all_of_them_have_a_result() -> None:
    cells = [
        *(observation("real", draw, 0.5, validation=value) for draw, value in enumerate((0.5, 0.5))),
        observation("real + strong", 0, 0.5, validation=0.4),
        observation("real + strong", 1, 0.5, validation=0.5),
        # Only the easy draw is done.
        observation("real + mixup", 1, 0.5, validation=0.45),
    ]
    assert best_classical(PLAN, cells)[1].name in ("real", "real + strong")


NOTHING = [0.40, 0.50, 0.45, 0.55, 0.35]


def with_primary(gain: float, spread: float = 0.01) -> list[Observation]:
    wobble = np.linspace(-spread, spread, 5)
    best = [value + 0.1 for value in NOTHING]
    return observations(
        {
            "real": NOTHING,
            "real + strong": best,
            "best classical + synthetic": [value + gain + w for value, w in zip(best, wobble, strict=True)],
        }
    )


@pytest.mark.parametrize(
    ("gain", "spread", "mood", "words"),
    [
        (0.05, 0.01, Mood.GOOD, "Yes:"),
        (-0.05, 0.01, Mood.BAD, "No:"),
        (0.05, 0.2, Mood.WARN, "Not shown:"),
        (0.0, 0.01, Mood.WARN, "Not shown:"),
    ],
)
def test_the_primary_comparison_alone_decides(gain: float, spread: float, mood: Mood, words: str) -> None:
    found = fair_answer(PLAN, with_primary(gain, spread))
    assert found.mood is mood
    assert found.verdict.startswith(words)
    assert any("with the best that costs nothing (real + strong)" in reason for reason in found.reasons)


def test_a_null_result_says_what_it_excludes_and_what_more_would_take() -> None:
    found = fair_answer(PLAN, with_primary(0.0, 0.2))
    # Five values from -0.2 to 0.2: a standard error of 0.0707, and 2.776 of them each way.
    assert "A gain of more than 0.196 is unlikely." in found.reasons
    assert any("about 482 draws" in reason for reason in found.reasons)
    assert not any("unlikely" in reason for reason in fair_answer(PLAN, with_primary(0.05)).reasons)


def test_a_gain_over_plain_real_images_is_no_gain_over_the_best_that_costs_nothing() -> None:
    cells = with_primary(-0.05)
    found = compare(PLAN, cells)
    against_real = found.get("best classical + synthetic", 1, REAL)
    assert against_real is not None
    assert against_real.difference.low > 0
    assert fair_answer(PLAN, cells).mood is Mood.BAD


def test_a_lever_is_compared_with_the_arm_that_it_changes() -> None:
    lever = "lever: a quarter real"
    cells = [
        *with_primary(0.05),
        *observations({"real + synthetic": NOTHING, lever: [0.43, 0.53, 0.48, 0.58, 0.38]}),
    ]
    found = compare(PLAN, cells)
    each = found.get(lever, None, "real + synthetic")
    assert each is not None
    assert each.difference.mean == pytest.approx(0.03)
    assert found.get("real", None, "real + synthetic") is None
    assert any(
        "Levers" in reason and "a quarter real +0.030" in reason
        for reason in fair_answer(PLAN, cells).reasons
    )


def test_few_draws_give_no_answer() -> None:
    few = [each for each in with_primary(0.05) if each.draw < 4]
    assert fair_answer(PLAN, few).verdict.startswith("Too early for an answer")
    assert fair_answer(PLAN, []).mood is Mood.WARN


def test_draws_are_the_units_of_one_fold_and_seeds_within_a_draw_are_not() -> None:
    cells = [
        dataclasses.replace(observation(arm, draw, iou), seed=seed)
        for arm, of in {"real": (0.4, 0.5), "real + strong": (0.5, 0.7)}.items()
        for draw, iou in enumerate(of)
        for seed in (0, 1, 2)
    ]
    found = compare(PLAN, cells).get("real + strong", 1, REAL)
    assert found is not None
    assert (found.pairs, found.difference.count) == (6, 2)
    assert found.difference.mean == pytest.approx(0.15)


def test_strata_part_the_lesions_by_size() -> None:
    assert stratum_labels((0.05, 0.15)) == ("below 5 %", "5 to 15 %", "from 15 %")
    assert stratum_labels(()) == ()


class Bench:
    """Writes what `consumer sample` and `consumer train` leave, with scores that depend on the arm."""

    def __init__(self, gain: float = 0.1) -> None:
        self.gain = gain
        self.ran: list[Step] = []
        self.made: list[Sources] = []

    @contextlib.contextmanager
    def machine(self) -> Iterator[Bench]:
        yield self

    def run(self, step: Step) -> Any:
        if step.done:
            return read_record(step.record)
        self.ran.append(step)
        result: Any = {}
        if step.command[1] == "sample":
            step.makes[0].mkdir(parents=True)
        else:
            step.makes[0].parent.mkdir(parents=True)
            step.makes[0].write_bytes(b"a segmenter")
            result = self._scores(step)
        step.record.parent.mkdir(parents=True, exist_ok=True)
        files.write_json(step.record, {"result": result})
        return result

    def _scores(self, step: Step) -> Any:
        words = list(step.command)
        base = 0.4 + 0.02 * int(words[words.index("--seed") + 1])
        iou = base + (0.1 if "cutmix" in words else 0) + (self.gain if "--real-share" in words else 0)

        def metrics(value: float) -> Any:
            return {"metrics": {name: {"mean": value, "low": 0, "high": 1, "count": 3} for name in METRICS}}

        tests = [
            {
                "best": metrics(iou + place),
                "last": metrics(iou - 0.05),
                "foreground": [0.01, 0.1, 0.2],
                "best_iou": [iou - 0.1, iou, iou + 0.1],
                "last_iou": [iou] * 3,
            }
            for place in range(words.count("--test"))
        ]
        return {"best": metrics(iou), "last": metrics(iou), "tests": tests}

    def stop(self) -> None:
        pass


def run(
    bench: Bench, split: Split, out: Path, plan: FairPlan = FEW, external: Path | None = None, **changes: Any
) -> Table:
    prepared = prepare(PlanFile(plan, "a" * 64), settings(out, **changes), split, external)

    def make(sources: Sequence[Sources]) -> dict[Sources, FoldGenerators]:
        bench.made += sources
        return untrained_from(sources)

    *_, table = run_fair(prepared, bench.machine, make)
    return table


def external_data(root: Path) -> Path:
    """Pictures of another size than those of `small_split`, as another device makes them."""
    for number in range(20, 22):
        save(root / f"images/other-{number}.png", np.tile(picture(number), (2, 2, 1)))
        save(root / f"masks/other-{number}.png", np.tile(disc(number), (2, 2)))
    return root


def test_a_run_ends_with_an_answer_and_a_second_one_does_nothing(split: Split, tmp_path: Path) -> None:
    bench = Bench()
    table = run(bench, split, tmp_path / "out", external=external_data(tmp_path / "external"))
    lost = {failure.arm for failure in table.failures}
    assert lost == WITH_FEATURES
    assert table.waiting == 0
    assert {each.train_options for each in bench.made} == {(), ("--profile", "fast")}
    # What costs nothing is done before any sample is drawn.
    first = next(place for place, step in enumerate(bench.ran) if step.command[1] == "sample")
    assert {step.command[1] for step in bench.ran[:first]} == {"train"}
    assert first == 2 * len(PLAN.real) * PLAN.draws

    found = compare(FEW, table.cells)
    assert {arm.name for arm in found.best.values()} == {"real + CutMix"}
    for part in ("below 5 %", "5 to 15 %", "from 15 %", EXTERNAL, LAST):
        each = found.get("best classical + synthetic", None, CLASSICAL, part)
        assert each is not None
        assert each.difference.mean == pytest.approx(0.1)
        assert each.pairs == PLAN.draws
    page = (tmp_path / "out" / PAGE).read_text()
    for word in (
        "Yes: on top of the best that costs nothing",
        "a" * 64,
        "lever: generators of profile fast",
        "external",
    ):
        assert word in page
    assert "real + CutMix" in (tmp_path / "out/fair-comparisons.csv").read_text()

    again = Bench()
    assert run(again, split, tmp_path / "out", external=tmp_path / "external").to_json() == table.to_json()
    assert again.ran == []


def test_each_segmenter_has_its_own_comparison_of_the_same_samples_on_one_page(
    split: Split, tmp_path: Path
) -> None:
    small = dataclasses.replace(PLAN, real=(1,), draws=1, arms=SMALLEST)
    benches = {}
    for name, words in {"scratch": (), "frozen": ("--freeze-encoder",)}.items():
        bench = benches[name] = Bench()
        given = settings(tmp_path / "out", segmenter_options=words)
        prepared = prepare(PlanFile(small, "a" * 64), given, split, None, name_with(name))
        *_, table = run_fair(prepared, bench.machine, untrained_from)
        assert table.name == f"fair_{name}"
        trained = [step for step in bench.ran if step.command[1] == "train"]
        assert {"--freeze-encoder" in step.command for step in trained} == {name == "frozen"}
    assert not [step for step in benches["frozen"].ran if step.command[1] == "sample"]
    page = (tmp_path / "out" / PAGE).read_text()
    for name in benches:
        assert f"Segmenter: {name}" in page
        assert (tmp_path / f"out/fair_{name}-registration.json").exists()
    with pytest.raises(UsageError, match="--segmenter"):
        name_with("Not a word")


def test_a_null_result_stands_where_a_win_would(split: Split, tmp_path: Path) -> None:
    small = dataclasses.replace(PLAN, real=(1,), arms=PLAN.of(Role.CLASSICAL, Role.ON_BEST)[-3:])
    small = dataclasses.replace(small, arms=(PLAN.arms[0], *small.arms))
    table = run(Bench(gain=0.0), split, tmp_path / "out", small)
    page = (tmp_path / "out" / PAGE).read_text()
    assert "Not shown: on top of the best that costs nothing" in page
    assert all(f'<th scope="row">{arm.name}' in page for arm in small.arms)
    assert Table.from_json(json.loads(json.dumps(table.to_json()))) == table


def changed_plan(split: Split, tmp_path: Path) -> dict[str, Any]:
    return {"plan": dataclasses.replace(PLAN, real=(1,), draws=2, arms=SMALLEST)}


def other_options(split: Split, tmp_path: Path) -> dict[str, Any]:
    return {"segmenter_options": ("--size", "64")}


def other_images(split: Split, tmp_path: Path) -> dict[str, Any]:
    fewer = {label: pictures[:2] if label == "0" else pictures for label, pictures in split.folds.items()}
    return {"split": dataclasses.replace(split, folds=fewer)}


def added_external(split: Split, tmp_path: Path) -> dict[str, Any]:
    return {"external": external_data(tmp_path / "external")}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (changed_plan, "the plan's draws"),
        (other_options, "segmenter options"),
        (other_images, "folds"),
        (added_external, "external"),
    ],
)
def test_a_plan_or_choice_that_changes_after_the_first_result_is_refused(
    change: Callable[[Split, Path], dict[str, Any]], named: str, split: Split, tmp_path: Path
) -> None:
    small = dataclasses.replace(PLAN, real=(1,), draws=1, arms=SMALLEST)
    run(Bench(), split, tmp_path / "out", small)
    given = {"split": split, "plan": small, **change(split, tmp_path)}
    bench = Bench()
    with pytest.raises(InputError, match=named):
        run(bench, given.pop("split"), tmp_path / "out", **given)
    assert bench.ran == []


def test_a_plan_stays_fixed_when_a_run_that_went_on_is_killed_at_once(split: Split, tmp_path: Path) -> None:
    small = dataclasses.replace(PLAN, real=(1,), draws=1, arms=SMALLEST)
    run(Bench(), split, tmp_path / "out", small)

    class Killed(Bench):
        def run(self, step: Step) -> Any:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(Killed(), split, tmp_path / "out", small)
    with pytest.raises(InputError, match="the plan's draws"):
        run(Bench(), split, tmp_path / "out", dataclasses.replace(small, draws=2))


def test_a_plan_may_change_before_the_first_result(split: Split, tmp_path: Path) -> None:
    prepare(PlanFile(PLAN, "b" * 64), settings(tmp_path / "out"), split, None)
    changed = dataclasses.replace(PLAN, draws=6)
    found = prepare(PlanFile(changed, "c" * 64), settings(tmp_path / "out"), split, None)
    assert found.registration.plan_sha256 == "c" * 64
    same = prepare(PlanFile(changed, "c" * 64), settings(tmp_path / "out"), split, None)
    assert same.registration == found.registration


def test_a_registration_that_somebody_edited_is_refused(split: Split, tmp_path: Path) -> None:
    prepare(PlanFile(PLAN, "b" * 64), settings(tmp_path / "out"), split, None)
    path = tmp_path / "out/fair-registration.json"
    files.write_json(path, {**json.loads(path.read_text()), "registered": "1999", "plan_sha256": "d" * 64})
    with pytest.raises(InputError, match="restore the file"):
        prepare(PlanFile(PLAN, "b" * 64), settings(tmp_path / "out"), split, None)


def test_external_images_that_are_trained_on_are_refused(split: Split, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="case-01"):
        prepare(PlanFile(PLAN, "b" * 64), settings(tmp_path / "out"), split, copied(split, tmp_path))
    assert not (tmp_path / "out").exists()


def copied(split: Split, tmp_path: Path) -> Path:
    save(tmp_path / "external/images/mine.png", picture(1))
    save(tmp_path / "external/masks/mine.png", disc(1))
    return tmp_path / "external"


def test_the_program_says_which_folds_are_missing(
    split: Split, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["experiment", "fair", "--data", str(split.root), "--out", str(tmp_path / "out")]
    assert sharekit.cli.main([*command, "--fold-count", "2", "--format", "json"]) == 2
    error = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert error["item"] == "--folds"


def test_an_arm_survives_json() -> None:
    arm = FairArm(
        "a", True, 3, role=Role.LEVER, sample_options=("--x", "a b"), generator_options=("-y",), per_draw=True
    )
    assert FairArm.from_json(json.loads(json.dumps(arm.to_json()))) == arm
    # The digest of a plan that an earlier release registered stays the same.
    assert {"vetted", "judge", "elsewhere"}.isdisjoint(arm.to_json())
    for change in ({"vetted": True}, {"judge": 0.4}, {"elsewhere": True}):
        changed = dataclasses.replace(arm, **change)
        assert FairArm.from_json(json.loads(json.dumps(changed.to_json()))) == changed
