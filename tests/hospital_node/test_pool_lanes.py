"""A worker that is given a batch trains it side by side."""

import dataclasses
from types import SimpleNamespace

import psutil
import pytest

from hospital_node.pool.memory import LaneMemory
from hospital_node.pool.schedule import Failed, Interrupted, OutOfMemory
from hospital_node.pool.trainer import Trainer
from hospital_node.singan.config import TrainingSettings
from hospital_node.singan.lane import LaneJob
from hospital_node.singan.trained import TrainedGenerator
from hospital_node.singan.training import train_lanes
from tests.hospital_node.singan.test_training import CONFIG, LAYOUT, picture


def _job(directory, number: int, images: int = 1) -> LaneJob:
    name = f"{number:032x}"
    pictures = [picture(number + other) for other in range(images)]
    return LaneJob(pictures, LAYOUT, name, directory / name, number)


@pytest.fixture
def trainer() -> Trainer:
    worker = Trainer(TrainingSettings("test", CONFIG), "cpu", 1, None)
    worker.engine = train_lanes
    return worker


def test_a_batch_is_trained_side_by_side_and_comes_back_in_order(trainer, tmp_path):
    jobs = [_job(tmp_path, number) for number in range(3)]
    results = trainer.train(jobs)
    assert [result.spec.id for result in results] == [job.generator_id for job in jobs]
    assert trainer.beat().steps < 2 * 3 * CONFIG.iterations
    assert {progress.iteration for progress in trainer.beat().progress.values()} == {CONFIG.iterations}


def test_groups_of_images_are_trained_side_by_side_too(trainer, tmp_path):
    jobs = [_job(tmp_path, 10 * number, images=3) for number in range(2)]
    results = trainer.train(jobs)
    assert [(result.spec.id, result.group_size) for result in results] == [
        (job.generator_id, 3) for job in jobs
    ]
    assert trainer.beat().steps < 2 * 2 * CONFIG.iterations


def test_a_damaged_checkpoint_fails_its_own_generator_alone(trainer, tmp_path):
    jobs = [_job(tmp_path, number) for number in range(2)]
    jobs[1].checkpoint_dir.mkdir()
    (jobs[1].checkpoint_dir / "checkpoint.pt").write_bytes(b"damaged")
    first, second = trainer.train(jobs)
    assert isinstance(first, TrainedGenerator)
    assert isinstance(second, Failed)


def test_a_batch_of_two_shapes_is_trained_all_the_same(trainer, tmp_path):
    narrow = dataclasses.replace(_job(tmp_path, 1), tensors=[picture(1)[:, :, :30].copy()])
    results = trainer.train([_job(tmp_path, 0), narrow])
    assert all(isinstance(result, TrainedGenerator) for result in results)


def test_a_stopped_batch_is_interrupted_as_a_whole(trainer, tmp_path):
    trainer.stop()
    assert trainer.train([_job(tmp_path, number) for number in range(2)]) == [Interrupted()] * 2


GIB = 2**30


@pytest.fixture
def memory(monkeypatch):
    """Of a machine with 10 GiB free, half of it a worker's."""
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=10 * GIB))
    return LaneMemory("cpu", 0.5)


@pytest.mark.parametrize(("estimate", "lanes"), [(GIB, 5), (2 * GIB, 2), (GIB // 8, 8), (100 * GIB, 1)])
def test_a_worker_claims_the_lanes_that_its_share_of_the_memory_holds(memory, estimate, lanes):
    assert memory.claim(8, estimate) == lanes


def test_what_a_batch_took_corrects_the_estimate(memory):
    memory.ratio = 0.5
    assert memory.claim(8, 2 * GIB) == 5


def test_on_the_cpu_the_estimate_stays_what_the_benchmark_measured(memory):
    with memory.measured(2, GIB):
        pass
    assert memory.ratio == 1.0


@pytest.mark.gpu
def test_on_a_gpu_a_batch_is_measured():
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    memory = LaneMemory("cuda", 1.0)
    with memory.measured(2, 2**20):
        torch.zeros(2**28, dtype=torch.uint8, device="cuda")
    assert memory.ratio >= 128
    assert memory.claim(10**9, 2**20) * 128 * 2**20 <= torch.cuda.get_device_properties(0).total_memory


def test_a_batch_that_does_not_fit_says_so(trainer, tmp_path):
    import torch

    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError

    trainer.engine = full
    assert trainer.train([_job(tmp_path, number) for number in range(2)]) == [OutOfMemory()] * 2
