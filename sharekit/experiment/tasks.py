"""A task: one public command, identified by the content of its inputs.

Its key is the SHA-256 of the program's version and the arguments, with digests in place of input paths and a
placeholder for the output path. Equal keys mean equal work. So tables share work, an interrupted experiment
can go on, and a changed option repeats only the work that depends on it.
"""

from __future__ import annotations

import enum
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

from sharekit import __version__
from sharekit.errors import InputError
from sharekit.experiment.picture_pool import Picture, digest_of


class Kind(enum.StrEnum):
    """The kind of a command's output."""

    DATA_SET = "sets"
    SEGMENTER = "segmenters"


class Place(enum.Enum):
    """A placeholder for a path that the runner chooses."""

    OUTPUT = "output"


@dataclass(frozen=True)
class Given:
    """An existing file or folder, with a digest of its relevant content."""

    path: Path
    digest: str


@dataclass(frozen=True)
class RealImages:
    """A data-set folder of these pictures."""

    pictures: tuple[Picture, ...]

    @cached_property
    def digest(self) -> str:
        return digest_of(self.pictures)


@dataclass(frozen=True)
class Task:
    """One public command that makes one thing."""

    kind: Kind
    arguments: tuple[Argument, ...]
    resources: tuple[str, ...] = ()
    """Further arguments that do not change the output: keys, threads."""

    @cached_property
    def key(self) -> str:
        """SHA-256 of the version and the command with its inputs' digests, hexadecimal."""
        identity = [__version__, *map(_identity, self.arguments)]
        return hashlib.sha256(json.dumps(identity).encode()).hexdigest()

    @property
    def inputs(self) -> Iterator[Task | RealImages]:
        """The inputs that must be made first."""
        return (each for each in self.arguments if isinstance(each, Task | RealImages))


Argument: TypeAlias = str | Place | Given | RealImages | Task


def file_digest(path: Path) -> str:
    """SHA-256 of a file, hexadecimal.

    Raises:
        InputError: it is missing or cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(
            path, expected="a readable file", found=type(error).__name__, next_step="name another file"
        ) from None


def given_file(path: Path) -> Given:
    """A file, identified by its content.

    Raises:
        InputError: as `file_digest`.
    """
    return Given(path, file_digest(path))


def options(words: Iterable[str]) -> tuple[Argument, ...]:
    """A command's options, with files identified by content, also in `--option=FILE`."""
    return tuple(part for word in words for part in _parts(word))


def _parts(word: str) -> tuple[Argument, ...]:
    if Path(word).is_file():
        return (given_file(Path(word)),)
    name, _, value = word.partition("=")
    if name.startswith("--") and Path(value).is_file():
        return name, given_file(Path(value))
    return (word,)


def _identity(argument: Argument) -> object:
    if isinstance(argument, str):
        return argument
    if isinstance(argument, Place):
        return [argument.value]
    return [argument.key if isinstance(argument, Task) else argument.digest]
