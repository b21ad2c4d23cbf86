"""A small data folder, its folds, and generators of them that nobody trained: what plans are made of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sharekit.experiment.experiment_settings import GeneratorSettings, TableSettings
from sharekit.experiment.fold_generators import FoldGenerators, Sources
from sharekit.experiment.folds import Split, split_data
from sharekit.experiment.picture_pool import Picture
from tests.consumer.pairs import disc, picture, save

FOLDS = ("0", "1", "2")
PER_FOLD = 3


def write_data(root: Path, count: int = len(FOLDS) * PER_FOLD) -> Path:
    """`count` pictures `case-00`, … that look different, with masks."""
    for number in range(count):
        save(root / f"images/case-{number:02d}.png", picture(number))
        save(root / f"masks/case-{number:02d}.png", disc(number))
    return root


def write_folds(path: Path, folds: dict[str, str], column: str = "fold") -> Path:
    path.write_text(f"name,{column}\n" + "".join(f"{name},{value}\n" for name, value in folds.items()))
    return path


def small_split(folder: Path) -> Split:
    """Three folds of three pictures, in `folder / "data"`."""
    data = write_data(folder / "data")
    folds = {f"case-{number:02d}": FOLDS[number % len(FOLDS)] for number in range(len(FOLDS) * PER_FOLD)}
    return split_data(data, folds=write_folds(folder / "folds.csv", folds))


def untrained(split: Split, *, withheld: tuple[str, ...] = ()) -> tuple[FoldGenerators, ...]:
    """Bundles that do not exist, with a generator for every picture that is not `withheld`."""
    return tuple(
        FoldGenerators(
            label,
            Path("bundles") / label,
            Path("keys/release.pub"),
            f"manifest of {label}",
            pictures,
            {each.name: f"generator of {each.name}" for each in pictures if each.name not in withheld},
            {each.name: "withheld: too near" for each in pictures if each.name in withheld},
        )
        for label, pictures in split.folds.items()
    )


def untrained_from(sources: Sequence[Sources]) -> dict[Sources, FoldGenerators]:
    """Bundles that do not exist: a generator for each picture, or for all of them as a group."""

    def name(each: Sources, picture: Picture) -> str:
        return (
            f"group of {each.label}"
            if "--group-size" in each.train_options
            else f"generator of {picture.name}"
        )

    return {
        each: FoldGenerators(
            each.label,
            Path("bundles") / each.label,
            Path("keys/release.pub"),
            f"manifest of {each}",
            each.pictures,
            {picture.name: name(each, picture) for picture in each.pictures},
            {},
        )
        for each in sources
    }


def small_settings(**changes: object) -> TableSettings:
    generators = GeneratorSettings(Path("data"), Path("out"))
    values = {"samples": (1, 2), "styles": ("1:1",), "real": (1, 3), "seeds": (0, 1), "updates": 4}
    return TableSettings(**{"generators": generators, **values, **changes})
