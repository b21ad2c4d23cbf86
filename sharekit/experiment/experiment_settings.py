"""The settings of one experiment: every choice that changes a number."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sharekit.bundle import features
from sharekit.errors import UsageError

PAPER_SAMPLES = (1, 2, 3, 4, 5)
PAPER_REAL = (5, 10, 15, 20, 25, 30, 35, 40, 45, 50)
PAPER_STYLES = ("1:1", "1:1000")
NO_STYLE = "none"
MAX_ROUNDS = 1000
"""Most rounds of samples per seed; further rounds would repeat those of the next seed."""
MAX_SEED = 2**32 - 1


@dataclass(frozen=True)
class GeneratorSettings:
    """Which images the generators learn from, and how they are trained."""

    data: Path
    out: Path
    folds: Path | None = None
    """CSV with name and fold; None makes folds from the groups."""
    groups: Path | None = None
    """CSV with name and group; near duplicates always form a group."""
    fold_count: int = 3
    images_per_fold: int | None = None
    """Images of each fold to train on; None takes all."""
    choice_seed: int = 0
    """Seed for choosing these images."""
    train_options: tuple[str, ...] = ()
    """Options passed unchanged to `hospital-node train`."""
    features: Path | None = None
    """Feature network for style statistics and style transfer; None disables both. See `with_features`."""

    def __post_init__(self) -> None:
        require_between("--images-per-fold", self.images_per_fold, 1)

    def to_json(self) -> dict[str, Any]:
        return _plain(self)


def with_features(settings: GeneratorSettings) -> GeneratorSettings:
    """The settings with the feature network of this machine, unless they already name one."""
    return dataclasses.replace(settings, features=settings.features or features.find())


@dataclass(frozen=True)
class TableSettings:
    """Which segmenters are trained, and how. The defaults follow the paper where it states them."""

    generators: GeneratorSettings
    updates: int = 3000
    """Updates of a segmenter's weights, equal for every arm. The paper trains for epochs (300 in Table 1, 100
    in Table 2), so its arms with more images get more updates.
    """
    seeds: tuple[int, ...] = (0, 1, 2)
    held: tuple[str, ...] = ()
    """Folds to hold out in turn; empty takes all for table 1 and the first for table 2."""
    validation_images: int | None = None
    """Images of the held-out fold to validate on; None takes all."""
    samples: tuple[int, ...] = PAPER_SAMPLES
    """The N of FAKE-N: synthetic images from each generator."""
    styles: tuple[str, ...] = PAPER_STYLES
    """Each as CONTENT_WEIGHT:STYLE_WEIGHT."""
    style_steps: int = 1000
    real: tuple[int, ...] = PAPER_REAL
    """R: the numbers of real images in table 2."""
    samples_per_image: int = 10
    """Synthetic images for each real one in table 2."""
    fixed_samples: bool = False
    """Whether every seed trains on the same samples; otherwise each seed draws its own."""
    sample_options: tuple[str, ...] = ()
    style_options: tuple[str, ...] = ()
    segmenter_options: tuple[str, ...] = ()
    """Options passed unchanged to `consumer sample`, `consumer style` and `consumer train`."""
    threads: int = 1
    """CPU threads of each command."""
    workers: int = 2
    """Commands that run in parallel."""

    def __post_init__(self) -> None:
        for name in ("updates", "validation_images", "style_steps", "samples_per_image"):
            require_between(f"--{name.replace('_', '-')}", getattr(self, name), 1)
        for name in ("threads", "workers"):
            require_between(f"--{name}", getattr(self, name), 1)
        for name, least, most in (("samples", 1, MAX_ROUNDS), ("real", 1, None), ("seeds", 0, MAX_SEED)):
            for number in getattr(self, name):
                require_between(f"--{name}", number, least, most)
        for style in self.styles:
            parse_style(style)

    def to_json(self) -> dict[str, Any]:
        return {**_plain(self), "generators": self.generators.to_json()}


def parse_style(style: str) -> tuple[str, str]:
    """Split `CONTENT:STYLE` into the two weights.

    Raises:
        UsageError: the text has another form, or a weight is negative or not finite.
    """
    content, _, look = style.partition(":")
    try:
        sound = all(0 <= float(weight) < math.inf for weight in (content, look))
    except ValueError:
        sound = False
    if not sound:
        raise UsageError(
            "--styles",
            expected="the weights of content and style, such as 1:1000",
            found=repr(style),
            next_step="correct the option",
        )
    return content, look


def require_between(option: str, value: int | None, least: int, most: int | None = None) -> None:
    """Refuse a number out of range; None is allowed.

    Raises:
        UsageError: naming the option.
    """
    if value is None or (value >= least and (most is None or value <= most)):
        return
    raise UsageError(
        option,
        expected=f"at least {least}" + ("" if most is None else f" and at most {most}"),
        found=str(value),
        next_step="give another number",
    )


def _plain(settings: Any) -> dict[str, Any]:
    """The fields as JSON values."""

    def value(item: Any) -> Any:
        if isinstance(item, Path):
            return str(item)
        return list(item) if isinstance(item, tuple) else item

    return {field.name: value(getattr(settings, field.name)) for field in dataclasses.fields(settings)}
