"""Faults of machines, on a cluster of two on loopback: a lost machine, a full disk, too little memory."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from hospital_node.isolation import closed_ray as closed
from hospital_node.isolation import guard
from hospital_node.ledger.states import GeneratorState
from hospital_node.node.node import Node
from hospital_node.pool import driver
from hospital_node.pool.actors import Pool
from hospital_node.pool.driver import train_node
from hospital_node.pool.memory import cpu_share
from hospital_node.pool.schedule import TOO_LARGE
from hospital_node.pool.training_options import PoolOptions
from hospital_node.singan.config import TrainingSettings
from hospital_node.singan.trained import TrainedGenerator
from sharekit.errors import NodeStateError
from sharekit.program.progress import Progress
from tests.hospital_node.aftermath import assert_nothing_lost_or_left, processes
from tests.hospital_node.ingested import ingested_image
from tests.hospital_node.trained_node import generator_of
from tests.tiny import tiny_generator

SETTINGS = TrainingSettings.of("quick", iterations=2, max_side=32)
Engine = Callable[..., list[TrainedGenerator]]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[SimpleNamespace]:
    """A head and a second machine of one CPU each, behind this process's token: `address`, `second`."""
    directory = closed.private_directory()
    (directory / "ray").mkdir()
    (directory / "token").write_text(closed.process_token())
    others = processes()
    variables = {
        **closed.CLOSED,
        "RAY_AUTH_TOKEN_PATH": str(directory / "token"),
        "RAY_TMPDIR": str(directory),
        # A lost machine is noticed within seconds.
        "RAY_health_check_initial_delay_ms": "1000",
        "RAY_health_check_period_ms": "500",
        "RAY_health_check_failure_threshold": "4",
    }
    machine = {"num_cpus": 1, "node_ip_address": "127.0.0.1", "temp_dir": str(directory / "ray")}
    with closed.environment(variables):
        from ray.cluster_utils import Cluster

        machines = Cluster(
            initialize_head=True,
            head_node_args={**machine, "include_dashboard": False},
            shutdown_at_exit=False,
        )
        try:
            second = machines.add_node(**machine)
            yield SimpleNamespace(address=machines.address, second=second)
        finally:
            machines.shutdown()
            guard.reap(directory)
    assert [child for child in processes() if child not in others] == []


def returning(before: Callable[..., None]) -> Engine:
    """An engine that calls `before` and returns; a closure, which travels to the worker by value."""
    template = tiny_generator()

    def train(jobs: Any, config: Any, **given: Any) -> list[TrainedGenerator]:

        (job,) = jobs
        before(job, **given)
        spec = dataclasses.replace(template.spec, id=job.generator_id)
        return [dataclasses.replace(template, spec=spec, profile=given["profile"], config=config)]

    return train


# -- too little memory


@pytest.mark.ray
def test_a_batch_that_memory_does_not_hold_is_halved_and_what_never_fits_fails_alone(cluster, tmp_path):
    node = Node.create(tmp_path / "node")
    images = [ingested_image(node, number, shade) for number, shade in enumerate([0, 100, 200, 0])]

    def short_of_memory(job: Any, **given: Any) -> None:
        import torch

        log = job.checkpoint_dir / "tries"
        tries = len(log.read_bytes()) if log.exists() else 0
        log.write_bytes(b"." * (tries + 1))
        shade = round((float(job.tensors[0][0, 0, 0]) + 1) * 127.5)
        if shade == 200 or (shade == 100 and tries == 0):
            raise torch.OutOfMemoryError("CUDA out of memory")

    others = processes()
    options = PoolOptions(cluster.address, actors=1, gpus=0, lanes=4)
    report = train_node(node, SETTINGS, options, engine=returning(short_of_memory))
    assert_nothing_lost_or_left(node, images, others)
    generators = [generator_of(node, image) for image in images]
    assert report.failed == {generators[2]: TOO_LARGE}
    assert report.trained == 3
    tries = {name: len((node.model_dir(name) / "tries").read_bytes()) for name in generators}
    # All in a batch of four; the two that did not fit in one of two; the last by itself.
    assert tries == dict(zip(generators, [1, 2, 3, 1], strict=True))
    assert {record.attempts for record in node.ledger.generators.iterate()} == {0}


@pytest.mark.ray
def test_a_worker_takes_no_more_of_its_batch_than_its_memory_holds(cluster, tmp_path, monkeypatch):
    node = Node.create(tmp_path / "node")
    images = [ingested_image(node, number) for number in range(5)]
    # Two generators, but not three, go into the share that a worker of one CPU has of the machine's memory.
    estimate = int(psutil.virtual_memory().available * cpu_share(1) / 2.6)
    monkeypatch.setattr(driver, "image_needs", lambda *_: SimpleNamespace(memory=estimate))
    batches = []
    submit = Pool.submit
    monkeypatch.setattr(
        Pool, "submit", lambda self, worker, jobs: batches.append(len(jobs)) or submit(self, worker, jobs)
    )
    others = processes()
    options = PoolOptions(cluster.address, actors=1, gpus=0, lanes=4)
    report = train_node(node, SETTINGS, options, engine=returning(lambda *_, **__: None))
    assert_nothing_lost_or_left(node, images, others)
    assert report.trained == 5
    assert batches == [2, 2, 1]


# -- a full disk


@contextlib.contextmanager
def small_disk(path: Path, size: str) -> Iterator[Path]:
    """A file system of its own at `path`.

    Skips where this user may not mount one.
    """
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no file system of a fixed size can be mounted: {mounted.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def fill(ballast: Path, *, leave: int = 0) -> None:
    """Write `ballast` until its disk has only `leave` bytes left."""

    free = os.statvfs(ballast.parent)
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        file.write(b"\0" * max(free.f_bavail * free.f_frsize - leave, 0))


@pytest.mark.ray
def test_a_full_disk_stops_training_and_a_freed_one_lets_it_go_on(cluster, tmp_path):
    with small_disk(tmp_path / "disk", "8m") as disk:
        node = Node.create(disk / "node")
        images = [ingested_image(node, 1)]
        ballast = disk / "ballast"
        others = processes()
        options = PoolOptions(cluster.address, actors=1, gpus=0)

        # The worker's checkpoint finds no room.
        fill(ballast, leave=300_000)
        with pytest.raises(NodeStateError, match=r"full disk|disk is full"):
            train_node(node, SETTINGS, options)
        assert_nothing_lost_or_left(node, images, others, finished=False)
        # While the worker's half-written checkpoint still fills the disk, the ledger may find no room either.
        (waiting,) = node.ledger.generators.iterate()
        assert waiting.state in (GeneratorState.PLANNED, GeneratorState.TRAINING)
        ballast.unlink()

        # The generator, or the ledger's word of it, finds none.
        def fill_up(_: Any, **given: Any) -> None:
            import os

            free = os.statvfs(ballast.parent)
            with ballast.open("wb") as file:
                file.write(b"\0" * (free.f_bavail * free.f_frsize))

        with pytest.raises(NodeStateError, match="disk"):
            train_node(node, SETTINGS, options, engine=returning(fill_up))
        assert_nothing_lost_or_left(node, images, others, finished=False)
        ballast.unlink()

        report = train_node(node, SETTINGS, options)
        assert (report.trained, report.waiting) == (1, 0)
        assert_nothing_lost_or_left(node, images, others)
        node.ledger.close()


# -- a lost machine; last, since the cluster has one machine less afterwards


@pytest.mark.ray
def test_generators_of_a_lost_machine_are_trained_on_another(cluster, tmp_path):
    node = Node.create(tmp_path / "node")
    images = [ingested_image(node, number) for number in range(3)]
    go = tmp_path / "go"

    def wait_to_go(_: Any, **given: Any) -> None:
        import time

        while not go.exists() and not given["should_stop"]():
            time.sleep(0.05)

    killed = []

    def watch(_: Progress) -> None:
        records = node.ledger.generators.records()
        if not killed and sum(record.state is GeneratorState.TRAINING for record in records) == 2:
            cluster.second.kill_raylet()
            killed.append(True)
        if any(record.attempts for record in records):
            go.touch()

    others = processes()
    report = train_node(
        node,
        SETTINGS,
        PoolOptions(cluster.address, gpus=0),
        engine=returning(wait_to_go),
        on_progress=watch,
    )
    assert killed
    assert_nothing_lost_or_left(node, images, others)
    assert report.trained == 3
    assert sorted(record.attempts for record in node.ledger.generators.iterate()) == [0, 0, 1]
