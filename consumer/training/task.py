"""Read everything that a training needs: settings, contract, encoder weights and data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consumer.datasets.reader import read_folder
from consumer.training.data import NOT_SEEN, Pairs, choose_class, read_pairs, refuse_leak
from consumer.training.network import IMAGE_CHANNELS, EncoderWeights, input_statistics, read_weights
from consumer.training.training_settings import Schedule, TrainingSettings
from sharekit.program.progress import ProgressCallback, ignore
from sharekit.segmenter.contract import SegmenterContract


@dataclass(frozen=True)
class Task:
    """The input of a training: settings, contract, encoder weights, and the data in memory."""

    settings: TrainingSettings
    contract: SegmenterContract
    weights: EncoderWeights
    training: Pairs
    validation: Pairs
    tests: tuple[Pairs, ...] = ()
    """Sets to score at the end; they have no part in the training."""

    @property
    def schedule(self) -> Schedule:
        return self.settings.schedule(len(self.training))

    @property
    def fingerprint(self) -> dict[str, Any]:
        """Everything that the trained weights depend on, except the machine, as plain values."""
        return {
            **self.settings.to_json(),
            "encoder_weights": self.weights.sha256 or self.weights.source,
            "contract": self.contract.to_json(),
            "training data": self.training.digest,
            "validation data": self.validation.digest,
        }


def read_task(
    datasets: Sequence[Path],
    validation: Path,
    settings: TrainingSettings,
    *,
    tests: Sequence[Path] = (),
    class_name: str | None = None,
    on_progress: ProgressCallback = ignore,
) -> Task:
    """Read and join the data sets, and read the validation images and the test sets.

    Raises:
        InputError: a file is broken or missing, a validation image is also a training image, or a test image
            is one of either.
        UsageError: the data have several classes, and `class_name` is None.
        DependencyError: an optional package is not installed.
    """
    mean, std = input_statistics(settings)
    weights = read_weights(settings.encoder_weights)
    folders, held_out = [read_folder(root) for root in datasets], read_folder(validation)
    unused = [read_folder(root) for root in tests]
    chosen = choose_class([*folders, held_out, *unused], class_name)
    contract = SegmenterContract(
        image_channels=IMAGE_CHANNELS,
        size=(settings.size, settings.size),
        mean=mean,
        std=std,
        output="logits",
        classes=(chosen,),
    )
    groups = [folders, [held_out], *([folder] for folder in unused)]
    training, unseen, *scored = read_pairs(groups, chosen, contract, on_progress=on_progress)
    refuse_leak(training, unseen)
    for each in scored:
        refuse_leak(training, each, NOT_SEEN)
        refuse_leak(unseen, each, NOT_SEEN)
    return Task(settings, contract, weights, training, unseen, tuple(scored))
