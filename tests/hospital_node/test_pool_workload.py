"""Progress: weighed by cost, never beyond the whole, and honest about what a resumed run found done."""

from __future__ import annotations

import pytest

from hospital_node.pool import workload
from hospital_node.pool.workload import Workload, scale_costs
from hospital_node.singan.config import PROFILES
from hospital_node.singan.training import ScaleProgress

CONFIG = PROFILES["private"]


def at(scale: int, iteration: int) -> ScaleProgress:
    return ScaleProgress(scale, 3, iteration, 100, 0.0, 0.0)


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(workload.time, "monotonic", lambda: now[0])
    return now


def test_finer_scales_cost_more():
    costs = scale_costs(529, 622, CONFIG)
    assert len(costs) == 9
    assert list(costs) == sorted(costs)
    # 64 channels instead of 32 from the fifth scale on, and 128 at the ninth.
    assert costs[4] > 4 * costs[3]
    assert costs[8] > 4 * costs[7]


def test_an_image_too_small_to_train_costs_nothing():
    assert scale_costs(8, 400, CONFIG) == ()


def test_progress_is_the_share_of_the_cost():
    work = Workload({"a": (1.0, 2.0, 5.0), "b": (1.0, 1.0, 0.0)}, 100)
    assert work.report().done == 0
    work.advance("a", at(1, 50))
    assert work.report().done == 20
    assert work.report().values["scales"] == "1/6"
    work.settle("a", trained=True)
    work.settle("b", trained=False)
    report = work.report()
    assert report.done == report.total
    assert report.values["generators"] == "2/2"


def test_the_speed_counts_only_what_this_run_did(clock):
    work = Workload({"a": (1.0, 1.0, 1.0), "b": (1.0,)}, 100, begun={"a"})
    work.advance("a", at(1, 0))
    clock[0] = 10.0
    work.advance("a", at(1, 50))
    assert work.iterations_per_second == 5.0
    work.settle("b", trained=False)
    assert work.iterations_per_second == 5.0
    # A scale of the first image was there before, and the second was given up.
    assert work.report().free == 50
    assert work.report().done == 62.5


def test_no_work_is_finished_work():
    assert Workload({}, 100).report().done == 100
