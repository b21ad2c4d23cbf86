"""Training on a real Ray: broken images, dying workers, signals and kills; nothing lost, nothing left."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from hospital_node.cli import main
from hospital_node.isolation import sockets
from hospital_node.ledger.states import GeneratorState
from hospital_node.node.node import Node
from hospital_node.pool.actors import MALLOC
from hospital_node.pool.driver import train_node
from hospital_node.pool.heartbeat import Beat
from hospital_node.pool.schedule import Interrupted, OutOfMemory
from hospital_node.pool.trainer import DiskFull, Trainer, one_line
from hospital_node.pool.training_options import GroupOptions, PoolOptions, TrainingReport
from hospital_node.singan.config import TrainingSettings
from hospital_node.singan.lane import LaneJob
from hospital_node.singan.trained import TrainedGenerator
from sharekit.errors import DependencyError, InputError, NodeStateError, UsageError
from sharekit.generator.tensors import ChannelLayout
from sharekit.program.progress import Progress
from tests.hospital_node.aftermath import alive, assert_nothing_lost_or_left, processes
from tests.hospital_node.ingested import ingested_image
from tests.hospital_node.trained_node import generator_of
from tests.tiny import tiny_generator

SETTINGS = TrainingSettings.of("quick", iterations=2, max_side=32)
WAIT = 240.0  # seconds
FINE, RAISES, KILLS_ITS_WORKER, KILLS_IT_ONCE, SLEEPS_ONCE, FREEZES_ONCE, DIES_MID_SCALE = range(0, 210, 30)
HEARTBEAT = 2.0  # seconds
LONGER = 40  # iterations of the image whose worker dies in the middle of a scale


def dying_mid_scale() -> Callable[..., list[TrainedGenerator]]:
    """The engine, whose process is killed once, amid the first scale; `reports` tells its steps."""

    def train(jobs: Any, config: Any, **given: Any) -> list[TrainedGenerator]:
        import dataclasses
        import os
        import signal

        from hospital_node.singan import training

        (job,) = jobs
        training.CHECKPOINT_SECONDS = 0.0
        log = job.checkpoint_dir / "reports"

        def report(progress: Any) -> None:
            job.on_progress(progress)
            first = log.read_text() if log.exists() else ""
            log.write_text(f"{first}{progress.scale}:{progress.iteration} ")
            if progress.iteration == 20 and "0:20" not in first:
                os.kill(os.getpid(), signal.SIGKILL)

        return training.train_lanes([dataclasses.replace(job, on_progress=report)], config, **given)

    return train


def faulty_engine() -> Callable[..., list[TrainedGenerator]]:
    """Trains in no time, but for images of some shades; a closure, which travels to the worker by value."""
    template = tiny_generator()
    dies_mid_scale = dying_mid_scale()

    def train(jobs: Any, config: Any, **given: Any) -> list[TrainedGenerator]:
        import dataclasses
        import os
        import signal
        import time

        (job,) = jobs
        checkpoint = job.checkpoint_dir / "checkpoint.pt"
        shade = round((float(job.tensors[0][0, 0, 0]) + 1) * 127.5)
        if shade == DIES_MID_SCALE:
            return dies_mid_scale(jobs, dataclasses.replace(config, iterations=LONGER), **given)
        seen = checkpoint.exists()
        checkpoint.write_bytes(b"z*")
        if shade == RAISES:
            raise ValueError(f"no gradient\nin {checkpoint}")
        if shade == KILLS_ITS_WORKER or (shade == KILLS_IT_ONCE and not seen):
            os.kill(os.getpid(), signal.SIGKILL)
        if shade in (SLEEPS_ONCE, FREEZES_ONCE) and not seen:
            # The steps before say how long one takes.
            for _ in range(3):
                given["should_stop"]()
            if shade == FREEZES_ONCE:
                os.kill(os.getpid(), signal.SIGSTOP)
            time.sleep(WAIT)
        spec = dataclasses.replace(template.spec, id=job.generator_id)
        return [dataclasses.replace(template, spec=spec, profile=given["profile"], config=config)]

    return train


@dataclass(frozen=True)
class FaultyRun:
    node: Node
    report: TrainingReport
    images: dict[int, list[str]]  # shade -> identifiers

    def generators(self, shade: int) -> list[str]:
        """Of the images of a shade, one each."""
        return [generator_of(self.node, image) for image in self.images[shade]]

    listeners: list[sockets.Listener]
    others: list[psutil.Process]
    environments: list[dict[str, str]]
    """What workers' processes were started with, of what the pool sets."""


def worker_environments() -> list[dict[str, str]]:
    names = {*MALLOC, "OMP_NUM_THREADS"}
    found = []
    for child in processes():
        # Workers die in this run, and may do so while they are looked at.
        with contextlib.suppress(psutil.NoSuchProcess):
            if "ray::Trainer" in child.name():
                found.append({k: v for k, v in child.environ().items() if k in names})
    return found


@pytest.fixture(scope="module")
def faulty_run(tmp_path_factory) -> FaultyRun:
    node = Node.create(tmp_path_factory.mktemp("pool") / "node")
    shades = [RAISES, KILLS_ITS_WORKER, FINE, KILLS_IT_ONCE, FINE, SLEEPS_ONCE, FREEZES_ONCE, DIES_MID_SCALE]
    images: dict[int, list[str]] = {}
    for number, shade in enumerate(shades):
        images.setdefault(shade, []).append(ingested_image(node, number, shade))
    listeners: list[sockets.Listener] = []
    environments: list[dict[str, str]] = []

    def look(_: Progress) -> None:
        listeners.extend(sockets.check_sockets())
        environments.extend(worker_environments())

    others = processes()
    report = train_node(
        node,
        SETTINGS,
        PoolOptions(actors=2, heartbeat=HEARTBEAT),
        engine=faulty_engine(),
        on_progress=look,
    )
    return FaultyRun(node, report, images, listeners, others, environments)


@pytest.mark.ray
def test_one_broken_image_never_stops_the_others(faulty_run):
    states = {record.id: record.state for record in faulty_run.node.ledger.generators.records()}
    assert {
        shade: {states[name] for name in faulty_run.generators(shade)} for shade in faulty_run.images
    } == {
        FINE: {GeneratorState.TRAINED},
        RAISES: {GeneratorState.FAILED},
        KILLS_ITS_WORKER: {GeneratorState.QUARANTINED},
        KILLS_IT_ONCE: {GeneratorState.TRAINED},
        SLEEPS_ONCE: {GeneratorState.TRAINED},
        FREEZES_ONCE: {GeneratorState.TRAINED},
        DIES_MID_SCALE: {GeneratorState.TRAINED},
    }
    assert faulty_run.report.trained == 6
    assert faulty_run.report.waiting == 0


@pytest.mark.ray
def test_what_failed_says_why_in_one_line_without_a_path(faulty_run):
    (failed,) = faulty_run.report.failed.values()
    (quarantined,) = faulty_run.report.quarantined.values()
    assert failed == "ValueError: no gradient in <path>"
    assert quarantined == "its worker died 3 times: crashed, killed, or out of memory"
    assert list(faulty_run.report.failed) == faulty_run.generators(RAISES)


@pytest.mark.ray
def test_only_deaths_of_its_worker_count_against_a_generator(faulty_run):
    attempts = {record.id: record.attempts for record in faulty_run.node.ledger.generators.records()}
    by_shade = {
        shade: [attempts[name] for name in faulty_run.generators(shade)] for shade in faulty_run.images
    }
    assert by_shade == {
        RAISES: [0],
        KILLS_ITS_WORKER: [3],
        FINE: [0, 0],
        KILLS_IT_ONCE: [1],
        SLEEPS_ONCE: [1],
        FREEZES_ONCE: [1],
        DIES_MID_SCALE: [1],
    }


@pytest.mark.ray
@pytest.mark.parametrize("shade", [SLEEPS_ONCE, FREEZES_ONCE])
def test_a_hung_worker_is_killed_and_its_generator_trained_by_another(faulty_run, shade):
    (generator,) = faulty_run.generators(shade)
    reasons = [event.reason for event in faulty_run.node.ledger.events(generator)]
    assert sum("its worker died (1 of 3): hung, without a step for" in reason for reason in reasons) == 1


@pytest.mark.ray
def test_a_killed_worker_goes_on_from_its_checkpoint_in_the_middle_of_a_scale(faulty_run):
    (generator,) = faulty_run.generators(DIES_MID_SCALE)
    reports = (faulty_run.node.model_dir(generator) / "reports").read_text().split()
    # The step after the last checkpoint is done again, and none before it.
    assert reports[:5] == ["0:10", "0:20", "0:20", "0:30", "0:40"]
    assert len(reports) == len(set(reports)) + 1


@pytest.mark.ray
def test_z_star_is_gone_once_a_generator_is_settled(faulty_run):
    assert [path.name for path in (faulty_run.node.root / "models").rglob("*.pt")] == []


@pytest.mark.ray
def test_a_trained_generator_is_the_one_that_the_ledger_names(faulty_run):
    for name in (*faulty_run.generators(FINE), *faulty_run.generators(KILLS_IT_ONCE)):
        generator = TrainedGenerator.load(faulty_run.node.generator_path(name))
        assert generator.spec.id == name
        assert TrainingSettings(generator.profile, generator.config) == SETTINGS
        record = faulty_run.node.ledger.generators.get(name)
        assert (record.profile, record.settings) == ("quick", SETTINGS.canonical)


@pytest.mark.ray
def test_all_sockets_stay_on_loopback_while_workers_train(faulty_run):
    workers = {one.pid for one in faulty_run.listeners if one.process.startswith("ray::Trainer")}
    assert workers
    assert all(one.on_loopback for one in faulty_run.listeners)


@pytest.mark.ray
def test_workers_keep_their_memory(faulty_run):
    (environment,) = {tuple(sorted(found.items())) for found in faulty_run.environments}
    assert dict(environment) == {**MALLOC, "OMP_NUM_THREADS": "1"}


@pytest.mark.ray
def test_nothing_is_lost_or_left_after_all_these_faults(faulty_run):
    images = [image for images in faulty_run.images.values() for image in images]
    assert_nothing_lost_or_left(faulty_run.node, images, faulty_run.others)


# -- the program, stopped and killed


@dataclass(frozen=True)
class Ended:
    code: int
    left: list[int]
    """Processes of the run that still live ten seconds after it."""
    states: list[GeneratorState]


@contextlib.contextmanager
def training(node: Node) -> Iterator[subprocess.Popen[str]]:
    program = "import sys; from hospital_node.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "train", "--node", str(node.root), "--profile", "quick"]
    command += ["--iterations", "40", "--max-side", "32", "--actors", "1", "--format", "json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + WAIT
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def signalled(node: Node, number: signal.Signals, when: Callable[[], object]) -> Ended:
    """Run the program and send it a signal as soon as `when` is true."""
    with training(node) as process:
        wait_for(when, process)
        tree = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        process.communicate(timeout=WAIT)
    _, left = psutil.wait_procs(tree, timeout=10)
    left = [child for child in left if alive(child)]
    return Ended(
        process.returncode,
        [child.pid for child in left],
        [record.state for record in node.ledger.generators.iterate()],
    )


@dataclass(frozen=True)
class Story:
    """The same command three times: stopped by SIGINT, killed by SIGKILL, left alone."""

    node: Node
    interrupted: Ended
    killed: Ended
    finished: dict[str, Any]
    checkpoint: dict[str, Any]
    """Of the second generator, when the run was killed."""
    first_generator: tuple[bytes, int]
    """When the run was killed: bytes and time of change."""
    generators: list[str]
    """Identifiers, when the run was killed."""
    folder: Path
    """Ray's, of the killed run."""
    others: list[psutil.Process]
    """Before the first run."""


@pytest.fixture(scope="module")
def story(tmp_path_factory) -> Story:
    others = processes()
    node = Node.create(tmp_path_factory.mktemp("story") / "node")
    images = [ingested_image(node, number, 40 * number) for number in (1, 2)]

    def has_a_checkpoint(image: str) -> bool:
        found = node.ledger.generators.of_image(image)
        return bool(found) and (node.model_dir(found[0].id) / "checkpoint.pt").exists()

    interrupted = signalled(node, signal.SIGINT, lambda: has_a_checkpoint(images[0]))

    folders: list[Path] = []

    def second_has_a_scale() -> bool:
        if not has_a_checkpoint(images[1]):
            return False
        folders.append(Path(json.loads((node.root / "ray.json").read_text())["directory"]))
        return True

    killed = signalled(node, signal.SIGKILL, second_has_a_scale)
    first, second = (generator_of(node, image) for image in images)
    path = node.generator_path(first)
    first_generator = path.read_bytes(), path.stat().st_mtime_ns
    checkpoint = torch.load(node.model_dir(second) / "checkpoint.pt", weights_only=True)
    with training(node) as process:
        stdout, stderr = process.communicate(timeout=WAIT)
    assert process.returncode == 0, stderr
    return Story(
        node=node,
        interrupted=interrupted,
        killed=killed,
        finished=json.loads(stdout),
        checkpoint=checkpoint,
        first_generator=first_generator,
        generators=[first, second],
        folder=folders[0],
        others=others,
    )


@pytest.mark.ray
def test_an_interrupted_run_says_so_and_keeps_its_work(story):
    assert story.interrupted.code == 130
    assert story.interrupted.states == [GeneratorState.PLANNED, GeneratorState.PLANNED]


@pytest.mark.ray
def test_an_interrupted_run_leaves_no_process_behind(story):
    assert story.interrupted.left == []


@pytest.mark.ray
def test_a_killed_run_leaves_no_process_and_no_folder_behind(story):
    assert story.killed.code == -signal.SIGKILL
    assert story.killed.left == []
    assert not story.folder.exists()


@pytest.mark.ray
def test_the_same_command_after_a_kill_finishes_the_job(story):
    assert (story.finished["trained"], story.finished["waiting"]) == (2, 0)
    states = [record.state for record in story.node.ledger.generators.iterate()]
    assert states == [GeneratorState.TRAINED] * 2


@pytest.mark.ray
def test_nothing_is_lost_or_left_after_a_stop_and_a_kill(story):
    images = [record.id for record in story.node.ledger.records()]
    assert len(images) == 2
    assert_nothing_lost_or_left(story.node, images, story.others)


@pytest.mark.ray
def test_a_finished_generator_is_not_trained_again(story):
    first = story.generators[0]
    path = story.node.generator_path(first)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == story.first_generator
    assert [event.after for event in story.node.ledger.events(first)].count(GeneratorState.TRAINED) == 1


@pytest.mark.ray
def test_a_finished_scale_is_not_trained_again(story):
    trained = TrainedGenerator.load(story.node.generator_path(story.generators[1]))
    before = story.checkpoint["generators"]
    assert 1 <= len(before) <= len(trained.scales)
    for weights, scale in zip(before, trained.scales, strict=False):
        np.testing.assert_array_equal(weights["convolutions.0.weight"].numpy(), scale.blocks[0].weight)


@pytest.mark.ray
def test_a_resumed_run_plans_nothing_twice(story):
    assert [record.id for record in story.node.ledger.generators.iterate()] == story.generators


@pytest.mark.ray
def test_a_settled_node_is_not_trained_again(story):
    report = train_node(story.node, SETTINGS, engine=faulty_engine())
    assert (report.trained, report.seconds) == (2, 0.0)


# -- what does not need Ray


@pytest.fixture
def node(tmp_path) -> Node:
    return Node.create(tmp_path / "node")


def test_an_empty_node_is_an_error(node):
    with pytest.raises(NodeStateError, match="ingest"):
        train_node(node, SETTINGS)


def begun(node: Node, images: list[str], settings: TrainingSettings = SETTINGS) -> str:
    """A generator in training."""
    (generator,) = node.ledger.generators.plan([images])
    node.ledger.generators.begin(generator, settings.profile, settings.canonical)
    return generator


def test_unfinished_generators_are_not_trained_with_other_settings(node):
    generator = begun(node, [ingested_image(node, 1)], TrainingSettings.of("paper", iterations=7))
    ingested_image(node, 2)
    with pytest.raises(NodeStateError, match="--restart") as caught:
        train_node(node, SETTINGS)
    # What differs is named.
    assert "iterations 7" in caught.value.expected
    assert "profile paper" in caught.value.expected
    assert "iterations 2" in caught.value.found
    assert "beta1" not in str(caught.value)
    assert [record.state for record in node.ledger.generators.iterate()] == [GeneratorState.TRAINING]
    assert node.ledger.generators.get(generator).settings


def test_what_was_saved_but_not_recorded_is_recorded_and_its_z_star_destroyed(node):
    name = begun(node, [ingested_image(node, 1)])
    generator = tiny_generator()
    generator = dataclasses.replace(generator, spec=dataclasses.replace(generator.spec, id=name))
    (node.model_dir(name) / "checkpoint.pt").write_bytes(b"z*")
    generator.save(node.generator_path(name))
    (node.model_dir(name) / ".generator.safetensors.0123abcd.tmp").write_bytes(b"half")
    report = train_node(node, SETTINGS)
    assert report.trained == 1
    assert [path.name for path in node.model_dir(name).iterdir()] == ["generator.safetensors"]


def test_two_drivers_do_not_work_on_one_node(node):
    ingested_image(node, 1)
    script = (
        "import sys; from pathlib import Path; from hospital_node.node.node import Node\n"
        "with Node.open(Path(sys.argv[1])).write_lock(): print('locked', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(node.root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        other.stdout.readline()
        with pytest.raises(NodeStateError, match="at work on it"):
            train_node(node, SETTINGS)


def test_the_program_says_by_its_exit_code_that_generators_failed(node, capsys):
    (generator,) = node.ledger.generators.plan([[ingested_image(node, 1)]])
    node.ledger.generators.transition(generator, GeneratorState.FAILED, "no gradient")
    assert main(["train", "--node", str(node.root), "--format", "json"]) == 7
    printed = capsys.readouterr()
    assert json.loads(printed.out)["failed"] == {generator: "no gradient"}
    assert json.loads(printed.err.splitlines()[-1])["error"] == "PartialFailureError"


@pytest.mark.parametrize(
    "override",
    [["--iterations", "0"], ["--max-side", "10"], ["--actors", "0"], ["--group-size", "0"]],
)
def test_senseless_overrides_are_refused(node, override):
    try:
        code = main(["train", "--node", str(node.root), *override])
    except SystemExit as ended:  # by the parser itself
        code = int(str(ended.code))
    assert code == 2


@pytest.mark.parametrize(
    "options",
    [
        {"actors": 0},
        {"cpus_per_actor": 0},
        {"gpus": -0.5},
        {"max_attempts": 0},
        {"lanes": 0},
        {"heartbeat": 0},
    ],
)
def test_senseless_options_are_refused(options):
    with pytest.raises(UsageError):
        PoolOptions(**options)


def test_a_group_of_no_images_is_refused():
    with pytest.raises(UsageError, match="--group-size"):
        GroupOptions(0)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("bad\n  value"), "ValueError: bad value"),
        (
            OSError(28, "No space left on device", "/srv/node/models/x"),
            "OSError: [Errno 28] No space left on device: '<path>'",
        ),
        (RuntimeError("in ~/images/mueller.png, line 3"), "RuntimeError: in <path>, line 3"),
        (KeyError(), "KeyError"),
        (
            InputError(
                "/srv/mueller.png", expected="a mask", found="none in /srv/masks", next_step="add one"
            ),
            "InputError: expected a mask, found none in <path>",
        ),
    ],
)
def test_a_reason_is_one_line_without_paths(error, line):
    assert one_line(error) == line


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_torch_cannot_use_is_missed_before_any_training_fails():
    with pytest.raises(DependencyError, match="--gpus 0"):
        Trainer(SETTINGS, "cuda", 1, None).prepare()


def test_a_full_disk_is_no_fault_of_the_generator(tmp_path):
    def full(*_: Any, **__: Any) -> list[TrainedGenerator]:
        raise OSError(28, "No space left on device")

    assert Trainer(SETTINGS, "cpu", 1, full).train([job(tmp_path)]) == [DiskFull()]


def test_what_does_not_fit_into_the_devices_memory_is_told_apart(tmp_path):
    def short(*_: Any, **__: Any) -> list[TrainedGenerator]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    assert Trainer(SETTINGS, "cpu", 1, short).train([job(tmp_path)]) == [OutOfMemory()]


def test_a_worker_counts_its_steps_and_how_long_they_take(tmp_path):
    beats = []

    def stepping(jobs: Any, *_: Any, **given: Any) -> list[TrainedGenerator]:
        for _ in range(3):
            given["should_stop"]()
            beats.append(trainer.beat())
            time.sleep(0.02)
        jobs[0].on_progress("far")
        return [tiny_generator()]

    trainer = Trainer(SETTINGS, "cpu", 1, stepping)
    trainer.train([job(tmp_path)])
    assert [beat.steps for beat in beats] == [1, 2, 3]
    assert beats[0].step_seconds is None
    assert beats[2].step_seconds >= 0.02
    assert trainer.beat().progress == {"0" * 32: "far"}
    trainer.engine = lambda *_, **__: [tiny_generator()]
    trainer.train([job(tmp_path)])
    assert trainer.beat() == Beat(0, None)


def test_a_worker_asked_to_stop_begins_no_other_generator_of_its_batch(tmp_path):
    def stopping(*_: Any, **given: Any) -> list[TrainedGenerator]:
        trainer.stop()
        return [tiny_generator()]

    trainer = Trainer(SETTINGS, "cpu", 1, stopping)
    first, second = trainer.train([job(tmp_path), job(tmp_path)])
    assert isinstance(first, TrainedGenerator)
    assert second == Interrupted()


def job(folder: Path) -> LaneJob:
    layout = ChannelLayout(3, ("polyp",))
    return LaneJob([np.zeros((4, 28, 32), np.float32)], layout, "0" * 32, folder, 1)
