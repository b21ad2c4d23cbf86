"""Plans the cells of a fair comparison; pure.

Three folds have three roles: one is tested on, the next one gives the images that choose the best weights,
the others give real images and generators. So neither patients nor near duplicates cross a role.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sharekit.errors import UsageError
from sharekit.experiment.cell_commands import CellCommands
from sharekit.experiment.experiment_settings import MAX_ROUNDS, NO_STYLE, GeneratorSettings, TableSettings
from sharekit.experiment.fair_plan import NAME, REDRAWING, FairArm, FairPlan, Role
from sharekit.experiment.fold_generators import FoldGenerators, Sources, fold_sources
from sharekit.experiment.folds import Split
from sharekit.experiment.picture_pool import Picture, shuffled
from sharekit.experiment.stages import Cell, Impossible
from sharekit.experiment.tasks import Argument, Given, RealImages, Task

LEAST_FOLDS = 3

Generators = Mapping[Sources, FoldGenerators]
Planned = tuple[Cell | Impossible, ...]


@dataclass(frozen=True)
class Roles:
    """What each fold is for while one is held out."""

    test: str
    validation: str
    training: tuple[str, ...]


def roles(split: Split, held: str) -> Roles:
    """The fold after the held-out one validates, in the order of labels; all others train."""
    labels = split.labels
    validation = labels[(labels.index(held) + 1) % len(labels)]
    return Roles(held, validation, tuple(label for label in labels if label not in (held, validation)))


def held_folds(settings: TableSettings, split: Split) -> tuple[str, ...]:
    """The folds to test on in turn; the first one if none is named."""
    return settings.held or split.labels[:1]


def trained_folds(settings: TableSettings, split: Split) -> tuple[str, ...]:
    """The folds whose generators the comparison needs."""
    needed = {label for held in held_folds(settings, split) for label in roles(split, held).training}
    return tuple(label for label in split.labels if label in needed)


def check_fair(plan: FairPlan, settings: TableSettings, split: Split) -> None:
    """Refuse a plan that cannot be carried out, or folds that cannot serve it, before anything is trained.

    Raises:
        UsageError: an arm wants vetted samples drawn again; there are too few folds, a fold does not exist,
            or there are too few images for the largest R.
    """
    for arm in plan.arms:
        if arm.vetted and arm.redraws:
            raise UsageError(
                f"the plan's arm {arm.name!r}",
                expected="vetted samples as the node saw them",
                found="options or a judge by which samples are drawn again",
                next_step=f"leave {' and '.join(REDRAWING)} out of its sample_options, and the judge too",
            )
    elsewhere = any(arm.elsewhere for arm in plan.arms)
    if len(split.labels) < LEAST_FOLDS:
        raise UsageError(
            "--folds",
            expected=f"at least {LEAST_FOLDS} folds: to test, to choose the best weights and to train",
            found=str(len(split.labels)),
            next_step="name another table, or leave it out and use --fold-count 3",
        )
    for label in held_folds(settings, split):
        if label not in split.folds:
            raise UsageError(
                "--held",
                expected=f"some of the folds {', '.join(split.labels)}",
                found=repr(label),
                next_step="name folds of the data",
            )
        found = roles(split, label)
        # With no image to spare, every draw would be the same images.
        pool, spare = len(pool_of(split, found, settings.generators)), int(plan.draws > 1)
        # Samples from elsewhere show images of other draws, which no draw shares.
        most = min(pool // plan.draws if elsewhere else pool - spare, len(split.folds[found.validation]))
        if max(plan.real) > most:
            raise UsageError(
                "the plan's R",
                expected=f"at most {most}: with fold {label} held out, {pool} images are drawn from, and "
                f"fold {found.validation} has {len(split.folds[found.validation])} to validate on",
                found=str(max(plan.real)),
                next_step="plan smaller R, or give more images or --images-per-fold",
            )


def pool_of(split: Split, found: Roles, settings: GeneratorSettings) -> tuple[Picture, ...]:
    """The real images that draws choose from."""
    return tuple(
        picture for label in found.training for picture in split.folds[label][: settings.images_per_fold]
    )


@dataclass(frozen=True)
class Place:
    """Where an arm is tried: the fold that is held out, the number of real images, a draw and a seed."""

    held: str
    images: int
    draw: int
    seed: int


class FairStages:
    """Makes the cells of arms."""

    def __init__(
        self,
        plan: FairPlan,
        settings: TableSettings,
        split: Split,
        external: Given | None = None,
    ) -> None:
        self.plan, self.settings, self.split = plan, settings, split
        self._external = external
        self._commands = CellCommands(settings)

    @property
    def places(self) -> Iterator[Place]:
        # The outermost loop is over draws, so that a half-finished comparison has every arm.
        return (place for draw in range(self.plan.draws) for place in self._places(draw))

    def _places(self, draw: int) -> Iterator[Place]:
        return (
            Place(held, images, draw, seed)
            for seed in range(self.plan.seeds)
            for held in held_folds(self.settings, self.split)
            for images in self.plan.real
        )

    def real_cells(self, arms: Sequence[FairArm]) -> Planned:
        """The cells of arms without samples: they need no generator."""
        return tuple(self._cell(arm, place) for place in self.places for arm in arms)

    def synthetic_cells(
        self, arms: Sequence[FairArm], draw: int, best: Mapping[int, FairArm], generators: Generators
    ) -> Planned:
        """The cells of arms with samples, of one draw.

        Args:
            best: R to the best classical arm, which some arms build on.
            generators: those of everything that the arms' generators learn from: see `wanted`.
        """
        return tuple(
            self._on_best(arm, place, best, generators) for place in self._places(draw) for arm in arms
        )

    def _on_best(
        self, arm: FairArm, place: Place, best: Mapping[int, FairArm], generators: Generators
    ) -> Cell | Impossible:
        if arm.role is not Role.ON_BEST:
            return self._synthetic_cell(arm, place, generators)
        if place.images not in best:
            return self._impossible(arm, place, "no classical arm has a result to build on")
        # The arm's own options come last, so they override those of the classical arm.
        words = (*best[place.images].segmenter_options, *arm.segmenter_options)
        built = dataclasses.replace(arm, segmenter_options=words)
        return self._synthetic_cell(built, place, generators)

    def wanted(self, arms: Sequence[FairArm], draw: int) -> tuple[Sources, ...]:
        """What the generators of these arms learn from in a draw, each once."""
        homes = (
            (arm, home) for place in self._places(draw) for arm in arms for home in self._homes(arm, place)
        )
        return tuple(dict.fromkeys(each for arm, home in homes for each in self._sources(arm, home)))

    def _homes(self, arm: FairArm, place: Place) -> tuple[Place, ...]:
        """The places whose real images an arm's samples show: its own, or the largest of all others."""
        if not arm.elsewhere:
            return (place,)
        # Another hospital does not have fewer images where this one has.
        theirs = dataclasses.replace(place, images=max(self.plan.real))
        others = (draw for draw in range(self.plan.draws) if draw != place.draw)
        return tuple(dataclasses.replace(theirs, draw=draw) for draw in others)

    def _sources(self, arm: FairArm, place: Place) -> tuple[Sources, ...]:
        """What the generators of an arm's images at a place learn from; nothing for an arm with a command."""
        if arm.command is not None:
            return ()
        settings, found = self.settings.generators, roles(self.split, place.held)
        if arm.generator_options is not None:
            settings = dataclasses.replace(settings, train_options=arm.generator_options)
        if not arm.per_draw:
            return fold_sources(self.split, settings, found.training)
        # One generator serves all arms with its options: where one takes vetted samples, the node compares.
        alike = (each for each in self.plan.arms if each.generator_options == arm.generator_options)
        others = self._validation(found, place) if any(each.vetted for each in alike) else ()
        label = f"{place.held}-draw{place.draw}-R{place.images}"
        options = ("--group-size", str(place.images), *settings.train_options)
        return (Sources(label, self._chosen(found, place), options, others),)

    def _synthetic_cell(self, arm: FairArm, place: Place, generators: Generators) -> Cell | Impossible:
        if arm.style != NO_STYLE and self.settings.generators.features is None:
            return self._impossible(
                arm, place, "no feature network on this machine, which style transfer needs"
            )
        if arm.command is not None:
            chosen = self._chosen(roles(self.split, place.held), place)
            count = arm.samples * len(chosen)
            made = self._commands.made(arm.command, RealImages(chosen), count, self._first(place))
            return self._cell(arm, place, [made], count)
        judge = self._judge(arm, place)
        sets: list[Argument] = []
        count = 0
        for home in self._homes(arm, place):
            for samples, number in self._samples(arm, home, judge, generators):
                sets.append(samples)
                count += number
        if not sets:
            reason = "no generator of these images alone was released"
            return self._impossible(arm, place, f"{reason}, with vetted samples" if arm.vetted else reason)
        return self._cell(arm, place, sets, count)

    def _samples(
        self, arm: FairArm, home: Place, judge: tuple[Task, float] | None, generators: Generators
    ) -> Iterator[tuple[Task, int]]:
        """Data sets of the generators that learnt from real images of a draw alone, with their sizes."""
        names = {picture.name for picture in self._chosen(roles(self.split, home.held), home)}
        for each in self._sources(arm, home):
            fold = generators[each]
            for identifier, members in sorted(fold.members.items()):
                # A group may have learnt from images that this draw does not have.
                if not members <= names:
                    continue
                number, seed, options = arm.samples * len(members), self._first(home), arm.sample_options
                if arm.vetted:
                    # The list is empty where the node looked and found no good sample.
                    if identifier not in fold.vetted or not fold.vetted[identifier].good:
                        continue
                    listed = fold.vetted[identifier]
                    number, seed = min(number, len(listed.good)), listed.seed
                    options = (*options, "--vetted-only")
                samples = self._commands.sample(fold, number, seed, identifier, options, judge)
                yield self._commands.styled(fold, arm.style, samples), number

    def _first(self, place: Place) -> int:
        """The seed of the samples of a draw's images."""
        return 0 if self.plan.fixed_samples else self._number(place) * MAX_ROUNDS

    def _cell(self, arm: FairArm, place: Place, synthetic: Sequence[Argument] = (), count: int = 0) -> Cell:
        """A cell that trains on `count` synthetic images of the data sets `synthetic`."""
        found = roles(self.split, place.held)
        chosen = self._chosen(found, place)
        real = [RealImages(chosen)] * arm.repeats if arm.real else []
        validation = self._validation(found, place)
        tests: list[Argument] = [RealImages(self.split.folds[place.held])]
        task = self._commands.segmenter(
            [*real, *synthetic],
            RealImages(validation),
            self._number(place),
            tests=tests if self._external is None else [*tests, self._external],
            more=arm.segmenter_options,
        )
        return Cell(
            NAME,
            self._at(arm, place),
            place.held,
            place.seed,
            len(chosen) if arm.real else 0,
            count,
            task,
            place.draw,
        )

    def _impossible(self, arm: FairArm, place: Place, reason: str) -> Impossible:
        return Impossible(self._at(arm, place), place.held, place.seed, reason, place.draw)

    @staticmethod
    def _at(arm: FairArm, place: Place) -> FairArm:
        return dataclasses.replace(arm, images=place.images)

    def _number(self, place: Place) -> int:
        """The seed of a cell's weights and samples: another one for every draw and seed."""
        return place.draw * self.plan.seeds + place.seed

    def _judge(self, arm: FairArm, place: Place) -> tuple[Task, float] | None:
        """The segmenter of the draw's real images that judges an arm's samples, with its least agreement."""
        if arm.judge is None:
            return None
        found = roles(self.split, place.held)
        real, validation = (RealImages(of(found, place)) for of in (self._chosen, self._validation))
        return self._commands.segmenter([real], validation, self._number(place)), arm.judge

    def _validation(self, found: Roles, place: Place) -> tuple[Picture, ...]:
        """The images of a draw that choose the best weights."""
        return self._drawn(self.split.folds[found.validation], place)

    def _chosen(self, found: Roles, place: Place) -> tuple[Picture, ...]:
        """The real images of a draw."""
        return self._drawn(pool_of(self.split, found, self.settings.generators), place)

    def _drawn(self, pictures: Sequence[Picture], place: Place) -> tuple[Picture, ...]:
        """The pictures of a draw: its larger R include its smaller R.

        Draws share no picture, if there are enough for all of them at the largest R.
        """
        most = max(self.plan.real)
        disjoint = len(pictures) >= self.plan.draws * most
        seed, first = (0, place.draw * most) if disjoint else (place.draw, 0)
        order = sorted(pictures, key=lambda picture: shuffled(picture.name, seed))
        return tuple(order[first : first + place.images])
