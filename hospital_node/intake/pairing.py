"""Which image belongs to which masks, told from a listing of file names alone.

    images/NAME.png  masks/NAME.png            one class, `foreground`
    images/NAME.png  masks/CLASS/NAME.png …    one class a folder, in alphabetical order

Names agree up to the ending, case included. Endings say nothing about the format.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sharekit.errors import InputError

SINGLE_CLASS = "foreground"
"""The class of masks that lie in `masks/` itself."""

_CLASS_NAME = re.compile(r"[a-z0-9_-]{1,32}")


@dataclass(frozen=True)
class SourcePair:
    """The files of one image, relative to the data folder."""

    image: str
    masks: Mapping[str, str]  # class -> file, in channel order


@dataclass(frozen=True)
class Mismatch:
    """A file that belongs to no pair, with the reason."""

    path: str  # relative to the data folder
    reason: InputError

    @property
    def is_image(self) -> bool:
        return PurePosixPath(self.path).parts[0] == "images"


@dataclass(frozen=True)
class Pairing:
    """Every file of a data folder in exactly one place."""

    pairs: tuple[SourcePair, ...]
    mismatches: tuple[Mismatch, ...]
    skipped: tuple[str, ...]
    """Hidden files, and folders that are not looked into."""


def list_files(data: Path) -> tuple[list[str], list[str]]:
    """Files that intake looks at, and what it passes over: two sorted lists of paths relative to `data`.

    Raises:
        InputError: there is no `images` or no `masks` folder, or it is a link or cannot be listed.
    """
    found: list[str] = []
    skipped: list[str] = []
    for top in ("images", "masks"):
        folder = data / top
        if not folder.is_dir() or folder.is_symlink():
            raise InputError(
                data,
                expected="a folder with images/ and masks/ in it",
                found=f"{top}/ is a link" if folder.is_symlink() else f"no {top}/",
                next_step="put pictures into images/ and masks of the same names into masks/",
            )
        try:
            _scan(folder, top, found, skipped, classes=top == "masks")
        except OSError as error:
            raise InputError(
                error.filename or folder,
                expected="a folder that can be listed",
                found=error.strerror or type(error).__name__,
                next_step="check its permissions",
            ) from error
    return sorted(found), sorted(skipped)


def _scan(folder: Path, prefix: str, found: list[str], skipped: list[str], *, classes: bool) -> None:
    with os.scandir(folder) as entries:
        for entry in entries:
            name = f"{prefix}/{entry.name}"
            is_folder = entry.is_dir()
            if entry.name.startswith(".") or (is_folder and (entry.is_symlink() or not classes)):
                skipped.append(name)
            elif is_folder:
                _scan(Path(entry.path), name, found, skipped, classes=False)
            else:
                found.append(name)


def pair(paths: Iterable[str], skipped: Iterable[str] = ()) -> Pairing:
    """Pair a listing: `images/NAME.ext`, `masks/NAME.ext`, `masks/CLASS/NAME.ext`; pure."""
    images: dict[str, list[str]] = defaultdict(list)
    masks: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    mismatches: list[Mismatch] = []
    for path in sorted(paths):
        if not path.isprintable():
            mismatches.append(_bad_name(path))
            continue
        parts = PurePosixPath(path)
        if parts.parts[0] == "images":
            images[parts.stem].append(path)
            continue
        name = parts.parts[1] if len(parts.parts) == 3 else SINGLE_CLASS
        if _CLASS_NAME.fullmatch(name):
            masks[parts.stem][name].append(path)
        else:
            mismatches.append(_bad_class(path, name))
    pairs = []
    for stem, candidates in images.items():
        match = _match(stem, candidates, masks.pop(stem, {}))
        if isinstance(match, SourcePair):
            pairs.append(match)
        else:
            mismatches.extend(match)
    for by_class in masks.values():
        mismatches.extend(_no_image(path) for files in by_class.values() for path in files)
    return Pairing(tuple(pairs), tuple(sorted(mismatches, key=lambda entry: entry.path)), tuple(skipped))


def _match(stem: str, images: list[str], masks: Mapping[str, list[str]]) -> SourcePair | list[Mismatch]:
    ambiguous = [files for files in (images, *masks.values()) if len(files) > 1]
    if ambiguous:
        everything = [*images, *(path for files in masks.values() for path in files)]
        return [_ambiguous(path, ambiguous[0]) for path in everything]
    if not masks:
        return [_no_mask(images[0], stem)]
    return SourcePair(images[0], {name: masks[name][0] for name in sorted(masks)})


def _bad_name(path: str) -> Mismatch:
    shown = path.encode("unicode_escape").decode()
    return Mismatch(
        shown,
        InputError(
            shown,
            expected="a file name of printable Unicode characters",
            found="control characters, or bytes that are not UTF-8",
            next_step="rename the file and its partner",
        ),
    )


def _ambiguous(path: str, files: list[str]) -> Mismatch:
    return Mismatch(
        path,
        InputError(
            path,
            expected="one file of a name",
            found=f"{len(files)} that differ only in their ending: {', '.join(files)}",
            next_step="keep the right one",
        ),
    )


def _no_mask(path: str, stem: str) -> Mismatch:
    return Mismatch(
        path,
        InputError(
            path,
            expected=f"a mask masks/{stem}.* or masks/CLASS/{stem}.*",
            found="none",
            next_step="add the mask and ingest the folder again",
        ),
    )


def _no_image(path: str) -> Mismatch:
    return Mismatch(
        path,
        InputError(
            path,
            expected=f"an image images/{PurePosixPath(path).stem}.*",
            found="none",
            next_step="add the image and ingest the folder again",
        ),
    )


def _bad_class(path: str, name: str) -> Mismatch:
    return Mismatch(
        path,
        InputError(
            path,
            expected="a class name of 1 to 32 characters from a-z, 0-9, _ and -",
            found=repr(name),
            next_step="rename the folder: the name goes into everything made from it",
        ),
    )
