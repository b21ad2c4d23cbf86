"""The public commands of a cell: draw samples, style them, train a segmenter; pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sharekit.experiment.experiment_settings import NO_STYLE, TableSettings, parse_style
from sharekit.experiment.fold_generators import FoldGenerators
from sharekit.experiment.tasks import Argument, Given, Kind, Place, RealImages, Task, given_file, options


class CellCommands:
    """Makes tasks from an experiment's settings."""

    def __init__(self, settings: TableSettings) -> None:
        self._settings = settings
        self._options = {
            name: options(getattr(settings, name))
            for name in ("sample_options", "style_options", "segmenter_options")
        }
        features = settings.generators.features
        self._features: tuple[Argument, ...] = (
            () if features is None else ("--features", given_file(features))
        )

    def sample(
        self,
        fold: FoldGenerators,
        count: int,
        seed: int,
        generator: str | None = None,
        more: Iterable[str] = (),
        judge: tuple[Task, float] | None = None,
    ) -> Task:
        """Draw `count` samples, from one generator or from all.

        Args:
            more: further options.
            judge: a segmenter, and its least agreement with a sample.
        """
        one = () if generator is None else ("--generator", generator)
        judged = () if judge is None else ("--judge", judge[0], "--least-agreement", str(judge[1]))
        return Task(
            Kind.DATA_SET,
            (
                "consumer",
                "sample",
                Given(fold.bundle, fold.manifest_sha256),
                "--count",
                str(count),
                "--seed",
                str(seed),
                "--out",
                Place.OUTPUT,
                *one,
                *self._options["sample_options"],
                *options(more),
                *judged,
            ),
            ("--key", str(fold.key), *self._threads),
        )

    @staticmethod
    def made(command: Iterable[str], real: RealImages, count: int, seed: int) -> Task:
        """Make `count` samples from real images with another command, which its plan names."""
        numbers = ("--samples", str(count), "--seed", str(seed))
        return Task(Kind.DATA_SET, (*options(command), real, *numbers, "--out", Place.OUTPUT))

    def styled(self, fold: FoldGenerators, style: str, samples: Task) -> Task:
        """Style samples, unless `style` is `NO_STYLE`."""
        if style == NO_STYLE:
            return samples
        content, look = parse_style(style)
        return Task(
            Kind.DATA_SET,
            (
                "consumer",
                "style",
                samples,
                "--bundle",
                Given(fold.bundle, fold.manifest_sha256),
                "--content-weight",
                content,
                "--style-weight",
                look,
                "--steps",
                str(self._settings.style_steps),
                "--out",
                Place.OUTPUT,
                *self._features,
                *self._options["style_options"],
            ),
            ("--key", str(fold.key), *self._threads),
        )

    def segmenter(
        self,
        sets: Sequence[Argument],
        validation: RealImages,
        seed: int,
        *,
        tests: Iterable[Argument] = (),
        more: Iterable[str] = (),
    ) -> Task:
        """Train a segmenter on data sets; `more` are further options, which override the settings'."""
        return Task(
            Kind.SEGMENTER,
            (
                "consumer",
                "train",
                *sets,
                "--validation",
                validation,
                *(word for each in tests for word in ("--test", each)),
                "--out",
                Place.OUTPUT,
                "--updates",
                str(self._settings.updates),
                "--seed",
                str(seed),
                *self._options["segmenter_options"],
                *options(more),
            ),
            self._threads,
        )

    @property
    def _threads(self) -> tuple[str, str]:
        return "--threads", str(self._settings.threads)
