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
from sharekit.errors import UsageError
from sharekit.program.progress import ProgressCallback, ignore
from sharekit.repository.known import refuse_withdrawn
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
    held_out: str | None = None
    """The hospital whose synthetic images are not trained on, but only scored."""
    unseen: Pairs | None = None
    """These images."""

    @property
    def by_hospital(self) -> dict[str, Pairs]:
        """The synthetic images of each hospital: all of them trained on, but those of `held_out`."""
        names = sorted(set(self.training.hospitals) - {""})
        found = {name: self.training.of_hospital(name)[0] for name in names}
        return (
            found if self.held_out is None or self.unseen is None else {**found, self.held_out: self.unseen}
        )

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
    hold_out_hospital: str | None = None,
    on_progress: ProgressCallback = ignore,
) -> Task:
    """Read and join the data sets, and read the validation images and the test sets.

    Args:
        hold_out_hospital: name of a hospital, as in the data sets' metadata, whose synthetic images are
            scored and not trained on.

    Raises:
        InputError: a file is broken or missing, a validation image is also a training image, or a test image
            is one of either.
        UsageError: the data have several classes, and `class_name` is None; or the hospital drew none or all.
        VerificationError: a data set was drawn from a release that its hospital has withdrawn.
        DependencyError: an optional package is not installed.
    """
    mean, std = input_statistics(settings)
    weights = read_weights(settings.encoder_weights)
    folders, held_out = [read_folder(root) for root in datasets], read_folder(validation)
    unused = [read_folder(root) for root in tests]
    for folder in (*folders, held_out, *unused):
        for manifest in folder.manifests:
            refuse_withdrawn(manifest, folder.root)
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
    if hold_out_hospital is None:
        return Task(settings, contract, weights, training, unseen, tuple(scored))
    apart, rest = training.of_hospital(hold_out_hospital)
    if not (len(apart) and len(rest)):
        known = ", ".join(sorted(set(training.hospitals) - {""})) or "no hospital"
        raise UsageError(
            "--hold-out-hospital",
            expected=f"one of several hospitals in the data sets, which name {known}",
            found=repr(hold_out_hospital),
            next_step="name it as metadata.jsonl does; draw from several bundles with `consumer sample`",
        )
    return Task(settings, contract, weights, rest, unseen, tuple(scored), hold_out_hospital, apart)
