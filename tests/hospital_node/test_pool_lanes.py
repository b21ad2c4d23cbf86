"""A worker that is given a group trains it side by side."""

import dataclasses

import pytest

from hospital_node.pool.actors import Job, Trainer, _default_engine
from hospital_node.pool.schedule import Failed, Interrupted, OutOfMemory
from hospital_node.singan.trained import TrainedGenerator
from tests.hospital_node.singan.test_training import CONFIG, LAYOUT, picture


def _job(directory, number: int) -> Job:
    name = f"{number:032x}"
    return Job(name, picture(number), LAYOUT, CONFIG, name, "test", directory / name, number)


@pytest.fixture
def trainer() -> Trainer:
    worker = Trainer("cpu", 1, None)
    worker.engine = _default_engine("cpu")
    return worker


def test_a_group_is_trained_side_by_side_and_comes_back_in_order(trainer, tmp_path):
    jobs = [_job(tmp_path, number) for number in range(3)]
    results = trainer.train(jobs)
    assert [result.spec.id for result in results] == [job.generator_id for job in jobs]
    assert trainer.beat().steps < 2 * 3 * CONFIG.iterations
    assert {progress.iteration for progress in trainer.beat().progress.values()} == {CONFIG.iterations}


def test_a_damaged_checkpoint_fails_its_own_image_alone(trainer, tmp_path):
    jobs = [_job(tmp_path, number) for number in range(2)]
    jobs[1].checkpoint_dir.mkdir()
    (jobs[1].checkpoint_dir / "checkpoint.pt").write_bytes(b"damaged")
    first, second = trainer.train(jobs)
    assert isinstance(first, TrainedGenerator)
    assert isinstance(second, Failed)


def test_a_group_of_two_shapes_is_trained_all_the_same(trainer, tmp_path):
    narrow = dataclasses.replace(_job(tmp_path, 1), tensor=picture(1)[:, :, :30].copy())
    results = trainer.train([_job(tmp_path, 0), narrow])
    assert all(isinstance(result, TrainedGenerator) for result in results)


def test_a_stopped_group_is_interrupted_as_a_whole(trainer, tmp_path):
    trainer.stop()
    assert trainer.train([_job(tmp_path, number) for number in range(2)]) == [Interrupted()] * 2


def test_a_group_that_does_not_fit_says_so(trainer, tmp_path, monkeypatch):
    import torch

    from hospital_node.singan import training

    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(training, "train_lanes", full)
    assert trainer.train([_job(tmp_path, number) for number in range(2)]) == [OutOfMemory()] * 2
