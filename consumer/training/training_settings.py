"""The settings of one training, and the schedule that follows from them.

The defaults are the settings of Thambawita et al., PLOS ONE 2022: UNet++ with se_resnext50_32x4d at 128 x
128, and Adam with a learning rate of 1e-4 for 50 epochs and a tenth of it after that. Their comparison of
real with synthetic data (Table 1) has 300 epochs, which is the default; their small data sets (Table 2) have
100.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sharekit.errors import UsageError

STRIDE = 32
"""Pixels. Sizes are multiples of it, because encoders halve their input five times."""
MAX_SIZE = 1024  # pixels
MAX_SEED = 2**32 - 1
DECAY = 0.1
"""Factor that lowers the learning rate once."""
ARCHITECTURES = (
    *("deeplabv3", "deeplabv3plus", "dpt", "fpn", "linknet", "manet", "pan", "pspnet", "segformer", "unet"),
    *("unetplusplus", "upernet"),
)
"""Networks that the tests train and export at two sizes with two encoders."""
NO_AUGMENTATION, STANDARD, STRONG = "none", "standard", "strong"
CUTMIX, COPY_PASTE, MIXUP = "cutmix", "copy-paste", "mixup"
MIXING = (CUTMIX, COPY_PASTE, MIXUP)
"""Augmentations that mix the images of a batch with each other."""
AUGMENTATIONS = (NO_AUGMENTATION, STANDARD, STRONG, *MIXING)
NO_WEIGHTS = "none"
IMAGENET = "imagenet"


@dataclass(frozen=True)
class Schedule:
    """The updates after which the learning rate falls, validation runs, and training ends."""

    updates: int
    decay_after: int
    """Number of updates at the full learning rate; the others use `DECAY` times that rate."""
    validate_every: int
    """Updates between validations; the last update is always followed by one."""

    def validates_after(self, update: int) -> bool:
        return update % self.validate_every == 0 or update == self.updates


@dataclass(frozen=True)
class TrainingSettings:
    """Every setting that changes the trained weights. Law: `from_json(to_json(x)) == x`.

    Raises:
        UsageError: a value is out of range; raised on construction, names the option.
    """

    architecture: str = "unetplusplus"
    """One of `ARCHITECTURES`, as in `segmentation_models_pytorch.create_model`."""
    encoder: str = "se_resnext50_32x4d"
    encoder_weights: str = NO_WEIGHTS
    """`none`, `imagenet`, or the path of a safetensors file."""
    freeze_encoder: bool = False
    """Whether the encoder keeps these weights, so that only the rest of the network learns."""
    size: int = 128  # pixels, of both sides
    epochs: int = 300
    updates: int | None = None
    """Number of updates of the weights, instead of epochs."""
    decay_at: int | None = None
    """Epoch after which the learning rate falls; None takes 50, or a third of `updates` if those are set."""
    batch_size: int = 8
    learning_rate: float = 1e-4
    seed: int = 0
    augment: str = STANDARD
    """One of `AUGMENTATIONS`: how the training images change at random."""
    validations: int = 20
    """Largest number of validations in the training; without `updates`, no more than one per epoch."""
    real_share: float | None = None
    """Share of real images in every batch, when the data are mixed; None shows every image equally often."""
    real_finish: float = 0.0
    """Share of the updates, at the end, that show only real images, when the data are mixed."""

    def __post_init__(self) -> None:
        known = self.architecture in ARCHITECTURES
        _require(known, "--architecture", f"one of {', '.join(ARCHITECTURES)}", self.architecture)
        frozen_random = self.freeze_encoder and self.encoder_weights == NO_WEIGHTS
        _require(not frozen_random, "--encoder-weights", "trained weights with --freeze-encoder", NO_WEIGHTS)
        sized = STRIDE <= self.size <= MAX_SIZE and self.size % STRIDE == 0
        _require(sized, "--size", f"a multiple of {STRIDE}, at most {MAX_SIZE}", self.size)
        for name in ("epochs", "updates", "decay_at", "batch_size", "validations"):
            value = getattr(self, name)
            _require(value is None or value >= 1, f"--{name.replace('_', '-')}", "at least 1", value)
        rate = math.isfinite(self.learning_rate) and self.learning_rate > 0
        _require(rate, "--learning-rate", "a positive number", self.learning_rate)
        share = self.real_share is None or 0 < self.real_share < 1
        _require(share, "--real-share", "between 0 and 1", self.real_share)
        alone = self.real_share is not None and self.batch_size == 1
        _require(not alone, "--batch-size", "at least 2 with --real-share", self.batch_size)
        _require(
            self.augment in AUGMENTATIONS, "--augment", f"one of {', '.join(AUGMENTATIONS)}", self.augment
        )
        lonely = self.augment in MIXING and self.batch_size == 1
        _require(not lonely, "--batch-size", f"at least 2 with --augment {self.augment}", self.batch_size)
        _require(0 <= self.real_finish < 1, "--real-finish", "from 0 to below 1", self.real_finish)
        _require(0 <= self.seed <= MAX_SEED, "--seed", f"0 to {MAX_SEED}", self.seed)

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> TrainingSettings:
        return TrainingSettings(**upgraded(value))

    def schedule(self, images: int) -> Schedule:
        """The schedule for a number of images; an epoch has as many updates as show every image once."""

        def updates_of(epochs: int) -> int:
            return math.ceil(epochs * images / self.batch_size)

        updates = updates_of(self.epochs) if self.updates is None else self.updates
        if self.decay_at is not None or self.updates is None:
            decay_after = updates_of(_PAPER_DECAY_AT if self.decay_at is None else self.decay_at)
        else:
            decay_after = math.ceil(updates / _DECAY_SHARE)
        validate_every = math.ceil(updates / self.validations)
        if self.updates is None:
            validate_every = max(validate_every, updates_of(1))
        return Schedule(updates, decay_after, validate_every)


def upgraded(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as this release writes them; earlier ones froze nothing, and augmented or not."""
    named = {True: STANDARD, False: NO_AUGMENTATION}
    augment = settings.get("augment", STANDARD)
    settings = {"freeze_encoder": False, **settings}
    return {**settings, "augment": named[augment] if isinstance(augment, bool) else augment}


_PAPER_DECAY_AT = 50
_DECAY_SHARE = 3
"""Ratio of `updates` to those at the full learning rate; 6 in the paper's Table 1, 2 in its Table 2."""


def _require(holds: bool, option: str, expected: str, found: object) -> None:
    if not holds:
        raise UsageError(option, expected=expected, found=str(found), next_step="choose another value")


def update_seed(seed: int, update: int) -> int:
    """The seed of everything that is random in an update: augmentation and dropout."""
    return int(np.random.SeedSequence((seed, update)).generate_state(1, np.uint64)[0] >> np.uint64(1))
