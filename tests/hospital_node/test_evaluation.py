"""Evaluation of strangers' models: each way of asking too much, or of misbehaving, is one test."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from consumer.submission.canonical import canonical_bytes
from hospital_node.cli import main
from hospital_node.evaluation import evaluate as evaluate_module
from hospital_node.evaluation import predict as predict_module
from hospital_node.evaluation.evaluate import evaluate
from hospital_node.evaluation.predict import open_predictor
from hospital_node.evaluation.write_report import write_report
from hospital_node.node.node import Node
from sharekit.errors import (
    INTERRUPTED_EXIT_CODE,
    ExposureError,
    InputError,
    NodeStateError,
    PolicyError,
    SharekitError,
    VerificationError,
)
from sharekit.intervals import Interval
from sharekit.program.progress import Progress, ProgressCallback
from sharekit.program.sandbox import Limits, SandboxError, open_sandbox
from sharekit.segmenter.evaluation_report import read_report
from sharekit.segmenter.metrics import METRICS, ImageScores, mean_scores, score_image
from sharekit.segmenter.submission import SignedSubmission, write_submission
from sharekit.signing.keys import generate
from sharekit.storage import files
from tests.hospital_node.held_out import NAME, node_with_hold_out, register
from tests.tiny_segmenter import (
    chain,
    contract,
    memory_hog,
    nan_for,
    not_a_number,
    segmenter,
    shape_by_content,
    submission_of,
)

KEY = generate()
CONTRACT = contract()
IMAGES = 20
QUIET: dict[str, Any] = {
    "epsilon": 1000.0,
    "submitter_epsilon": 1e6,
    "hold_out_epsilon": 1e6,
    "images_for_all_metrics": IMAGES,
}
"""A policy under which all metrics are told, with noise of a scale of 0.0003."""


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    node = node_with_hold_out(tmp_path_factory.mktemp("held-out"), IMAGES)
    node.ledger.close()
    return node.root


@pytest.fixture
def node(held_out: Path, tmp_path: Path) -> Node:
    """A copy of one node with a hold-out, where `KEY` is registered."""
    root = tmp_path / "node"
    shutil.copytree(held_out, root)
    root.chmod(0o700)
    node = Node.open(root)
    register(node, KEY)
    return node


def model_processes() -> list[psutil.Process]:
    """Processes of this one that run a submitted model."""
    return [each for each in psutil.Process().children() if predict_module.PROGRAM[-1] in each.cmdline()]


def fails(node: Node, signed: SignedSubmission, found: str, *, spent: int) -> VerificationError:
    """The evaluation ends with an error of that submission, and has cost `spent`."""
    with pytest.raises(VerificationError, match=found) as caught:
        evaluate(node, signed)
    assert node.ledger.evaluations.count() == spent
    assert node.ledger.evaluations.report(signed.submission.sha256) is None
    assert_tells_nothing(str(caught.value), node)
    return caught.value


def assert_tells_nothing(text: str, node: Node) -> None:
    for record in node.ledger.iterate():
        assert record.id not in text
        assert record.content_key not in text
        assert Path(record.source_image).stem not in text
    assert NAME not in text
    assert str(node.root) not in text
    assert "Traceback" not in text


# -- what a report says


def test_the_report_holds_the_means_that_the_node_would_compute_itself(node: Node) -> None:
    register(node, KEY, **QUIET)
    report = evaluate(node, submission_of(KEY)).report
    scores = []
    for record in node.ledger.iterate():
        pair = node.load_pair(record.id)
        logits = CONTRACT.prepare(pair.image).sum(axis=0)
        probability = CONTRACT.probabilities(logits[None, None])[0, 0]
        scores.append(score_image(probability, CONTRACT.prepare_mask(pair.masks["foreground"])))
    expected = mean_scores(scores)
    assert report.images == IMAGES
    for metric, interval in report.classes["foreground"].items():
        assert interval.mean == pytest.approx(expected[metric].mean, abs=0.005 + 0.005)
        assert interval.low <= interval.mean <= interval.high
        assert interval.count == IMAGES
        assert [round(value, 2) for value in (interval.mean, interval.low, interval.high)] == [
            interval.mean,
            interval.low,
            interval.high,
        ]
    assert report.classes["foreground"]["iou"].mean > 0.5


def test_a_report_holds_no_name_no_identifier_and_no_figure_of_an_image(node: Node, tmp_path: Path) -> None:
    register(node, KEY, **QUIET)
    report = evaluate(node, submission_of(KEY)).report
    text = files.dump_json(report.to_statement().to_json()).decode()
    assert_tells_nothing(text, node)
    figures = [float(number) for number in re.findall(r"(?<![\w\"])\d+\.\d+", text)]
    assert len(figures) == 6 * 3 + 1
    assert QUIET["epsilon"] in figures
    assert all(round(figure, 2) == figure for figure in figures)


def test_a_report_does_not_tell_whether_one_picture_makes_a_mean_or_all_of_them(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that finds one stored picture alone, and one that is bad at all, with the same means."""
    register(node, KEY, **QUIET)

    def report(scores: list[float]) -> dict:
        left = iter(scores)
        monkeypatch.setattr(
            evaluate_module, "score_image", lambda *_, **__: ImageScores(*[next(left)] * len(METRICS))
        )
        return dict(evaluate(node, submission_of(KEY, purpose=str(scores))).report.classes)

    one = report([1.0] + [0.0] * (IMAGES - 1))
    assert one == report([1 / IMAGES] * IMAGES)
    assert one["foreground"]["recall"] == Interval(0.05, 0.0, 0.15, IMAGES)


def test_a_report_with_a_file_name_in_it_is_not_written(node: Node, tmp_path: Path) -> None:
    report = evaluate(node, submission_of(KEY)).report
    told = dataclasses.replace(report, hospital=f"St. {NAME}-003")
    with pytest.raises(ExposureError, match="name from the hospital"):
        write_report(node, told, KEY, tmp_path / "report.json")
    assert not (tmp_path / "report.json").exists()


def test_the_written_report_is_verified_with_the_release_key(node: Node, tmp_path: Path) -> None:
    release = generate()
    report = evaluate(node, submission_of(KEY)).report
    write_report(node, report, release, tmp_path / "report.json")
    assert read_report(tmp_path / "report.json", [release.public]) == report
    with pytest.raises(VerificationError):
        read_report(tmp_path / "report.json", [KEY.public])


def test_masks_without_a_class_name_are_the_same_class_on_both_sides(node: Node) -> None:
    register(node, KEY, **QUIET)
    unnamed = contract(("mask",))
    named = evaluate(node, submission_of(KEY)).report.classes["foreground"]
    (again,) = evaluate(node, submission_of(KEY, segmenter(unnamed), unnamed)).report.classes.items()
    assert again[0] == "mask"
    for metric, interval in again[1].items():
        assert interval.mean == pytest.approx(named[metric].mean, abs=0.011)


# -- who may ask, and how often


def test_an_unregistered_submitter_is_refused(node: Node) -> None:
    with pytest.raises(PolicyError, match="a registered submitter"):
        evaluate(node, submission_of(generate()))
    assert node.ledger.evaluations.count() == 0


def test_too_few_hold_out_images_are_refused(node: Node) -> None:
    register(node, KEY, min_images=IMAGES + 1)
    with pytest.raises(PolicyError, match=f"at least {IMAGES + 1} images"):
        evaluate(node, submission_of(KEY))
    assert node.ledger.evaluations.count() == 0


def test_a_class_that_the_hold_out_does_not_have_is_refused(node: Node) -> None:
    made_for = contract(("foreground", "instrument"))
    with pytest.raises(PolicyError, match="instrument"):
        evaluate(node, submission_of(KEY, segmenter(made_for), made_for))
    assert node.ledger.evaluations.count() == 0


def test_two_names_of_one_class_get_no_two_predictions_for_one_evaluation(node: Node) -> None:
    made_for = contract(("mask", "foreground"))
    with pytest.raises(PolicyError, match="the same masks"):
        evaluate(node, submission_of(KEY, segmenter(made_for), made_for))
    assert node.ledger.evaluations.count() == 0


def test_a_spent_budget_is_refused(node: Node) -> None:
    register(node, KEY, budget=1)
    evaluate(node, submission_of(KEY, purpose="first"))
    with pytest.raises(PolicyError, match="this submitter"):
        evaluate(node, submission_of(KEY, purpose="second"))
    assert node.ledger.evaluations.count() == 1


def test_the_budget_of_the_hold_out_is_shared_by_all_submitters(node: Node) -> None:
    other = generate()
    register(node, other, hold_out_budget=1)
    evaluate(node, submission_of(other))
    register(node, KEY, hold_out_budget=1)
    with pytest.raises(PolicyError, match="all submitters together"):
        evaluate(node, submission_of(KEY))


def test_the_same_submission_gets_its_stored_report_and_spends_nothing(node: Node) -> None:
    register(node, KEY, budget=1)
    first = evaluate(node, submission_of(KEY))
    again = evaluate(node, submission_of(KEY))
    assert (first.repeated, again.repeated) == (False, True)
    assert again.report == first.report
    assert again.spent == 1


def kill_at(number: int) -> ProgressCallback:
    """A callback that kills the model's process before image `number` goes to it."""

    def kill(event: Progress) -> None:
        if event.done == number:
            (child,) = model_processes()
            child.kill()

    return kill


def test_a_process_killed_half_way_costs_one_image_and_one_evaluation(node: Node) -> None:
    done = evaluate(node, submission_of(KEY), on_progress=kill_at(3))
    assert done.process is not None
    assert (done.process.failures, done.spent) == (1, 1)
    assert model_processes() == []
    assert evaluate(node, submission_of(KEY, purpose="another")).spent == 2


def test_the_budget_is_spent_when_the_node_is_interrupted(node: Node) -> None:
    def interrupt(event: Progress) -> None:
        if event.done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(node, submission_of(KEY), on_progress=interrupt)
    assert node.ledger.evaluations.count() == 1
    assert model_processes() == []


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_an_interrupted_evaluation_says_what_it_has_cost(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """To run the same command again does not go on: it costs another evaluation."""
    monkeypatch.setattr(predict_module.Predictor, "answer", interrupted)
    assert main(command(node, tmp_path)) == INTERRUPTED_EXIT_CODE
    told = capsys.readouterr().err
    assert "1 of 5 of this submitter" in told
    assert "costs another one" in told
    assert "go on" not in told


def test_an_interruption_before_the_first_image_costs_nothing(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(predict_module.Predictor, "load", interrupted)
    assert main(command(node, tmp_path)) == INTERRUPTED_EXIT_CODE
    assert "run the same command again" in capsys.readouterr().err
    assert node.ledger.evaluations.count() == 0


def test_a_failure_after_the_first_image_says_what_it_has_cost(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(event: Progress) -> None:
        kill_at(3)(event)
        if event.done == 3:
            monkeypatch.setattr(predict_module, "PROGRAM", ("-c", "pass"))

    with pytest.raises(VerificationError) as caught:
        evaluate(node, submission_of(KEY), on_progress=fail)
    assert "1 of 5 of this submitter; to ask again costs another one" in caught.value.next_step
    assert node.ledger.evaluations.count() == 1


def test_a_terminated_evaluation_says_what_it_has_cost(node: Node, tmp_path: Path) -> None:
    """As a service manager ends it."""
    script = (
        "import os, sys\n"
        "from hospital_node.evaluation import predict\n"
        f"predict.Predictor.answer = lambda *_: os.kill(os.getpid(), {int(signal.SIGTERM)})\n"
        "from hospital_node.cli import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, *command(node, tmp_path)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == INTERRUPTED_EXIT_CODE
    assert "1 of 5 of this submitter" in ended.stderr
    assert node.ledger.evaluations.count() == 1


# -- what is found before anything is spent


def command(node: Node, folder: Path, out: str = "report.json") -> list[str]:
    """`hospital-node evaluate`, of a submission by `KEY`."""
    signed = submission_of(KEY)
    write_submission(folder / "submission", signed.submission, signed.model, KEY)
    KEY.save(folder / "release.key")
    words = ("evaluate", folder / "submission", "--node", node.root, "--key", folder / "release.key")
    return [*map(str, words), "--out", str(folder / out)]


@pytest.mark.parametrize("name", ["image.png", "mask-foreground.png"])
@pytest.mark.parametrize(("damage", "error"), [(Path.unlink, InputError), (None, NodeStateError)])
def test_a_damaged_picture_costs_nothing(node: Node, name: str, damage, error: type[SharekitError]) -> None:
    """The last one: half-way through, the evaluation would be spent."""
    path = node.image_dir(node.ledger.records()[-1].id) / name
    if damage is not None:
        damage(path)
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(error):
        evaluate(node, submission_of(KEY))
    assert node.ledger.evaluations.count() == 0


def test_a_hospital_whose_name_no_report_may_hold_costs_nothing(node: Node) -> None:
    node.hospital = "St.\u200cTest"
    with pytest.raises(NodeStateError, match="hospital"):
        evaluate(node, submission_of(KEY))
    assert node.ledger.evaluations.count() == 0


def test_a_report_in_a_missing_folder_costs_nothing(
    node: Node, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(node, tmp_path, "missing/report.json")) == InputError.exit_code
    assert "a folder that can be written to" in capsys.readouterr().err
    assert node.ledger.evaluations.count() == 0


# -- hostile models


def test_a_nan_is_an_error_and_gives_no_partial_figures(node: Node) -> None:
    fails(node, submission_of(KEY, not_a_number()), "NaN or an infinity", spent=0)


def test_an_output_of_another_shape_is_an_error(node: Node) -> None:
    fails(node, submission_of(KEY, shape_by_content()), "other_shape", spent=0)


def test_a_memory_hog_fails_by_its_limit(node: Node) -> None:
    register(node, KEY, limits=Limits(memory_mib=4096))
    fails(node, submission_of(KEY, memory_hog()), "out_of_memory|ended by itself", spent=0)


def test_a_model_that_fails_on_one_picture_alone_does_not_tell_by_an_error(node: Node) -> None:
    """Otherwise an answer without noise would be one bit: whether that picture is in the hold-out."""
    register(node, KEY, **QUIET)
    record = node.ledger.records()[7]
    poisoned = CONTRACT.prepare(node.load_pair(record.id).image)
    done = evaluate(node, submission_of(KEY, nan_for(poisoned)))
    assert done.process is not None
    assert done.process.failures == 1
    sound = evaluate(node, submission_of(KEY)).report.classes["foreground"]["iou"].mean
    told = done.report.classes["foreground"]["iou"].mean
    assert sound - 1 / IMAGES - 0.011 <= told <= sound + 0.011
    assert_tells_nothing(json.dumps(done.report.to_statement().to_json()), node)


def test_a_model_off_the_policy_is_refused_before_it_sees_an_image(node: Node) -> None:
    attacked = segmenter()
    attacked.graph.node[0].op_type = "RandomNormalLike"
    del attacked.graph.node[0].attribute[:]
    error = fails(node, submission_of(KEY, attacked), "RandomNormalLike", spent=0)
    assert "one of the operators" in error.expected


def slow(limits: Limits) -> str:
    """What is found when a model of hours of work runs within `limits`."""
    made_for = contract(size=[256, 256])
    model = canonical_bytes(chain(3000), made_for)
    with (
        pytest.raises(VerificationError) as caught,
        open_predictor(model, made_for, limits, threads=1) as predictor,
    ):
        predictor.predict(np.zeros((3, *made_for.size), np.float32))
    return caught.value.found


def test_a_model_without_end_is_killed_when_its_time_is_over() -> None:
    started = time.monotonic()
    assert slow(Limits(wall_seconds=4)) == "not done within 4 seconds"
    assert time.monotonic() - started < 20
    assert model_processes() == []


def test_a_model_without_end_is_killed_when_its_processor_time_is_over() -> None:
    assert "processor time" in slow(Limits(cpu_seconds=4))


# -- the process

PROBE = """
import os, resource, socket, sys
from sharekit.program.confinement import ALL, Layer, confine
place = [b"1" if os.getcwd() == "/" else b"0", b"1" if os.getsid(0) == os.getpid() else b"0"]
confine(*map(int, sys.argv[1:3]), ALL)
def refused(action):
    try:
        action()
    except OSError:
        return b"1"
    return b"0"
answers = [
    refused(lambda: open("/etc/hostname")),
    refused(socket.socket),
    refused(os.pipe),
    *place,
    b"1" if "SECRET" not in os.environ else b"0",
    b"1" if resource.getrlimit(resource.RLIMIT_AS)[0] == int(sys.argv[1]) * 2**20 else b"0",
    b"1" if resource.getrlimit(resource.RLIMIT_FSIZE) == (0, 0) else b"0",
]
sys.stdout.buffer.write(b"".join(answers))
"""


def test_the_process_has_no_files_no_sockets_no_environment_and_its_own_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SECRET", "x")
    with open_sandbox(["-c", PROBE], Limits(memory_mib=2048)) as sandbox:
        assert sandbox.receive(8) == b"1" * 8


def test_what_the_process_started_dies_with_it(tmp_path: Path) -> None:
    program = (
        "import os, sys, time, subprocess; child = subprocess.Popen(['sleep', '60']);"
        "sys.stdout.buffer.write(child.pid.to_bytes(4)); sys.stdout.flush(); time.sleep(60)"
    )
    with open_sandbox(["-c", program], Limits()) as sandbox:
        grandchild = psutil.Process(int.from_bytes(sandbox.receive(4)))
        assert grandchild.name() == "sleep"
    deadline = time.monotonic() + 10  # a signal takes a moment on a busy machine
    while time.monotonic() < deadline and lives(grandchild):
        time.sleep(0.01)
    assert not lives(grandchild)


def lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


LEAVES = (
    PROBE.replace("ALL)", "Layer.LIMITS)")
    .replace("answers =", "if os.fork():\n    os._exit(0)\nos.setsid()\nanswers =", 1)
    .replace("*place", 'place[0], b"1" if os.getsid(0) == os.getpid() else b"0"')
)


def test_a_process_that_leaves_its_session_is_as_limited_as_before() -> None:
    """Where system calls are not filtered, it outlives the evaluation; it can read and tell no more."""
    with open_sandbox(["-c", LEAVES], Limits(memory_mib=2048)) as sandbox:
        assert sandbox.receive(8) == b"1" * 8


@pytest.mark.parametrize("code", [0, 3, 77])
def test_a_process_says_nothing_by_its_exit_code(code: int) -> None:
    with (
        pytest.raises(SandboxError) as caught,
        open_sandbox(["-c", f"import sys; sys.exit({code})"], Limits()) as sandbox,
    ):
        sandbox.receive(1)
    assert str(caught.value) == "the process ended by itself"


def test_a_process_that_reads_nothing_does_not_hold_the_node_up() -> None:
    with (
        pytest.raises(SandboxError, match="not done within 1 seconds"),
        open_sandbox(["-c", "import time; time.sleep(60)"], Limits(wall_seconds=1)) as sandbox,
    ):
        sandbox.send(bytes(2**24))


TAKEN_OVER = """
import sys
from hospital_node.evaluation.wire import LENGTHS
source, sink = sys.stdin.buffer, sys.stdout.buffer
sink.write(bytes([31]))
sink.flush()
source.read(sum(LENGTHS.unpack(source.read(LENGTHS.size))))
"""


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ("sink.write(bytes([99]))", "an answer in the node's own form"),
        ("sink.write(b'')", "within the node's limits"),
        ("sink.write(bytes([2]) + b'x' * 10)", "within the node's limits"),
        ("sink.write(bytes([1])); sink.flush(); source.read(9216); sink.write(bytes([1, 0, 0]))", "limits"),
        (
            "sink.write(bytes([1])); sink.flush(); source.read(9216);"
            "sink.write(bytes([2]) + b'images/mueller.png'.ljust(1000, bytes(1)))",
            "loads and runs",
        ),
        (
            "sink.write(bytes([1])); sink.flush(); source.read(9216);"
            "sink.write(bytes([1]) + b'\\xff' * 3072)",
            "finite predictions",
        ),
    ],
    ids=["unknown status", "silence", "half a text", "half an image", "text after an image", "nan"],
)
def test_a_process_that_was_taken_over_can_say_nothing_but_numbers(
    monkeypatch: pytest.MonkeyPatch, answers: str, expected: str
) -> None:
    monkeypatch.setattr(predict_module, "PROGRAM", ("-c", TAKEN_OVER + answers))
    with (
        pytest.raises(VerificationError, match=expected) as caught,
        open_predictor(b"model", CONTRACT, Limits(), threads=1) as predictor,
    ):
        predictor.predict(np.zeros((3, *CONTRACT.size), np.float32))
    assert "mueller" not in str(caught.value)


def test_the_masks_never_go_to_the_process(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but the contract, the model and the prepared images is ever written to its pipe."""
    sent: list[bytes] = []
    send = predict_module.Sandbox.send
    monkeypatch.setattr(
        predict_module.Sandbox, "send", lambda self, data: (sent.append(bytes(data)), send(self, data))[1]
    )
    signed = submission_of(KEY)
    evaluate(node, signed)
    images = {CONTRACT.prepare(node.load_pair(record.id).image).tobytes() for record in node.ledger.iterate()}
    assert sent[1] == signed.model
    assert len(sent) == 3 + IMAGES
    assert sent[2] == CONTRACT.prepare(np.full((*CONTRACT.size, 3), predict_module.GREY, np.uint8)).tobytes()
    assert set(sent[3:]) == images
