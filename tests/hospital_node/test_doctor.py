"""The doctor: every check says passed, warning or problem for the right reason, and how to fix it."""

from __future__ import annotations

import dataclasses
import json
import os
import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement

from hospital_node.cli import main
from hospital_node.doctor import facts, machine
from hospital_node.doctor import node_folder as folder
from hospital_node.doctor.check import Check, Outcome
from hospital_node.doctor.examine import examine
from hospital_node.doctor.machine import Gpu, Processors, Torch
from hospital_node.doctor.node_folder import FileSystem
from hospital_node.ledger.states import GeneratorState, ImageState
from hospital_node.node.node import Node
from hospital_node.pool import live
from hospital_node.pool.live import Found, Liveness
from hospital_node.singan.config import PROFILES
from hospital_node.singan.needs import (
    WORKER_BYTES,
    ImageNeeds,
    disk_needed,
    image_needs,
    images_at_once,
    stack_weights,
)
from hospital_node.singan.networks import Generator
from sharekit.errors import InputError
from tests.hospital_node.ingested import ingested_image

GIB = 2**30
PASSED, WARNING, PROBLEM = Outcome
NEEDS = ImageNeeds(memory=2 * GIB, checkpoint=20 * 2**20, generator=5 * 2**20)
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def node(tmp_path) -> Node:
    return Node.create(tmp_path / "node", "St. Test")


def outcomes(printed: str) -> dict[str, str]:
    return {check["name"]: check["outcome"] for check in json.loads(printed)["checks"]}


@given(st.text(), st.sampled_from(Outcome), st.text(), st.text())
def test_a_check_survives_json(name, outcome, found, fix):
    check = Check(name, outcome, found, fix)
    assert Check.from_json(json.loads(json.dumps(check.to_json()))) == check


# -- the machine


@pytest.mark.parametrize(("found", "outcome"), [("3.10.9", PROBLEM), ("3.11.0", PASSED), ("3.14.1", PASSED)])
def test_python_is_compared_with_its_range(found, outcome):
    assert machine.check_python(found, ">=3.11").outcome is outcome


def test_packages_are_compared_with_their_ranges():
    wanted = [Requirement("torch>=2.6"), Requirement("ray>=2.52")]
    assert machine.check_packages(wanted, {"torch": "2.13.0+cpu", "ray": "2.60.0"}).outcome is PASSED
    old = machine.check_packages(wanted, {"torch": "2.5.1", "ray": "2.60.0"})
    assert (old.outcome, old.found) == (PROBLEM, "torch 2.5.1, not >=2.6")
    missing = machine.check_packages(wanted, {"torch": "2.6"})
    assert (missing.outcome, missing.found) == (PROBLEM, "ray is missing")
    assert machine.check_packages([], {}).outcome is WARNING


def test_the_ranges_are_those_of_the_package():
    names = {requirement.name for requirement in facts.requirements()}
    assert {"torch", "ray", "numpy", "psutil"} <= names
    assert "pytest" not in names
    assert facts.python_range().startswith(">=3.")


@pytest.mark.parametrize(
    ("torch", "outcome"),
    [
        (Torch("2.13.0", "12.9", (Gpu("H100", 80 * GIB, 79 * GIB),), "570.1"), PASSED),
        (Torch("2.13.0+cpu", None, (), None), PASSED),
        (Torch("2.13.0+cpu", None, (), "570.1"), WARNING),
        (Torch("2.13.0", "12.9", (), "470.1"), WARNING),
    ],
)
def test_a_gpu_that_would_stay_idle_is_a_warning(torch, outcome):
    assert machine.check_torch(torch).outcome is outcome


@pytest.mark.parametrize(
    ("processors", "workers", "outcome"),
    [
        (Processors(8, 8, None), 8, PASSED),
        (Processors(8, 2, None), 2, WARNING),
        (Processors(8, 8, 1.5), 1, WARNING),
        (Processors(8, 8, 0.5), 1, WARNING),
    ],
)
def test_cpus_that_may_not_be_used_are_not_counted(processors, workers, outcome):
    assert (processors.workers, machine.check_processors(processors).outcome) == (workers, outcome)


@pytest.mark.parametrize(
    ("available", "outcome"), [(2 * GIB, PROBLEM), (3 * GIB, WARNING), (6 * GIB, PASSED)]
)
def test_memory_must_hold_an_image_for_every_worker(available, outcome):
    assert machine.check_memory(NEEDS, 250, 250, available, 2, []).outcome is outcome


def test_with_a_gpu_its_own_memory_counts():
    gpu = Gpu("a GPU", 16 * GIB, 15 * GIB)
    check = machine.check_memory(NEEDS, 250, 250, 0, 2, [gpu])
    assert check.outcome is PASSED
    lanes = (15 * GIB - WORKER_BYTES) // NEEDS.memory
    assert f"room for {lanes} side by side" in check.found
    assert "estimate" in check.found
    full = dataclasses.replace(gpu, free=GIB)
    assert machine.check_memory(NEEDS, 250, 250, 100 * GIB, 2, [full]).outcome is PROBLEM


def test_loopback_must_resolve_and_take_a_socket():
    assert machine.check_loopback(["127.0.0.1", "::1"], "").outcome is PASSED
    assert machine.check_loopback(["10.0.0.7"], "").outcome is PROBLEM
    assert machine.check_loopback([], "").outcome is PROBLEM
    assert machine.check_loopback(["127.0.0.1"], "network is unreachable").outcome is PROBLEM


def test_rays_folder_must_be_private_and_short():
    assert machine.check_ray_folder("/tmp/node-12345678", 0o700, 38).outcome is PASSED  # noqa: S108
    assert machine.check_ray_folder("/tmp/node-12345678", 0o777, 38).outcome is PROBLEM  # noqa: S108
    assert machine.check_ray_folder("/" + "ü" * 19, 0o700, 38).outcome is PROBLEM


def test_little_shared_memory_is_a_warning():
    assert machine.check_shared_memory(8 * GIB, 4 * GIB).outcome is PASSED
    assert machine.check_shared_memory(64 * 2**20, 64 * 2**20).outcome is WARNING
    assert machine.check_shared_memory(8 * GIB, 2**20).outcome is WARNING
    assert machine.check_shared_memory(None, None).outcome is PASSED


def test_onnx_runtime_must_have_its_cpu_provider():
    check = machine.check_providers(["CUDAExecutionProvider", "CPUExecutionProvider"], "")
    assert (check.outcome, check.found) == (PASSED, "CUDA, CPU")
    assert machine.check_providers([], "ImportError: libcudart").found == "ImportError: libcudart"
    assert machine.check_providers([], "").outcome is PROBLEM


def test_features_that_are_missing_are_a_warning():
    assert machine.check_features("/weights/vgg16.ckpt", True).outcome is PASSED
    assert machine.check_features("/weights/vgg16.ckpt", False).outcome is WARNING
    assert machine.check_features(None, False).outcome is WARNING


# -- the estimate


def test_weights_are_counted_as_the_network_has_them():
    state = Generator(4, 32).state_dict()
    counted = sum(tensor.numel() for name, tensor in state.items() if "num_batches" not in name)
    assert stack_weights(4, 4, 32) == counted


@given(st.integers(40, 400), st.integers(40, 400))
def test_a_larger_image_never_needs_less(height, width):
    config = PROFILES["private"]
    small, large = image_needs(height, width, 4, config), image_needs(height + 30, width + 30, 4, config)
    shrunk = max(height, width) + 30 > config.max_side
    assert shrunk or small.memory <= large.memory


def test_an_image_too_small_to_train_on_has_no_estimate():
    with pytest.raises(InputError):
        image_needs(8, 400, 4, PROFILES["private"])


def test_as_many_images_as_memory_holds_and_no_more():
    one = WORKER_BYTES + NEEDS.memory
    assert [images_at_once(free, NEEDS) for free in (one - 1, one, 3 * one)] == [0, 1, 3]


def test_checkpoints_are_needed_for_those_in_training_alone():
    assert disk_needed(0, 4, NEEDS) == 0
    assert disk_needed(1000, 4, NEEDS) == 1000 * 2 * NEEDS.generator + 8 * NEEDS.checkpoint
    assert disk_needed(1, 4, NEEDS) == 2 * NEEDS.generator + 2 * NEEDS.checkpoint


def test_a_checkpoint_and_a_generator_are_as_large_as_estimated(tmp_path):
    import numpy as np

    from hospital_node.singan.training import train
    from sharekit.generator.tensors import ChannelLayout

    config = dataclasses.replace(PROFILES["quick"], iterations=1, max_side=40)
    tensor = np.random.default_rng(0).uniform(-1, 1, (4, 40, 36)).astype(np.float32)
    trained = train(
        [tensor],
        ChannelLayout(3, ("polyp",)),
        config,
        generator_id="0" * 32,
        profile="quick",
        checkpoint_dir=tmp_path,
        seed=1,
    )
    trained.save(tmp_path / "generator.safetensors")
    needs = image_needs(40, 36, 4, config)
    size = (tmp_path / "generator.safetensors").stat().st_size
    assert needs.generator <= size <= 1.3 * needs.generator
    assert (tmp_path / "checkpoint.pt").stat().st_size <= needs.checkpoint


# -- the node's folder


@pytest.mark.parametrize(
    ("found", "outcome"),
    [
        (FileSystem(), PASSED),
        (FileSystem(error="cannot be written: Read-only file system"), PROBLEM),
        (FileSystem(mode=0o755), PROBLEM),
        (FileSystem(locks=False), PROBLEM),
        (FileSystem(seconds=3.0), WARNING),
    ],
)
def test_a_file_system_must_keep_modes_and_locks(found, outcome):
    assert folder.check_file_system(found).outcome is outcome


def test_this_file_system_keeps_modes_and_locks_and_nothing_is_left_on_it(tmp_path):
    found = facts.try_file_system(tmp_path)
    assert (found.error, found.mode, found.locks) == ("", 0o600, True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    tmp_path.chmod(0o500)
    assert facts.try_file_system(tmp_path).error


def test_the_disk_must_hold_what_waits():
    assert folder.check_disk(10 * GIB, 10 * GIB, 100).outcome is PASSED
    assert folder.check_disk(10 * GIB - 1, 10 * GIB, 100).outcome is PROBLEM


def test_a_clock_behind_the_ledger_is_a_problem():
    assert folder.check_clock(NOW, None, None).outcome is PASSED
    assert folder.check_clock(NOW, NOW - timedelta(hours=1), None).outcome is PASSED
    assert folder.check_clock(NOW, NOW + timedelta(hours=1), None).outcome is PROBLEM
    released = folder.check_clock(NOW, NOW, NOW + timedelta(hours=1))
    assert (released.outcome, "last release" in released.found) == (PROBLEM, True)


def run_found(liveness: Liveness) -> Found:
    status = live.TrainingStatus("host", 7, 0.0, 0.0, 0.0, "quick", 3, 0.0, None, 0.0, None, None, ())
    return Found(status, liveness, 300.0)


@pytest.mark.parametrize(
    ("found", "ray_folder", "outcome"),
    [
        (None, None, PASSED),
        (run_found(Liveness.RUNNING), "/tmp/node-1", PASSED),  # noqa: S108
        (run_found(Liveness.SILENT), "/tmp/node-1", WARNING),  # noqa: S108
        (run_found(Liveness.DIED), None, WARNING),
        (None, "/tmp/node-1", WARNING),  # noqa: S108
    ],
)
def test_what_a_killed_run_left_is_told(found, ray_folder, outcome):
    assert folder.check_run(found, ray_folder).outcome is outcome


def test_files_that_others_may_read_are_named(node):
    assert facts.not_private(node.root) == []
    node.policy_path.touch()
    node.policy_path.chmod(0o644)
    assert facts.not_private(node.root) == ["policy.json"]
    check = folder.check_open("node", ["a", "b", "c", "d"])
    assert (check.outcome, "a, b, c …" in check.found) == (PROBLEM, True)


# -- the program


def test_a_sound_node_passes(node, capsys):
    ingested_image(node, 1)
    code = main(["doctor", "--node", str(node.root), "--profile", "quick", "--format", "json"])
    printed = capsys.readouterr().out
    assert {name: outcome for name, outcome in outcomes(printed).items() if outcome == PROBLEM} == {}
    assert code == 0
    assert json.loads(printed)["memory_per_image"] == image_needs(28, 32, 4, PROFILES["quick"]).memory


def test_the_machine_is_checked_without_a_node(capsys):
    assert main(["doctor", "--format", "json"]) == 0
    found = outcomes(capsys.readouterr().out)
    assert {"python", "packages", "devices", "memory", "loopback", "ray folder"} <= found.keys()
    assert "disk" not in found


def test_a_problem_is_in_the_table_and_in_the_exit_code(node, capsys):
    (node.root / "policy.json").touch()
    (node.root / "policy.json").chmod(0o644)
    assert main(["doctor", "--node", str(node.root), "--profile", "quick"]) == 8
    printed = capsys.readouterr()
    assert "PROBLEM" in printed.out
    assert "chmod -R go-rwx" in printed.out
    assert "permissions" in printed.err


def test_a_folder_that_is_no_node_is_one_problem_among_the_checks(tmp_path, capsys):
    assert main(["doctor", "--node", str(tmp_path), "--format", "json"]) == 8
    assert outcomes(capsys.readouterr().out)["node"] == PROBLEM


def test_a_stale_ray_json_is_told_and_left(node):
    path = node.root / "ray.json"
    path.write_text('{"directory": "/tmp/node-gone"}')
    path.chmod(0o600)
    checks = {check.name: check for check in examine(node.root, PROFILES["quick"]).checks}
    assert checks["training"].outcome is WARNING
    assert "/tmp/node-gone" in checks["training"].found  # noqa: S108
    assert path.exists()


def test_a_clock_set_back_is_found_by_the_ledger(node, monkeypatch):
    ingested_image(node, 1)

    class Yesterday(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) - timedelta(days=1)

    monkeypatch.setattr("hospital_node.doctor.examine.datetime", Yesterday)
    checks = {check.name: check for check in examine(node.root, PROFILES["quick"]).checks}
    assert checks["clock"].outcome is PROBLEM


def test_the_largest_image_is_the_one_that_is_estimated(node):
    image = ingested_image(node, 1)
    record = node.ledger.get(image)
    node.ledger.add(dataclasses.replace(record, id="f" * 32, height=400, width=300, content_key="large"))
    node.ledger.add(dataclasses.replace(record, id="e" * 32, height=8, width=300, content_key="small"))
    examination = examine(node.root, PROFILES["private"])
    checks = {check.name: check for check in examination.checks}
    assert examination.needs == image_needs(400, 300, 4, PROFILES["private"])
    assert checks["images"].outcome is WARNING
    assert "1 of 3" in checks["images"].found


def test_images_behind_generators_that_are_done_or_failed_do_not_wait(node):
    images = [ingested_image(node, number) for number in range(5)]
    trained, failed, _ = node.ledger.generators.plan([images[:2], images[2:3], images[3:4]])
    for state in (GeneratorState.TRAINING, GeneratorState.TRAINED):
        node.ledger.generators.transition(trained, state)
    node.ledger.generators.transition(failed, GeneratorState.FAILED)
    checks = {check.name: check for check in examine(node.root, PROFILES["quick"]).checks}
    assert checks["images"].found == "2 wait for training"


def test_the_doctor_works_while_a_run_holds_the_node(node):
    with node.write_lock(), live.recorded(node.root / live.NAME, "quick", 1):
        checks = {check.name: check for check in examine(node.root, PROFILES["quick"]).checks}
    assert (checks["training"].outcome, "runs" in checks["training"].found) == (PASSED, True)


def test_ten_thousand_images_are_examined_in_seconds(node):
    record = node.ledger.get(ingested_image(node, 1))
    with closing(sqlite3.connect(node.ledger.path)) as database, database:
        database.executemany(
            "INSERT INTO images SELECT NULL, ?, source_image, source_masks, state, reason, height, width,"
            " image_channels, mask_classes, updated, data_dir, ?, unit, overlays FROM images WHERE id = ?",
            [(f"{number:032x}", str(number), record.id) for number in range(2, 10_001)],
        )
    assert node.ledger.counts()[ImageState.INGESTED] == 10_000
    started = time.monotonic()
    examine(node.root, PROFILES["quick"])
    assert time.monotonic() - started < 30


def test_no_socket_stays_open(node):
    import psutil

    before = psutil.Process().net_connections()
    examine(node.root, PROFILES["quick"])
    assert psutil.Process().net_connections() == before
