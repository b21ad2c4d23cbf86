"""Means, intervals and comparisons are right where the answer is known, and words follow from them."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Sequence
from itertools import chain

import numpy as np
import pytest

from sharekit.errors import InputError
from sharekit.experiment import published
from sharekit.experiment.answer import Mood, answer
from sharekit.experiment.document import Failure, FoldCounts, Table, cells_csv, rows_csv
from sharekit.experiment.experiment_page import render
from sharekit.experiment.histograms import Histogram
from sharekit.experiment.tables import Observation, Row, nested_weights, overall, summarise
from sharekit.intervals import Interval, student_mean
from sharekit.segmenter.metrics import METRICS
from tests.pages import ATTACK, sound

SETTINGS = {"updates": 4}


def cell(arm: str, iou: float, held: str = "0", seed: int = 0, images: int | None = None) -> Observation:
    best = dict.fromkeys(METRICS, iou)
    last = dict.fromkeys(METRICS, iou / 2)
    return Observation("table1", arm, images, held, seed, 3, 6, f"{arm}{held}{seed}", best, last)


def arm(
    name: str, values: Sequence[float], images: int | None = None, *, folds: int = 1
) -> list[Observation]:
    """A cell a value: seeds innermost."""
    seeds = len(values) // folds
    return [cell(name, value, str(n // seeds), n % seeds, images) for n, value in enumerate(values)]


def near(found: Interval | None, wanted: Interval) -> bool:
    """Equal but for rounding."""
    return found is not None and found.to_json() == pytest.approx(wanted.to_json(), abs=1e-12)


def rows(*cells: list[Observation]) -> dict[str, Row]:
    return {row.arm: row for row in summarise("table1", chain(*cells))}


def table(*cells: list[Observation], name: str = "table1", expected: int | None = None) -> Table:
    every = tuple(dataclasses.replace(each, table=name) for each in chain(*cells))
    histogram = Histogram(None, (1, 2, *[0] * 18), (0, 3, *[0] * 18))
    folds = {"0": FoldCounts(9, 3, 2)}
    return Table(name, SETTINGS, folds, expected or len(every), every, (), (histogram,))


def test_a_row_is_the_mean_over_its_cells() -> None:
    row = rows(arm("real", [0.5, 0.7, 0.6, 0.8], folds=2))["real"]
    assert row.cells == row.best["iou"].count == 4
    assert row.best["iou"].mean == pytest.approx(0.65)
    assert row.last["iou"].mean == pytest.approx(0.325)
    assert row.best["iou"].low < 0.65 < row.best["iou"].high
    assert (row.ratio, row.difference, row.pairs) == (None, None, 0)


def test_a_single_cell_has_no_spread() -> None:
    assert rows([cell("real", 0.5)])["real"].best["iou"] == Interval(0.5, 0.5, 0.5, 1)


def test_an_interval_of_one_fold_is_the_bootstrap_over_its_seeds() -> None:
    values = np.random.default_rng(0).random(9)
    weights = nested_weights(["0"] * 9)
    rng = np.random.default_rng(1)
    plain = [values[rng.integers(0, 9, 9)].mean() for _ in range(4000)]
    assert np.quantile(weights @ values, [0.025, 0.5, 0.975]) == pytest.approx(
        np.quantile(plain, [0.025, 0.5, 0.975]), abs=0.02
    )


def test_folds_are_drawn_first_and_then_seeds_within_them() -> None:
    """Against the definition, draw by draw, with folds of different sizes."""
    groups = {"a": [0.1, 0.2, 0.15], "b": [0.8, 0.9], "c": [0.4]}
    folds = [label for label, values in groups.items() for _ in values]
    values = np.array([*chain(*groups.values())])
    rng = np.random.default_rng(2)
    slow = []
    for _ in range(4000):
        drawn = [groups[label] for label in rng.choice(list(groups), 3)]
        slow.append(np.mean(np.concatenate([rng.choice(each, len(each)) for each in drawn])))
    fast = nested_weights(folds, draws=4000) @ values
    levels = [0.025, 0.25, 0.5, 0.75, 0.975]
    assert np.quantile(fast, levels) == pytest.approx(np.quantile(slow, levels), abs=0.03)
    # As if they were independent, cells would seem to say more.
    naive = nested_weights(["one"] * 6, draws=4000) @ values
    assert np.std(fast) > 1.2 * np.std(naive)


def test_weights_are_shares() -> None:
    weights = nested_weights(["a", "b", "a", "c"])
    assert weights.sum(axis=1) == pytest.approx(1)
    assert weights.min() >= 0


def test_a_comparison_is_of_pairs_so_that_what_both_share_is_no_uncertainty() -> None:
    real = [0.5, 0.7, 0.3, 0.9]
    row = rows(arm("real", real, folds=2), arm("FAKE-1", [value - 0.1 for value in real], folds=2))["FAKE-1"]
    assert row.difference is not None
    assert row.difference.low == pytest.approx(-0.1)
    assert row.difference.high == pytest.approx(-0.1)
    assert row.ratio is not None
    assert row.ratio.mean == pytest.approx(0.5 / 0.6)
    assert row.last_difference is not None
    assert row.last_difference.mean == pytest.approx(-0.05)
    assert row.pairs == 4


def test_a_difference_of_several_folds_has_students_interval_over_their_means() -> None:
    fake = [0.1, 0.3, 0.5, 0.5, 0.2, 0.4]
    row = rows(arm("real", [0.1] * 6, folds=3), arm("FAKE-1", fake, folds=3))["FAKE-1"]
    assert near(row.difference, student_mean([0.1, 0.4, 0.2]))
    assert near(row.last_difference, student_mean([0.05, 0.2, 0.1]))
    assert row.pairs == 6


def test_a_difference_of_one_fold_has_students_interval_over_its_seeds() -> None:
    row = rows(arm("real", [0.1] * 3), arm("FAKE-1", [0.2, 0.3, 0.5]))["FAKE-1"]
    assert near(row.difference, student_mean([0.1, 0.2, 0.4]))


def test_cells_without_a_real_one_beside_them_are_not_compared() -> None:
    found = rows(arm("real", [0.5]), [cell("FAKE-1", 0.4), cell("FAKE-1", 0.9, seed=1)])["FAKE-1"]
    assert (found.cells, found.pairs) == (2, 1)
    assert found.difference is not None
    assert found.difference.mean == pytest.approx(-0.1)
    assert rows([cell("FAKE-1", 0.4)])["FAKE-1"].difference is None


def test_a_segmenter_that_finds_nothing_does_not_break_the_table() -> None:
    found = table(arm("real", [0.0, 0.0, 0.0]), arm("FAKE-1", [0.0, 0.1, 0.0]))
    assert all(np.isfinite(row.best["iou"].mean) for row in found.rows)
    assert found.rows[1].ratio is None
    text = render([found])
    assert "Undecided: so few folds" in text
    assert "inf" not in text.split("</style>")[1].split("<img")[0]
    assert list(csv.DictReader(io.StringIO(rows_csv(found.rows))))[1]["ratio"] == ""
    assert Table.from_json(json.loads(json.dumps(found.to_json()))) == found


@pytest.mark.parametrize(
    ("real", "has_ratio"),
    [
        # Three seeds: all are the first one in one resample of 27, four: in one of 256.
        ([0.0, 0.5, 0.6], False),
        ([0.0, 0.5, 0.6, 0.5], True),
        ([0.0], False),
    ],
)
def test_there_is_no_ratio_where_too_many_resamples_have_none(real: list[float], has_ratio: bool) -> None:
    row = rows(arm("real", real), arm("FAKE-1", [0.5] * len(real)))["FAKE-1"]
    assert (row.ratio is not None) == has_ratio
    assert row.ratio is None or np.isfinite([row.ratio.low, row.ratio.mean, row.ratio.high]).all()
    assert row.difference is not None
    assert row.difference.mean == pytest.approx(0.5 - np.mean(real))


def test_published_values_stand_beside_their_arms_and_nowhere_else() -> None:
    found = rows(arm("real", [0.5]), arm("FAKE-1", [0.4]))
    assert found["real"].paper == 0.8266
    assert found["FAKE-1"].paper is None
    assert round(100 * published.BEST_RATIO, 1) == 96.6


def test_tables_rows_and_cells_survive_the_round_trip() -> None:
    before = dataclasses.replace(
        table(arm("real", [0.5, 0.6]), arm("FAKE-1", [0.4, 0.5])),
        failures=(Failure("FAKE-2", None, "0", 1, "broken"),),
    )
    value = json.loads(json.dumps(before.to_json()))
    assert Table.from_json(value) == before
    assert tuple(Row.from_json(row) for row in value["rows"]) == before.rows
    with pytest.raises(InputError):
        Table.from_json({**value, "schema_version": 2})
    with pytest.raises(InputError):
        Table.from_json({"schema_version": 1})


def test_anybody_can_read_the_csv() -> None:
    found = table(arm("real", [0.5, 0.6], 5), arm("synthetic", [0.4, 0.5], 5))
    lines = list(csv.DictReader(io.StringIO(rows_csv(found.rows))))
    assert [(line["arm"], line["R"], line["cells"]) for line in lines] == [
        ("real", "5", "2"),
        ("synthetic", "5", "2"),
    ]
    assert float(lines[1]["best_iou"]) == pytest.approx(0.45)
    assert float(lines[1]["difference"]) == pytest.approx(-0.1)
    assert lines[0]["ratio"] == ""
    cells = list(csv.DictReader(io.StringIO(cells_csv(found.cells))))
    assert np.mean([float(line["best_iou"]) for line in cells if line["arm"] == "real"]) == pytest.approx(
        0.55
    )


REAL = [0.60, 0.62, 0.61]


@pytest.mark.parametrize(
    ("synthetic", "mood", "words"),
    [
        ([0.70, 0.73, 0.71], Mood.GOOD, "can replace the real here, with 117 % of the IoU"),
        ([0.61, 0.60, 0.62], Mood.WARN, "Undecided, with 100 % of the IoU of real data: so few"),
        # Always better, by 0.01 to 0.12: three seeds of no difference are as unequal one time in four.
        ([0.61, 0.64, 0.73], Mood.WARN, "Undecided"),
        ([0.40, 0.41, 0.43], Mood.BAD, "cannot replace the real here, with 68 % of the IoU"),
        ([0.40], Mood.WARN, "this rests on a single pair of cells. So far"),
    ],
)
def test_table_1_says_whether_synthetic_data_replace_the_real(
    synthetic: list[float], mood: Mood, words: str
) -> None:
    found = answer("table1", [*arm("real", REAL), *arm("FAKE-1", synthetic)])
    assert found.mood is mood
    assert words in found.verdict


def test_the_best_arm_is_the_best_in_pairs_of_those_that_are_done() -> None:
    """Neither the one with the easy folds alone, nor the one whose own mean is the highest."""
    real = arm("real", [0.2, 0.9, 0.3, 0.8])
    spared = [cell("spared", 0.99, seed=1), cell("spared", 0.88, seed=3)]
    done = arm("done", [0.25, 0.95, 0.35, 0.85])
    worse = arm("worse", [0.24, 0.94, 0.34, 0.84])
    found = answer("table1", [*real, *worse, *done, *spared])
    assert found.verdict.startswith("Synthetic data can replace the real")
    assert "The best of 2 synthetic arms, done," in found.reasons[0]
    assert "left out: 1" in found.reasons[0]


def table2(**differences: dict[int, Sequence[float]]) -> list[Observation]:
    """Real cells, and an arm's cells that differ from them: for every R a value a seed."""
    found = []
    for name, by_images in differences.items():
        for images, values in by_images.items():
            found += arm(name, [0.5 + value for value in values], images)
            found += arm("real", [0.5] * len(values), images) if name == "both" else []
    return found


@pytest.mark.parametrize(
    ("both", "mood", "words"),
    [
        ([0.70, 0.73, 0.71], Mood.GOOD, "together they are better."),
        ([0.61, 0.60, 0.62], Mood.WARN, "neither gain nor harm"),
        ([0.40, 0.41, 0.43], Mood.BAD, "did harm."),
    ],
)
def test_table_2_says_whether_synthetic_data_complement_the_real(
    both: list[float], mood: Mood, words: str
) -> None:
    cells = [arm("real", REAL, 5), arm("synthetic", [0.50, 0.53, 0.51], 5), arm("both", both, 5)]
    found = answer("table2", [*chain(*cells)])
    assert found.mood is mood
    assert words in found.verdict
    assert "alone are worse than the R real images." in found.verdict


def test_table_2_is_judged_by_one_figure_an_arm_and_shows_what_helped_and_what_hurt() -> None:
    """R = 5 gains for certain and R = 10 loses for certain: together they are nothing that could be shown."""
    cells = table2(
        both={5: [0.10, 0.11, 0.10], 10: [-0.10, -0.10, -0.11]},
        synthetic={5: [-0.2, -0.21, -0.2], 10: [-0.1, -0.11, -0.1]},
    )
    figure = overall("both", cells)
    assert figure is not None
    assert (figure.images, figure.pairs) == ((5, 10), 3)
    assert near(figure.difference, student_mean([0, 0.005, -0.005]))
    found = answer("table2", cells)
    assert found.mood is Mood.WARN
    assert found.verdict == (
        "Adding synthetic data to the real: neither gain nor harm that can be told from chance. "
        "Synthetic data alone are worse than the R real images."
    )
    mean = "against real alone, mean over R = 5, 10: IoU"
    assert found.reasons[0].startswith(f"Both together {mean} ")
    assert found.reasons[1].startswith(f"Synthetic alone {mean} -0.153 [")
    each = found.reasons[found.reasons.index("Each R alone, which is no verdict:") + 1 :]
    assert any(line.startswith("R = 5, both: IoU +0.103") for line in each)
    assert any(line.startswith("R = 10, both: IoU -0.103") for line in each)


def test_the_figure_of_an_arm_is_over_folds_where_there_are_several() -> None:
    values = {5: [0.1, 0.3, 0.2, 0.2], 10: [0.3, 0.5, 0.4, 0.4]}
    cells = [
        each
        for images, differences in values.items()
        for name, shift in (("real", [0.0] * 4), ("both", differences))
        for each in arm(name, [0.2 + value for value in shift], images, folds=2)
    ]
    figure = overall("both", cells)
    assert figure is not None
    assert figure.difference.mean == pytest.approx(0.3)
    assert (figure.difference.count, figure.pairs) == (2, 4)


def test_an_unfinished_r_is_not_in_the_figure_and_does_not_weaken_it() -> None:
    finished = {5: [0.10, 0.11, 0.10], 10: [0.10, 0.10, 0.11]}
    cells = table2(both={**finished, 20: [-0.3]}, synthetic=finished)
    found = answer("table2", cells)
    assert found.mood is Mood.GOOD
    assert "Too early" not in found.verdict
    assert "mean over R = 5, 10: IoU +0.103" in found.reasons[0]
    hedged = [line for line in found.reasons if "not in the mean" in line]
    assert hedged == [
        "R = 20, both: IoU -0.300 against real alone, 40 % (not in the mean: a single pair of cells)"
    ]


def test_a_table_2_of_one_seed_is_too_early_for_an_answer() -> None:
    found = answer("table2", table2(both={5: [0.1], 10: [0.2]}))
    assert found.mood is Mood.WARN
    assert "Too early for an answer: this rests on a single pair of cells for each R." in found.verdict


def test_r_that_have_no_seed_in_common_have_no_figure() -> None:
    cells = [
        cell(name, 0.5, seed=seed, images=images)
        for name in ("real", "both")
        for images, seed in ((5, 0), (10, 1))
    ]
    assert overall("both", cells) is None
    assert "Too early" in answer("table2", cells).verdict


def test_without_a_comparison_there_is_no_verdict() -> None:
    for cells in ([], arm("real", REAL), arm("FAKE-1", REAL)):
        assert "Too early" in answer("table1", cells).verdict


def test_the_page_holds_no_script_and_loads_nothing_whatever_is_in_it() -> None:
    found = dataclasses.replace(
        table(arm("real", REAL), arm(ATTACK, REAL)),
        settings={"options": ATTACK},
        failures=(Failure(ATTACK, None, ATTACK, 0, ATTACK),),
        folds={ATTACK: FoldCounts(1, 1, 1)},
    )
    page = sound(render([found]))
    sources = [image.attributes["src"] for image in page.all("img")]
    assert all(source.startswith("data:image/svg+xml;base64,") for source in sources)
    assert len(sources) == 2
    assert page.text.count("alert(1)") > 5


def test_a_page_of_a_part_says_so_and_equal_tables_give_equal_pages() -> None:
    cells = [
        each
        for images in (5, 10)
        for name in ("real", "synthetic", "both")
        for each in arm(name, REAL, images)
    ]
    whole = table(cells, name="table2")
    part = table(cells, name="table2", expected=30)
    assert "18 of 30 cells are done: what is said here is of a part" in render([part])
    assert "of a part" not in render([whole])
    assert render([whole, part]) == render([whole, part])


def test_a_page_of_nothing_yet_is_a_page() -> None:
    empty = Table("table1", SETTINGS, {}, 5, (), (), ())
    assert "Too early to say" in render([empty])
