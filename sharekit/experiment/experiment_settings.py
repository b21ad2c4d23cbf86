"""What one experiment is of: every choice that changes a number."""

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
"""Of samples: more of one seed would be those of the next seed."""
MAX_SEED = 2**32 - 1


@dataclass(frozen=True)
class GeneratorSettings:
    """Which images are trained on, and how."""

    data: Path
    out: Path
    folds: Path | None = None
    """CSV of name and fold; None makes folds of groups."""
    groups: Path | None = None
    """CSV of name and group; near duplicates are a group in any case."""
    fold_count: int = 3
    images_per_fold: int | None = None
    """Images of each fold that are trained on; None is all."""
    choice_seed: int = 0
    """Of the choice of these images."""
    train_options: tuple[str, ...] = ()
    """For `hospital-node train`, as they are."""
    features: Path | None = None
    """Feature network of style statistics and style transfer; None is none: see `with_features`."""

    def __post_init__(self) -> None:
        require_between("--images-per-fold", self.images_per_fold, 1)

    def to_json(self) -> dict[str, Any]:
        return _plain(self)


def with_features(settings: GeneratorSettings) -> GeneratorSettings:
    """The settings with the feature network that this machine has, unless they name one."""
    return dataclasses.replace(settings, features=settings.features or features.find())


@dataclass(frozen=True)
class TableSettings:
    """Which segmenters are trained, and how. The defaults are the paper's where it has them."""

    generators: GeneratorSettings
    updates: int = 3000
    """Of a segmenter's weights: the same for every arm. The paper trains for epochs (300 in Table 1, 100 in
    Table 2), so that its arms with more images have more updates.
    """
    seeds: tuple[int, ...] = (0, 1, 2)
    held: tuple[str, ...] = ()
    """Folds that are held out; none: all in turn for table 1, the first for table 2."""
    validation_images: int | None = None
    """Of the fold that is held out; None is all."""
    samples: tuple[int, ...] = PAPER_SAMPLES
    """N of FAKE-N: synthetic images of each generator."""
    styles: tuple[str, ...] = PAPER_STYLES
    """Content weight : style weight."""
    style_steps: int = 1000
    real: tuple[int, ...] = PAPER_REAL
    """R: the real images of table 2."""
    samples_per_image: int = 10
    """Synthetic images for each real one in table 2."""
    fixed_samples: bool = False
    """Every seed trains on the same samples; otherwise each draws its own."""
    sample_options: tuple[str, ...] = ()
    style_options: tuple[str, ...] = ()
    segmenter_options: tuple[str, ...] = ()
    """For `consumer sample`, `consumer style` and `consumer train`, as they are."""
    threads: int = 1
    """Of each command."""
    workers: int = 2
    """Commands that run side by side."""

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
    """`CONTENT:STYLE`, the two weights.

    Raises:
        UsageError: another form.
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
    """Refuse a number out of range; None is left to its default.

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
