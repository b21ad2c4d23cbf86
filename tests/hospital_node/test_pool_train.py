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
from hospital_node.ledger.ledger import ImageState
from hospital_node.node.node import Node
from hospital_node.pool.actors import MALLOC, DiskFull, Job, Trainer, one_line
from hospital_node.pool.driver import generator_id_for, train_node
from hospital_node.pool.heartbeat import Beat
from hospital_node.pool.options import PoolOptions, TrainingReport
from hospital_node.pool.schedule import Interrupted, OutOfMemory
from hospital_node.singan.config import PROFILES
from hospital_node.singan.trained import TrainedGenerator
from sharekit.errors import DependencyError, InputError, NodeStateError, UsageError
from sharekit.generator.tensors import ChannelLayout
from sharekit.program.progress import Progress
from tests.hospital_node.aftermath import alive, assert_nothing_lost_or_left, processes
from tests.hospital_node.ingested import ingested_image
from tests.tiny import tiny_generator

CONFIG = dataclasses.replace(PROFILES["quick"], iterations=2, max_side=32)
WAIT = 240.0  # seconds
FINE, RAISES, KILLS_ITS_WORKER, KILLS_IT_ONCE, SLEEPS_ONCE, FREEZES_ONCE, DIES_MID_SCALE = range(0, 210, 30)
HEARTBEAT = 2.0  # seconds
LONGER = 40  # iterations of the image whose worker dies in the middle of a scale


def dying_mid_scale() -> Callable[..., TrainedGenerator]:
    """The engine, whose process is killed once, amid the first scale; `reports` tells its steps."""

    def train(tensors: Any, layout: Any, config: Any, **given: Any) -> TrainedGenerator:
        import os
        import signal

        from hospital_node.singan import training

        training.CHECKPOINT_SECONDS = 0.0
        log = given["checkpoint_dir"] / "reports"

        def report(progress: Any) -> None:
            given["on_progress"](progress)
            first = log.read_text() if log.exists() else ""
            log.write_text(f"{first}{progress.scale}:{progress.iteration} ")
            if progress.iteration == 20 and "0:20" not in first:
                os.kill(os.getpid(), signal.SIGKILL)

        return training.train(tensors, layout, config, **{**given, "on_progress": report})

    return train


def faulty_engine() -> Callable[..., TrainedGenerator]:
    """Trains in no time, but for images of some shades; a closure, which travels to the worker by value."""
    template = tiny_generator()
    dies_mid_scale = dying_mid_scale()

    def train(tensors: Any, layout: Any, config: Any, **given: Any) -> TrainedGenerator:
        import dataclasses
        import os
        import signal
        import time

        checkpoint = given["checkpoint_dir"] / "checkpoint.pt"
        shade = round((float(tensors[0][0, 0, 0]) + 1) * 127.5)
        if shade == DIES_MID_SCALE:
            return dies_mid_scale(tensors, layout, dataclasses.replace(config, iterations=LONGER), **given)
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
        spec = dataclasses.replace(template.spec, id=given["generator_id"])
        return dataclasses.replace(template, spec=spec, profile=given["profile"], config=config)

    return train


@dataclass(frozen=True)
class FaultyRun:
    node: Node
    report: TrainingReport
    images: dict[int, list[str]]  # shade -> identifiers
    sockets: list[sockets.Listener]
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
        "quick",
        CONFIG,
        PoolOptions(actors=2, heartbeat=HEARTBEAT),
        engine=faulty_engine(),
        on_progress=look,
    )
    return FaultyRun(node, report, images, listeners, others, environments)


@pytest.mark.ray
def test_one_broken_image_never_stops_the_others(faulty_run):
    states = {record.id: record.state for record in faulty_run.node.ledger.records()}
    assert {shade: {states[image] for image in images} for shade, images in faulty_run.images.items()} == {
        FINE: {ImageState.TRAINED},
        RAISES: {ImageState.FAILED},
        KILLS_ITS_WORKER: {ImageState.QUARANTINED},
        KILLS_IT_ONCE: {ImageState.TRAINED},
        SLEEPS_ONCE: {ImageState.TRAINED},
        FREEZES_ONCE: {ImageState.TRAINED},
        DIES_MID_SCALE: {ImageState.TRAINED},
    }
    assert faulty_run.report.trained == 6
    assert faulty_run.report.waiting == 0


@pytest.mark.ray
def test_what_failed_says_why_in_one_line_without_a_path(faulty_run):
    (failed,) = faulty_run.report.failed.values()
    (quarantined,) = faulty_run.report.quarantined.values()
    assert failed == "ValueError: no gradient in <path>"
    assert quarantined == "its worker died 3 times: crashed, killed, or out of memory"
    assert list(faulty_run.report.failed) == faulty_run.images[RAISES]


@pytest.mark.ray
def test_only_deaths_of_its_worker_count_against_an_image(faulty_run):
    attempts = {record.id: record.attempts for record in faulty_run.node.ledger.records()}
    by_shade = {shade: [attempts[i] for i in images] for shade, images in faulty_run.images.items()}
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
def test_a_hung_worker_is_killed_and_its_image_trained_by_another(faulty_run, shade):
    (image,) = faulty_run.images[shade]
    reasons = [event.reason for event in faulty_run.node.ledger.events(image)]
    assert sum("its worker died (1 of 3): hung, without a step for" in reason for reason in reasons) == 1


@pytest.mark.ray
def test_a_killed_worker_goes_on_from_its_checkpoint_in_the_middle_of_a_scale(faulty_run):
    (image,) = faulty_run.images[DIES_MID_SCALE]
    reports = (faulty_run.node.model_dir(image) / "reports").read_text().split()
    # The step after the last checkpoint is done again, and none before it.
    assert reports[:5] == ["0:10", "0:20", "0:20", "0:30", "0:40"]
    assert len(reports) == len(set(reports)) + 1


@pytest.mark.ray
def test_z_star_is_gone_once_an_image_is_settled(faulty_run):
    assert [path.name for path in (faulty_run.node.root / "models").rglob("*.pt")] == []


@pytest.mark.ray
def test_a_trained_generator_is_the_one_that_the_ledger_names(faulty_run):
    for image in (*faulty_run.images[FINE], *faulty_run.images[KILLS_IT_ONCE]):
        generator = TrainedGenerator.load(faulty_run.node.generator_path(image))
        assert generator.spec.id == faulty_run.node.ledger.get(image).generator_id
        assert (generator.profile, generator.config) == ("quick", CONFIG)


@pytest.mark.ray
def test_all_sockets_stay_on_loopback_while_workers_train(faulty_run):
    workers = {socket.pid for socket in faulty_run.sockets if socket.process.startswith("ray::Trainer")}
    assert workers
    assert all(socket.on_loopback for socket in faulty_run.sockets)


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
    states: list[ImageState]


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
        process.returncode, [child.pid for child in left], [record.state for record in node.ledger.records()]
    )


@dataclass(frozen=True)
class Story:
    """The same command three times: stopped by SIGINT, killed by SIGKILL, left alone."""

    node: Node
    interrupted: Ended
    killed: Ended
    finished: dict[str, Any]
    checkpoint: dict[str, Any]
    """Of the second image, when the run was killed."""
    first_generator: tuple[bytes, int]
    """Of the first image, when the run was killed: bytes and time of change."""
    generator_ids: list[str | None]
    folder: Path
    """Ray's, of the killed run."""
    others: list[psutil.Process]
    """Before the first run."""


@pytest.fixture(scope="module")
def story(tmp_path_factory) -> Story:
    others = processes()
    node = Node.create(tmp_path_factory.mktemp("story") / "node")
    first, second = (ingested_image(node, number, 40 * number) for number in (1, 2))
    interrupted = signalled(node, signal.SIGINT, (node.model_dir(first) / "checkpoint.pt").exists)

    folders: list[Path] = []

    def second_has_a_scale() -> bool:
        if not (node.model_dir(second) / "checkpoint.pt").exists():
            return False
        folders.append(Path(json.loads((node.root / "ray.json").read_text())["directory"]))
        return True

    killed = signalled(node, signal.SIGKILL, second_has_a_scale)
    path = node.generator_path(first)
    first_generator = path.read_bytes(), path.stat().st_mtime_ns
    checkpoint = torch.load(node.model_dir(second) / "checkpoint.pt", weights_only=True)
    generator_ids = [record.generator_id for record in node.ledger.records()]
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
        generator_ids=generator_ids,
        folder=folders[0],
        others=others,
    )


@pytest.mark.ray
def test_an_interrupted_run_says_so_and_keeps_its_work(story):
    assert story.interrupted.code == 130
    assert story.interrupted.states == [ImageState.INGESTED, ImageState.INGESTED]


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
    assert [record.state for record in story.node.ledger.records()] == [ImageState.TRAINED] * 2


@pytest.mark.ray
def test_nothing_is_lost_or_left_after_a_stop_and_a_kill(story):
    images = [record.id for record in story.node.ledger.records()]
    assert len(images) == 2
    assert_nothing_lost_or_left(story.node, images, story.others)


@pytest.mark.ray
def test_a_finished_image_is_not_trained_again(story):
    first = story.node.ledger.records()[0]
    path = story.node.generator_path(first.id)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == story.first_generator
    assert [event.after for event in story.node.ledger.events(first.id)].count(ImageState.TRAINED) == 1


@pytest.mark.ray
def test_a_finished_scale_is_not_trained_again(story):
    second = story.node.ledger.records()[1]
    trained = TrainedGenerator.load(story.node.generator_path(second.id))
    before = story.checkpoint["generators"]
    assert 1 <= len(before) <= len(trained.scales)
    for weights, scale in zip(before, trained.scales, strict=False):
        np.testing.assert_array_equal(weights["convolutions.0.weight"].numpy(), scale.blocks[0].weight)


@pytest.mark.ray
def test_a_resumed_image_keeps_its_generator_identifier(story):
    assert [record.generator_id for record in story.node.ledger.records()] == story.generator_ids
    assert None not in story.generator_ids


@pytest.mark.ray
def test_a_settled_node_is_not_trained_again(story):
    report = train_node(story.node, "quick", CONFIG, engine=faulty_engine())
    assert (report.trained, report.seconds) == (2, 0.0)


# -- what does not need Ray


@pytest.fixture
def node(tmp_path) -> Node:
    return Node.create(tmp_path / "node")


def test_an_empty_node_is_an_error(node):
    with pytest.raises(NodeStateError, match="ingest"):
        train_node(node, "quick", CONFIG)


def test_unfinished_images_are_not_trained_with_other_settings(node):
    image = ingested_image(node, 1)
    node.ledger.transition(image, ImageState.TRAINING, "training; profile paper, settings 0123456789ab")
    with pytest.raises(NodeStateError, match="--restart"):
        train_node(node, "quick", CONFIG)
    assert node.ledger.get(image).state is ImageState.TRAINING


def test_what_was_saved_but_not_recorded_is_recorded_and_its_z_star_destroyed(node):
    image = ingested_image(node, 1)
    generator = tiny_generator()
    node.ledger.transition(
        image, ImageState.TRAINING, "training; profile quick, settings 0", generator_id=generator.spec.id
    )
    (node.model_dir(image) / "checkpoint.pt").write_bytes(b"z*")
    generator.save(node.generator_path(image))
    (node.model_dir(image) / ".generator.safetensors.0123abcd.tmp").write_bytes(b"half")
    report = train_node(node, "quick", CONFIG)
    assert report.trained == 1
    assert [path.name for path in node.model_dir(image).iterdir()] == ["generator.safetensors"]


def test_two_drivers_do_not_work_on_one_node(node):
    ingested_image(node, 1)
    script = (
        "import sys; from pathlib import Path; from hospital_node.node.node import Node\n"
        "with Node.open(Path(sys.argv[1])).training_lock(): print('locked', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(node.root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        other.stdout.readline()
        with pytest.raises(NodeStateError, match="at work on it"):
            train_node(node, "quick", CONFIG)


def test_the_program_says_by_its_exit_code_that_images_failed(node, capsys):
    image = ingested_image(node, 1)
    node.ledger.transition(image, ImageState.FAILED, "no gradient")
    assert main(["train", "--node", str(node.root), "--format", "json"]) == 7
    printed = capsys.readouterr()
    assert json.loads(printed.out)["failed"] == {image: "no gradient"}
    assert json.loads(printed.err.splitlines()[-1])["error"] == "PartialFailureError"


@pytest.mark.parametrize("override", [["--iterations", "0"], ["--max-side", "10"], ["--actors", "0"]])
def test_senseless_overrides_are_refused(node, override):
    assert main(["train", "--node", str(node.root), *override]) == 2


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
def test_a_gpu_that_torch_cannot_use_is_missed_before_any_image_fails():
    with pytest.raises(DependencyError, match="--gpus 0"):
        Trainer("cuda", 1, None).prepare()


def test_an_image_sent_back_is_trained_into_another_generator(node):
    image = ingested_image(node, 1)
    generator = tiny_generator()
    node.ledger.transition(image, ImageState.TRAINING, generator_id=generator.spec.id)
    assert generator_id_for(node, image) == generator.spec.id
    node.model_dir(image)
    generator.save(node.generator_path(image))
    assert generator_id_for(node, image) != generator.spec.id


def test_a_full_disk_is_no_fault_of_the_image(tmp_path):
    def full(*_: Any, **__: Any) -> TrainedGenerator:
        raise OSError(28, "No space left on device")

    assert Trainer("cpu", 1, full).train([job(tmp_path)]) == [DiskFull()]


def test_what_does_not_fit_into_the_devices_memory_is_told_apart(tmp_path):
    def short(*_: Any, **__: Any) -> TrainedGenerator:
        raise torch.OutOfMemoryError("CUDA out of memory")

    assert Trainer("cpu", 1, short).train([job(tmp_path)]) == [OutOfMemory()]


def test_a_worker_counts_its_steps_and_how_long_they_take(tmp_path):
    beats = []

    def stepping(*_: Any, **given: Any) -> TrainedGenerator:
        for _ in range(3):
            given["should_stop"]()
            beats.append(trainer.beat())
            time.sleep(0.02)
        given["on_progress"]("far")
        return tiny_generator()

    trainer = Trainer("cpu", 1, stepping)
    trainer.train([job(tmp_path)])
    assert [beat.steps for beat in beats] == [1, 2, 3]
    assert beats[0].step_seconds is None
    assert beats[2].step_seconds >= 0.02
    assert trainer.beat().progress == {"image": "far"}
    trainer.engine = lambda *_, **__: tiny_generator()
    trainer.train([job(tmp_path)])
    assert trainer.beat() == Beat(0, None)


def test_a_worker_asked_to_stop_begins_no_other_image_of_its_group(tmp_path):
    def stopping(*_: Any, **given: Any) -> TrainedGenerator:
        trainer.stop()
        return tiny_generator()

    trainer = Trainer("cpu", 1, stopping)
    first, second = trainer.train([job(tmp_path), job(tmp_path)])
    assert isinstance(first, TrainedGenerator)
    assert second == Interrupted()


def job(folder: Path) -> Job:
    layout = ChannelLayout(3, ("polyp",))
    return Job("image", np.zeros((4, 28, 32), np.float32), layout, CONFIG, "0" * 32, "quick", folder, 1)
