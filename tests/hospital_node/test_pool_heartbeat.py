"""A worker is hung when it has been silent for longer than its own pace explains, and not before."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hospital_node.pool.heartbeat import LONGEST_LOOK, UNMEASURED, Beat, Pulse
from hospital_node.pool.workload import scale_costs
from hospital_node.singan.config import PROFILES

LEAST = 300.0


def silent(pulse: Pulse, seconds: float) -> Pulse:
    return dataclasses.replace(pulse, silent=seconds)


def test_a_step_ends_the_silence():
    pulse = Pulse().after(1.0, Beat(5, 0.1))
    for _ in range(3):
        pulse = pulse.after(1.0, Beat(5, 0.1))
    assert pulse.silent == 3
    assert pulse.after(1.0, Beat(6, 0.1)).silent == 0


def test_a_worker_that_does_not_answer_is_silent():
    assert Pulse().after(1.0, None).after(1.0, None).silent == 2


def test_what_nobody_listened_to_is_no_silence():
    assert Pulse().after(3600.0, None).silent == LONGEST_LOOK


@given(st.floats(0, 10 * LEAST))
def test_a_first_step_may_take_long(seconds):
    for steps in (0, 1):
        assert not silent(Pulse(steps), seconds).hung(LEAST)
    assert silent(Pulse(), UNMEASURED * LEAST + 1).hung(LEAST)


def test_a_worker_of_quick_steps_is_hung_after_the_floor():
    assert not silent(Pulse(500, 0.01), LEAST).hung(LEAST)
    assert silent(Pulse(500, 0.01), LEAST + 1).hung(LEAST)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize(("height", "width"), [(529, 622), (250, 250), (1000, 80)])
def test_a_larger_scale_is_not_mistaken_for_a_hang(profile, height, width):
    config = PROFILES[profile]
    costs = scale_costs(height, width, config)
    # With seconds a unit of cost so large that the floor does not matter.
    seconds = [1e-3 * cost for cost in costs]
    for scale in range(1, len(costs)):
        mean = sum(seconds[:scale]) / scale
        pulse = Pulse(scale * config.iterations, mean)
        assert not silent(pulse, seconds[scale]).hung(LEAST)
