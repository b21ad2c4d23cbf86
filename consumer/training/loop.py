"""The training loop: updates, validations, the best weights so far, and a state that can be saved.

This module needs torch. Callers use `train_segmenter`, which imports it on demand.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from consumer.training.augmentation import Augmentation
from consumer.training.batches import Batches
from consumer.training.data import Pairs
from consumer.training.training_settings import DECAY, update_seed
from sharekit.errors import InputError
from sharekit.program.adam import adam
from sharekit.segmenter.metrics import ImageScores, mean_scores, score_image

if TYPE_CHECKING:
    from consumer.training.data import Pairs
    from consumer.training.task import Task

VALIDATION_BATCH = 16  # images; affects only the speed

State = dict[str, Any]
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Validation:
    """The scores of one validation, image by image."""

    update: int
    scores: tuple[ImageScores, ...]

    @property
    def iou(self) -> float:
        """Mean IoU over images, 0 to 1; -1 before the first validation, so that any result is better."""
        return float(np.mean([score.iou for score in self.scores])) if self.scores else -1.0

    def to_json(self) -> State:
        """The update's number, and each metric's mean over images with its bootstrap interval."""
        metrics = {name: value.to_json() for name, value in mean_scores(self.scores).items()}
        return {"update": self.update, "metrics": metrics}

    def to_state(self) -> State:
        return {"update": self.update, "scores": [dataclasses.astuple(score) for score in self.scores]}

    @staticmethod
    def from_state(state: State) -> Validation:
        return Validation(state["update"], tuple(ImageScores(*score) for score in state["scores"]))


class Loop:
    """One training, one update at a time.

    Every update draws its random numbers from its own seed. `state` therefore holds no random generator, and
    a loop that resumes from it makes the same weights.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        loss: Loss,
        augment: Augmentation,
        task: Task,
        device: str,
    ) -> None:
        self.settings, self.schedule, self.contract = task.settings, task.schedule, task.contract
        self.validation, self.device = task.validation, device
        # This layout is a fifth faster than the default one on a CPU.
        layout: Any = {"memory_format": torch.channels_last}
        self.network = network.to(device, **layout)
        self._frozen: Any = self.network.encoder if self.settings.freeze_encoder else None
        if self._frozen is not None:
            self._frozen.requires_grad_(False)
        learning = [value for value in self.network.parameters() if value.requires_grad]
        self.optimiser = adam(torch, learning, lr=self.settings.learning_rate, fused=True)
        self.update = 0
        """Updates done."""
        self.last_loss = math.nan
        self.last_seconds = math.nan
        """Duration of the last update, without validation."""
        self.best = self.last = Validation(0, ())
        self._best_weights: State = {}
        self._loss, self._augment = loss, augment
        self._batches = Batches(task.training.synthetic, self.settings, self.schedule.updates)
        self._images = torch.from_numpy(task.training.images).permute(0, 3, 1, 2)
        self._masks = torch.from_numpy(task.training.masks)
        shape = (1, self.contract.image_channels, 1, 1)
        self._mean = torch.tensor(self.contract.mean, device=device).reshape(shape) * 255
        self._std = torch.tensor(self.contract.std, device=device).reshape(shape) * 255

    @property
    def finished(self) -> bool:
        return self.update >= self.schedule.updates

    def step(self) -> None:
        """Make one update of the weights, and a validation if one is due.

        Raises:
            InputError: the loss is no longer a number.
        """
        started = time.monotonic()
        images, masks = self._batch()
        decayed = self.update >= self.schedule.decay_after
        for group in self.optimiser.param_groups:
            group["lr"] = self.settings.learning_rate * (DECAY if decayed else 1)
        self.network.train()
        if self._frozen is not None:
            # In training mode, batch norm would still move its averages.
            self._frozen.eval()
        loss = self._loss(self.network(images), masks)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        self.update += 1
        self.last_loss = loss.item()
        self.last_seconds = time.monotonic() - started
        if not math.isfinite(self.last_loss):
            raise _diverged(self.update, self.last_loss)
        if self.schedule.validates_after(self.update):
            self._validate()

    def state(self) -> State:
        """Everything that the loop needs to resume: tensors, numbers and lists."""
        return {
            "update": self.update,
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "best": self.best.to_state(),
            "best_weights": self._best_weights,
            "last": self.last.to_state(),
        }

    def restore(self, state: State) -> None:
        """Resume from a `state`."""
        self.update = state["update"]
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.best = Validation.from_state(state["best"])
        self.last = Validation.from_state(state["last"])
        self._best_weights = state["best_weights"]

    def best_network(self) -> torch.nn.Module:
        """The network with the weights of the best validation; call it after the last update."""
        self.network.load_state_dict(self._best_weights)
        return self.network

    def scores(self, pairs: Pairs) -> tuple[ImageScores, ...]:
        """The scores of every image with the network's present weights."""
        self.network.eval()
        scores: list[ImageScores] = []
        for start in range(0, len(pairs), VALIDATION_BATCH):
            part = slice(start, start + VALIDATION_BATCH)
            inputs = torch.from_numpy(self.contract.normalise(pairs.images[part])).to(self.device)
            with torch.inference_mode():
                raw = self.network(inputs.contiguous(memory_format=torch.channels_last)).cpu().numpy()
            if not np.isfinite(raw).all():
                raise _diverged(self.update, float(raw.ravel()[~np.isfinite(raw.ravel())][0]))
            found = self.contract.probabilities(raw)[:, 0]
            scores += [
                score_image(mask, truth, threshold=self.contract.threshold)
                for mask, truth in zip(found, pairs.masks[part], strict=True)
            ]
        return tuple(scores)

    def _batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Normalised images `(B, C, h, w)` float32 and truth `(B, 1, h, w)` float32 of the next update."""
        torch.manual_seed(update_seed(self.settings.seed, self.update))
        chosen = self._batches.indices(self.update)
        images, masks = self._augment(self._images[chosen], self._masks[chosen])
        values = (images.to(self.device).float() - self._mean) / self._std
        truth = masks.to(self.device).float().unsqueeze(1)
        return values.contiguous(memory_format=torch.channels_last), truth

    def _validate(self) -> None:
        self.last = Validation(self.update, self.scores(self.validation))
        if self.last.iou > self.best.iou:
            self.best = self.last
            self._best_weights = {
                name: value.detach().cpu().clone() for name, value in self.network.state_dict().items()
            }


def _diverged(update: int, value: float) -> InputError:
    return InputError(
        f"update {update}",
        expected="finite numbers",
        found=str(value),
        next_step="train with a smaller --learning-rate; look at the data with `consumer validate`",
    )
