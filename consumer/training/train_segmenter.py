"""Train a segmenter with checkpoints, export it to ONNX, check the file and write it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from consumer.torch_support import choose_device, define_missing_operators
from consumer.training import export_segmenter
from consumer.training.augmentation import augmentation
from consumer.training.network import EncoderWeights, build_network, try_batch
from consumer.training.scored_set import ScoredSet
from consumer.training.segmenter_checkpoint import CheckpointFolder
from consumer.training.slow_updates import SlowUpdates
from consumer.training.task import Task
from consumer.training.training_settings import NO_WEIGHTS
from sharekit.errors import UsageError
from sharekit.program.interruption import stop_on_signal
from sharekit.program.progress import Progress, ProgressCallback, ignore
from sharekit.segmenter.metrics import SMOOTHING
from sharekit.storage import files

if TYPE_CHECKING:
    from consumer.training.data import Pairs
    from consumer.training.loop import Loop, Validation
    from sharekit.segmenter.metrics import ImageScores

SAVE_EVERY = 60.0  # seconds
SUFFIX = ".onnx"


@dataclass(frozen=True)
class TrainingResult:
    """A trained segmenter: its task, its file, and its scores on the validation images."""

    task: Task
    out: Path
    sha256: str  # digest of the file
    seconds: float
    """Working time, over all runs of the training."""
    device: str
    threads: int
    best: Validation
    last: Validation
    operators: Mapping[str, int]
    """Operator types of the ONNX file, with their counts."""
    parity: float
    """Largest difference of a probability between ONNX Runtime and torch."""
    hospitals: Mapping[str, Validation] = field(default_factory=dict)
    """Scores of the written weights on each hospital's synthetic images, where the data names several."""
    tests: tuple[ScoredSet, ...] = ()

    def to_json(self) -> dict[str, Any]:
        task, schedule = self.task, self.task.schedule
        return {
            **task.settings.to_json(),
            "encoder_weights": task.weights.to_json(),
            "contract": task.contract.to_json(),
            "images": len(task.training),
            "synthetic_images": int(task.training.synthetic.sum()),
            "validation_images": len(task.validation),
            "updates": schedule.updates,
            "decay_after": schedule.decay_after,
            "out": str(self.out),
            "sha256": self.sha256,
            "seconds": round(self.seconds, 1),
            "device": self.device,
            "threads": self.threads,
            "best": self.best.to_json(),
            "last": self.last.to_json(),
            "tests": [each.to_json() for each in self.tests],
            "operators": dict(self.operators),
            "parity": self.parity,
            "held_out_hospital": task.held_out,
            "hospitals": {
                name: {"held_out": name == task.held_out, "images": len(scores.scores), **scores.to_json()}
                for name, scores in self.hospitals.items()
            },
        }


def check_out(out: Path) -> None:
    """Refuse a file name that cannot be written.

    Raises:
        UsageError: the name does not end in `.onnx`.
        InputError: a file of this name exists.
    """
    if out.suffix.lower() != SUFFIX:
        raise UsageError(
            f"--out {out}",
            expected="a file name that ends in .onnx: the model is written in this form alone",
            found=out.suffix or "no ending",
            next_step=f"use --out {out.with_suffix(SUFFIX)}",
        )
    files.refuse_existing(out)


def train_segmenter(
    task: Task,
    out: Path,
    *,
    device: str = "auto",
    threads: int = 1,
    save_every: float = SAVE_EVERY,
    on_progress: ProgressCallback = ignore,
    on_warning: Callable[[str], None] = lambda _: None,
) -> TrainingResult:
    """Train, and write the weights with the best validation IoU as a checked ONNX file.

    An interrupted or killed training resumes from its checkpoint next to `out`. On the CPU, with the same
    number of threads, it ends with the same bytes as a training that was never stopped.

    Args:
        device: `auto`, `cpu` or `cuda`.
        threads: threads of torch on the CPU.
        save_every: seconds between checkpoints.
        on_progress: called after every update.
        on_warning: called once, with a message for the user, when an update takes far longer than others.

    Raises:
        UsageError: `out` does not end in `.onnx`, or the network cannot take this size or batch, or cannot be
            exported.
        InputError: `out` exists, the checkpoint is of another training, or the training diverges.
        KeyboardInterrupt: after SIGINT or SIGTERM, once the state is saved.
    """
    check_out(out)
    define_missing_operators()
    import torch

    from consumer.training.loop import VALIDATION_BATCH

    device = choose_device(device)
    torch.set_num_threads(threads)
    folder = CheckpointFolder.beside(out, task.fingerprint)
    with torch.random.fork_rng(devices=[]):
        loop, seconds = _begin(task, folder, device)
        seconds += _run(loop, folder, seconds, save_every, threads, on_progress, on_warning)
        last = [loop.scores(pairs) for pairs in task.tests]
        network = loop.best_network()
        hospitals = _score_hospitals(task, loop)
        tests = tuple(_scored(loop, *each) for each in zip(task.tests, last, strict=True))
    data = export_segmenter.export_onnx(network, task.contract)
    images = task.validation.images[:VALIDATION_BATCH]
    parity = export_segmenter.measure_parity(data, network, task.contract, images, threads=threads)
    out.parent.mkdir(parents=True, exist_ok=True)
    files.write_bytes(out, data)
    folder.remove()
    return TrainingResult(
        task=task,
        out=out,
        sha256=hashlib.sha256(data).hexdigest(),
        seconds=seconds,
        device=device,
        threads=threads,
        best=loop.best,
        last=loop.last,
        operators=export_segmenter.operators(data),
        parity=parity,
        tests=tests,
        hospitals=hospitals,
    )


def _scored(loop: Loop, pairs: Pairs, last: tuple[ImageScores, ...]) -> ScoredSet:
    """Score a test set with the loop's present weights, the best ones."""
    shares = pairs.masks.mean(axis=(1, 2)).tolist()
    return ScoredSet(pairs.root, tuple(shares), loop.scores(pairs), last)


def _score_hospitals(task: Task, loop: Loop) -> dict[str, Validation]:
    """Scores of the best weights on each hospital's synthetic images, where there are several hospitals."""
    from consumer.training.loop import Validation

    groups = task.by_hospital
    if len(groups) < 2:
        return {}
    return {name: Validation(loop.best.update, loop.scores(pairs)) for name, pairs in groups.items()}


def _begin(task: Task, folder: CheckpointFolder, device: str) -> tuple[Loop, float]:
    """A new loop, or one resumed from its checkpoint, and its working time so far in seconds."""
    import segmentation_models_pytorch as smp
    import torch

    from consumer.training.loop import Loop

    saved = folder.load()
    torch.manual_seed(task.settings.seed)
    network = build_network(task.settings, task.weights if saved is None else EncoderWeights(NO_WEIGHTS))
    # The package halves numerator and denominator, so the smoothing term must be halved too.
    loss = smp.losses.DiceLoss("binary", from_logits=True, smooth=SMOOTHING / 2)
    augment = augmentation(task.settings.augment)
    if saved is None:
        try_batch(network, task.settings)
    loop = Loop(network, loss, augment, task, device)
    if saved is None:
        _try_export(loop)
        return loop, 0.0
    loop.restore(saved["loop"])
    return loop, float(saved["seconds"])


def _try_export(loop: Loop) -> None:
    """Export the untrained network, so that one that cannot be exported fails before the training."""
    data = export_segmenter.export_onnx(loop.network, loop.contract)
    export_segmenter.measure_parity(data, loop.network, loop.contract, loop.validation.images[:1])


def _run(
    loop: Loop,
    folder: CheckpointFolder,
    before: float,
    save_every: float,
    threads: int,
    on_progress: ProgressCallback,
    on_warning: Callable[[str], None],
) -> float:
    """Train to the end and return the working time in seconds.

    Raises:
        KeyboardInterrupt: after SIGINT or SIGTERM, once the state is saved.
    """
    started = saved = time.monotonic()
    first, slow = loop.update, SlowUpdates()
    with stop_on_signal() as asked:
        while not loop.finished:
            loop.step()
            now = time.monotonic()
            on_progress(_progress(loop, first))
            if warning := slow.observe(loop.last_seconds, threads):
                on_warning(warning)
            if asked.is_set() or now - saved >= save_every:
                folder.save({"loop": loop.state(), "seconds": before + now - started})
                saved = now
            if asked.is_set():
                raise KeyboardInterrupt
    return time.monotonic() - started


def _progress(loop: Loop, first: int) -> Progress:
    values = {"loss": loop.last_loss}
    if loop.last.scores:
        values |= {"IoU": loop.last.iou, "best": loop.best.iou}
    return Progress(loop.update, loop.schedule.updates, values=values, free=first)
