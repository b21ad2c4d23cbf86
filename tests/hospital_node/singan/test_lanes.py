"""Generators trained side by side are the ones that they would be alone."""

import dataclasses
import threading

import numpy as np
import pytest
import torch

from hospital_node.singan import checkpoint
from hospital_node.singan.networks import sample
from hospital_node.singan.training import DivergedError, Lane, LaneJob, ScaleProgress, Stopped, train_lanes
from sharekit.errors import InputError
from tests.hospital_node.singan.test_training import CONFIG, LAYOUT, picture


def _job(directory, number: int, **changes) -> LaneJob:
    job = LaneJob([picture(number)], LAYOUT, f"{number:032x}", directory / str(number), seed=number)
    return dataclasses.replace(job, **changes)


def _train(jobs, config=CONFIG, **options):
    return train_lanes(jobs, config, profile="test", **options)


def _draw(generator):
    return sample(generator, generator.spec.noise(1, [0, 1]))


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Each of three generators trained by itself."""
    directory = tmp_path_factory.mktemp("alone")
    return [_draw(_train([_job(directory, number)])[0]) for number in range(3)]


def test_lanes_learn_what_each_learns_alone(tmp_path, alone):
    together = _train([_job(tmp_path, number) for number in range(3)])
    for generator, expected in zip(together, alone, strict=True):
        np.testing.assert_allclose(_draw(generator), expected, atol=2e-2)
    assert [generator.spec.id for generator in together] == [f"{number:032x}" for number in range(3)]


@pytest.mark.parametrize("stop_after", [3, 9])
def test_stopped_lanes_go_on_together(tmp_path, alone, stop_after):
    asked = 0

    def should_stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > stop_after

    jobs = [_job(tmp_path, number) for number in range(3)]
    with pytest.raises(Stopped):
        _train(jobs, should_stop=should_stop)
    for generator, expected in zip(_train(jobs), alone, strict=True):
        np.testing.assert_allclose(_draw(generator), expected, atol=2e-2)


def test_a_lane_that_is_ahead_waits_for_the_others(tmp_path, alone):
    seen: list[ScaleProgress] = []
    stop = threading.Event()

    def note(progress: ScaleProgress) -> None:
        seen.append(progress)
        if progress.scale == 1:
            stop.set()

    ahead = _job(tmp_path, 0, on_progress=note)
    with pytest.raises(Stopped):
        _train([ahead], should_stop=stop.is_set)
    seen.clear()
    stop.clear()
    both = _train([ahead, _job(tmp_path, 1)])
    assert {progress.scale for progress in seen} == {2}
    for generator, expected in zip(both, alone, strict=False):
        np.testing.assert_allclose(_draw(generator), expected, atol=2e-2)


def test_a_lane_goes_on_alone_after_it_was_in_company(tmp_path, alone):
    asked = 0

    def should_stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > 8

    jobs = [_job(tmp_path, number) for number in range(3)]
    with pytest.raises(Stopped):
        _train(jobs, should_stop=should_stop)
    np.testing.assert_allclose(_draw(_train([jobs[1]])[0]), alone[1], atol=2e-2)


def test_a_lane_that_diverges_fails_alone(tmp_path, alone):
    broken = _job(tmp_path, 1, tensors=[np.full_like(picture(1), np.nan)])
    first, second, third = _train([_job(tmp_path, 0), broken, _job(tmp_path, 2)])
    assert isinstance(second, DivergedError)
    np.testing.assert_allclose(_draw(first), alone[0], atol=2e-2)
    np.testing.assert_allclose(_draw(third), alone[2], atol=2e-2)


def test_lanes_of_different_shapes_are_refused(tmp_path):
    narrow = _job(tmp_path, 1, tensors=[picture(1)[:, :, :30]])
    with pytest.raises(InputError, match="shape"):
        _train([_job(tmp_path, 0), narrow])


def test_a_finished_lane_is_found_in_its_checkpoint_with_its_reconstruction(tmp_path):
    job = _job(tmp_path, 0)
    _train([job])
    lane = Lane(job, CONFIG, torch.device("cpu"))
    assert lane.finished
    assert lane.reconstructions[0].shape == lane.reals[-1][0].shape
    checkpoint.destroy(job.checkpoint_dir)
