"""The demonstration: the public commands of both sides, in order, as a user would type them.

`plan` lists the commands; `run_step` starts one; the journal lets an interrupted demonstration go on.
"""

from __future__ import annotations

import dataclasses
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from sharekit.errors import DependencyError, InputError, SharekitError
from sharekit.program.phrases import command_line
from sharekit.storage import files

DRAW = "pictures"
"""The step before the first one, which draws the pictures."""
JOURNAL = "demo.json"
GROUP = 10
"""Pictures behind a generator."""
GROUP_ITERATIONS = 160
"""Iterations per scale of a group: fewer than the profile's, so that the demonstration takes minutes."""
MAX_JOURNAL_BYTES = 2**20

STEPS = (
    (
        "ingest",
        "decode, scrub and pair the images; refuse what is broken",
        "hospital-node ingest --data {data} --node {node} --hospital {hospital}",
    ),
    (
        "train",
        "small generators: one for each group of pictures, or for each of a few",
        "hospital-node train --node {node} --profile {profile} {group_size} {iterations}",
    ),
    ("release key", "the hospital's key", "sharekit keys new --out {release} --no-password"),
    (
        "approver key",
        "the data protection officer's own key",
        "sharekit keys new --out {approver} --no-password",
    ),
    (
        "policy",
        "whose approval counts, and that generators of few pictures may leave",
        "hospital-node policy --node {node} --approver {approver}.pub --name Officer"
        " --set release_linkable=true",
    ),
    (
        "audit",
        "attack every generator: nothing leaves without it",
        "hospital-node audit --node {node} --actors 2",
    ),
    (
        "approve",
        "a person signs for the generators that passed",
        "hospital-node approve --node {node} --key {approver}.key --by Officer --all --yes",
    ),
    (
        "export",
        "search the finished bytes for anything real, then sign",
        "hospital-node export --node {node} --out {bundle} --key {release}.key --vetted 200",
    ),
    (
        "report",
        "the hospital's own page, with real images: it stays inside",
        "hospital-node report --node {node}",
    ),
    ("verify", "is the bundle the hospital's?", "sharekit verify {bundle} --key {release}.pub"),
    ("inspect", "what is in it", "sharekit inspect {bundle} --key {release}.pub"),
    (
        "sample",
        "synthetic images with masks; the same seed gives the same pixels",
        "consumer sample {bundle} --key {release}.pub --count {count} --seed 1 --out {samples}",
    ),
    (
        "sample a few",
        "style transfer takes seconds for each image",
        "consumer sample {bundle} --key {release}.pub --count 4 --seed 2 --out {few}",
    ),
    (
        "style",
        "real textures without a real image",
        "consumer style {few} --bundle {bundle} --key {release}.pub"
        " --content-weight 1 --style-weight 1000 --steps 30 --out {styled}",
    ),
    (
        "validate",
        "is the data set sound, and like the real masks?",
        "consumer validate {samples} --bundle {bundle} --key {release}.pub --out {validation}",
    ),
)
"""Name, purpose and command of every step, the hospital's first."""
EACH_LAYOUT = ("style", "validate")
"""Steps that work on one data set."""
ONLY_LAYOUT = ""
"""Stands for the layout of a bundle that has one."""


@dataclass(frozen=True)
class Settings:
    """The choices of one demonstration. Law: `from_json(to_json(x)) == x`."""

    out: Path
    data: Path | None = None
    """The user's folder with `images/` and `masks/`; None draws pictures."""
    count: int = 2 * GROUP
    """Images to draw; below `GROUP`, every image gets a generator of its own."""
    samples: int = 50
    iterations: int | None = None
    """Training iterations per scale; None takes `GROUP_ITERATIONS` for groups, else the profile's."""
    hospital: str = "Demo hospital"
    seed: int = 0
    """Seed of the drawn pictures: two hospitals have different ones."""

    @property
    def pictures(self) -> Path:
        return self.data or self.out / "pictures"

    @property
    def in_groups(self) -> bool:
        """Whether generators learn from groups: of drawn pictures, which are all of one layout."""
        return self.data is None and self.count >= GROUP

    @property
    def node(self) -> Path:
        return self.out / "node"

    @property
    def bundle(self) -> Path:
        return self.out / "bundle"

    @property
    def key(self) -> Path:
        """The public key that a consumer pins."""
        return self.out / "keys" / "release.pub"

    @property
    def node_page(self) -> Path:
        return self.node / "reports" / "report.html"

    @property
    def samples_folder(self) -> Path:
        return self.out / "samples"

    @property
    def validation_pages(self) -> tuple[Path, ...]:
        """One page, or one for each channel layout that was drawn."""
        return tuple(self.validation_page(layout) for layout in layouts(self.samples_folder))

    def validation_page(self, layout: str) -> Path:
        return self.out / ("validation.html" if layout == ONLY_LAYOUT else f"validation-{layout}.html")

    def to_json(self) -> dict[str, Any]:
        return {
            **dataclasses.asdict(self),
            "out": str(self.out),
            "data": None if self.data is None else str(self.data),
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Settings:
        data = None if value["data"] is None else Path(value["data"])
        return Settings(**{**value, "out": Path(value["out"]), "data": data})


@dataclass(frozen=True)
class Step:
    """One command line and its purpose."""

    name: str
    purpose: str
    command: tuple[str, ...]
    """The program and its arguments."""

    @property
    def command_line(self) -> str:
        """The command as a user would type it."""
        return shlex.join(self.command)


def plan(settings: Settings) -> tuple[Step, ...]:
    """Every command from a folder of images and masks to a validated synthetic data set.

    A bundle of several channel layouts is drawn as one data set for each. Once they exist, a step of
    `EACH_LAYOUT` becomes one step for each of them.
    """
    few = settings.out / "few"
    iterations = settings.iterations or (GROUP_ITERATIONS if settings.in_groups else None)
    values = {
        "data": settings.pictures,
        "node": settings.node,
        "hospital": settings.hospital,
        "bundle": settings.bundle,
        "release": settings.key.with_suffix(""),
        "approver": settings.out / "keys" / "approver",
        "samples": settings.samples_folder,
        "few": few,
        "styled": settings.out / "styled",
        "count": settings.samples,
        "profile": "group" if settings.in_groups else "quick",
        "group_size": f"--group-size={GROUP}" if settings.in_groups else "",
        "iterations": "" if iterations is None else f"--iterations={iterations}",
    }
    drawn = {"style": few, "validate": settings.samples_folder}
    return tuple(
        _step(f"{name} {layout}".strip(), purpose, command, values | _of_layout(settings, layout, values))
        for name, purpose, command in STEPS
        for layout in (layouts(drawn[name]) if name in EACH_LAYOUT else (ONLY_LAYOUT,))
    )


def layouts(folder: Path) -> tuple[str, ...]:
    """The names of the data sets in `folder`; `ONLY_LAYOUT` when it is one data set, or not there yet."""
    found = tuple(sorted(path.parent.name for path in folder.glob("*/dataset.json")))
    return found or (ONLY_LAYOUT,)


def _of_layout(settings: Settings, layout: str, values: Mapping[str, Any]) -> dict[str, Path]:
    """The values that depend on the layout in a step of `EACH_LAYOUT`."""
    if layout == ONLY_LAYOUT:
        return {"validation": settings.validation_page(layout)}
    folders = {name: values[name] / layout for name in ("samples", "few", "styled")}
    return {**folders, "validation": settings.validation_page(layout)}


def _step(name: str, purpose: str, command: str, values: Mapping[str, Any]) -> Step:
    # Split before inserting the values: a path may hold spaces.
    parts = (part.format_map(values) for part in shlex.split(command))
    return Step(name, purpose, tuple(filter(None, parts)))


def next_commands(settings: Settings) -> tuple[str, ...]:
    """Three command lines to try after the demonstration."""
    sample = ("consumer", "sample", settings.bundle, "--key", settings.key, "--count", 1000, "--seed", 3)
    return (
        command_line(*sample, "--size", "96x64", "--out", settings.out / "more"),
        command_line("hospital-node", "status", "--node", settings.node),
        command_line("sharekit", "demo", "--data", "YOUR_FOLDER", "--out", "my-demo"),
    )


def run_step(step: Step, stdout: TextIO) -> int:
    """Run a step's command and return its exit code; progress goes to stderr, the result to `stdout`.

    Raises:
        DependencyError: the program is not installed next to this interpreter.
    """
    name, *arguments = step.command
    program = Path(sys.executable).with_name(name)
    if not program.exists():
        raise DependencyError(
            name,
            expected=f"the program {name} next to {sys.executable}",
            found="no such program",
            next_step="install sharekit into this environment: pip install 'sharekit[hospital]'",
        )
    return subprocess.run([program, *arguments], stdout=stdout, check=False).returncode  # noqa: S603


@dataclass(frozen=True)
class Journal:
    """The finished steps of a demonstration. Law: `from_json(to_json(x)) == x`."""

    settings: Settings
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Step name to wall-clock time, for every finished step."""

    def finished(self, name: str, seconds: float) -> Journal:
        return dataclasses.replace(self, seconds={**self.seconds, name: round(seconds, 2)})

    def to_json(self) -> dict[str, Any]:
        return {"settings": self.settings.to_json(), "seconds": dict(self.seconds)}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Journal:
        return Journal(Settings.from_json(value["settings"]), dict(value["seconds"]))

    @staticmethod
    def open(settings: Settings) -> Journal:
        """Read the journal in `settings.out`, or start a new one.

        Raises:
            InputError: the folder holds something else, or a demonstration with other settings.
        """
        path = settings.out / JOURNAL
        if not settings.out.exists() or (settings.out.is_dir() and not any(settings.out.iterdir())):
            return Journal(settings)
        try:
            value = files.parse_json(files.read_bytes(path, max_bytes=MAX_JOURNAL_BYTES), path)
            journal = Journal.from_json(value)
        except (SharekitError, TypeError, KeyError, ValueError):
            raise InputError(
                settings.out,
                expected="a new folder, or one that a demonstration has begun in",
                found=f"a folder without a readable {JOURNAL}",
                next_step="name another folder with --out",
            ) from None
        if journal.settings != settings:
            raise InputError(
                settings.out,
                expected=f"a new folder, or a demonstration with {settings.to_json()}",
                found=f"one with {journal.settings.to_json()}",
                next_step="remove the folder, or name another with --out",
            )
        return journal

    def save(self) -> None:
        self.settings.out.mkdir(parents=True, exist_ok=True)
        files.write_json(self.settings.out / JOURNAL, self.to_json())


@dataclass(frozen=True)
class Demonstration:
    """A finished demonstration: where everything is, how long it took, and what to try next."""

    journal: Journal

    @property
    def seconds(self) -> dict[str, float]:
        """Wall-clock time of every step, in the order of the plan; the journal's file does not keep it."""
        names = (DRAW, *(step.name for step in plan(self.journal.settings)))
        return {name: self.journal.seconds[name] for name in names if name in self.journal.seconds}

    @property
    def next(self) -> tuple[str, ...]:
        return next_commands(self.journal.settings)

    def to_json(self) -> dict[str, Any]:
        settings = self.journal.settings
        return {
            "bundle": str(settings.bundle),
            "key": str(settings.key),
            "node": str(settings.node),
            "report": str(settings.validation_pages[0]),
            "reports": [str(page) for page in settings.validation_pages],
            "seconds": self.seconds,
            "next": list(self.next),
        }
