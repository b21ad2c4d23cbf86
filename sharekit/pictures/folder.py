"""The layout of a data folder, for both sides: folder names, hidden files, endings and file names.

A folder has one of two forms:

    images/NAME.png   masks/NAME.png          one class, `SINGLE_CLASS`
    images/NAME.png   masks/CLASS/NAME.png …  one folder per class
"""

from __future__ import annotations

import os
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from sharekit.errors import InputError, SharekitError
from sharekit.storage import files

IMAGES, MASKS = "images", "masks"
METADATA = "metadata.jsonl"
DESCRIPTION = "dataset.json"

SINGLE_CLASS = "foreground"
"""The class of masks directly in `masks/`, if no `dataset.json` names it."""
FORMER_SINGLE_CLASS = "mask"
"""The consumer's former name for `SINGLE_CLASS`; older segmenters still carry it."""

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".tif", ".tiff"})
MAX_FILES = 1_000_000
MAX_FILE_BYTES = 256 * 2**20
"""Largest stored picture or mask."""

_OME = re.compile(r"\.ome\.tiff?", re.IGNORECASE)
_HIDDEN = frozenset(
    {"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "icon\r", "@eadir", "$recycle.bin"}
)
_UNFIT = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode categories forbidden in a name: controls, undecodable bytes, line and paragraph ends."""
_DIRECTION = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_HEAD_BYTES = 2**20
"""Bytes to read from `metadata.jsonl`: enough to see whether it names generators."""


@dataclass(frozen=True)
class Listing:
    """The files below `images/` and `masks/`; paths are relative to the data folder, sorted."""

    files: tuple[str, ...]
    hidden: tuple[str, ...] = ()
    """Files and folders that an operating system made for its own use."""
    linked: tuple[str, ...] = ()
    """Folders that are symbolic links; their contents are not listed."""
    deeper: tuple[str, ...] = ()
    """Folders too deep for pairs; their contents are not listed."""

    @property
    def skipped(self) -> tuple[str, ...]:
        return tuple(sorted((*self.hidden, *self.linked, *self.deeper)))


def is_hidden(name: str) -> bool:
    """Whether an operating system made this file or folder for its own use: `.DS_Store`, `Thumbs.db`, …"""
    return name.startswith(".") or name.lower() in _HIDDEN


def is_picture(path: str) -> bool:
    """Whether the file has a picture's ending. Only the content determines the format."""
    return Path(path).suffix.lower() in SUFFIXES


def stem_of(path: str) -> str:
    """The name of a pair: the file's name without its ending (such as `.ome.tif`), in Unicode's form C.

    The same name from two operating systems can differ in bytes (`é` as one character or two).
    """
    name = path.rpartition("/")[2]
    match = _OME.search(name)
    if match is not None and match.end() == len(name) and match.start() > 0:
        stem = name[: match.start()]
    else:
        stem = Path(name).stem
    return unicodedata.normalize("NFC", stem)


def unfit_character(name: str) -> str | None:
    """The first character that is forbidden in file names, such as `U+000A`; None if all are allowed.

    Spaces of every kind and joiners are allowed. Controls, bytes that are not UTF-8, line ends and characters
    that change the direction of the surrounding text are forbidden.
    """
    for character in name:
        if unicodedata.category(character) in _UNFIT or character in _DIRECTION:
            return f"U+{ord(character):04X}"
    return None


def list_files(root: Path, *, deep: bool = False) -> Listing:
    """List the files below `images/` and `masks/`; if one of these is missing or a link, it is skipped.

    Args:
        root: the data folder.
        deep: also look into folders below `images/` and `masks/CLASS/`, which cannot hold pairs.

    Raises:
        InputError: a folder cannot be listed, or more than `MAX_FILES` files were found.
    """
    found = _Found()
    for top, depth in ((IMAGES, 0), (MASKS, 1)):
        folder = root / top
        if folder.is_dir() and not folder.is_symlink():
            try:
                found.scan(folder, top, None if deep else depth)
            except OSError as error:
                raise InputError(
                    error.filename or folder,
                    expected="a folder that can be listed",
                    found=error.strerror or type(error).__name__,
                    next_step="check its permissions",
                ) from error
    return found.listing()


class _Found:
    """Collects the entries of a `Listing`."""

    def __init__(self) -> None:
        self.files: list[str] = []
        self.hidden: list[str] = []
        self.linked: list[str] = []
        self.deeper: list[str] = []

    def listing(self) -> Listing:
        return Listing(
            tuple(sorted(self.files)),
            tuple(sorted(self.hidden)),
            tuple(sorted(self.linked)),
            tuple(sorted(self.deeper)),
        )

    def scan(self, folder: Path, prefix: str, depth: int | None) -> None:
        """List one folder and `depth` levels below it; None lists all levels."""
        with os.scandir(folder) as entries:
            for entry in entries:
                path = f"{prefix}/{entry.name}"
                if is_hidden(entry.name):
                    self.hidden.append(path)
                elif not entry.is_dir():
                    self.files.append(path)
                elif entry.is_symlink():
                    self.linked.append(path)
                elif depth == 0:
                    self.deeper.append(path)
                else:
                    self.scan(Path(entry.path), path, None if depth is None else depth - 1)
                if len(self.files) > MAX_FILES:
                    raise InputError(
                        folder,
                        expected=f"at most {MAX_FILES} files",
                        found="more",
                        next_step="split the folder",
                    )


def require_folders(root: Path) -> None:
    """Refuse a data folder without `images/` and `masks/`.

    Raises:
        InputError: one of them is missing, or is a link.
    """
    for top in (IMAGES, MASKS):
        folder = root / top
        if folder.is_symlink():
            raise link_error(folder, folder)
        if not folder.is_dir():
            raise InputError(
                root,
                expected="a folder with images/ and masks/ in it",
                found=f"no {top}/",
                next_step="put pictures into images/ and masks of the same names into masks/",
            )


def read_file(root: Path, path: str) -> bytes:
    """Read a file of a data folder.

    Raises:
        InputError: naming `path`; it is a link, not a regular file, unreadable, or too large.
    """
    if (root / path).is_symlink():
        raise link_error(path, root / path)
    try:
        return files.read_bytes(root / path, max_bytes=MAX_FILE_BYTES)
    except InputError as error:
        # The same refusal, but with the path inside the data folder.
        raise InputError(
            path, expected=error.expected, found=error.found, next_step=error.next_step
        ) from None


def link_error(item: object, path: Path) -> InputError:
    """The refusal of a symbolic link, with a remedy: nothing outside the named folder is ever read."""
    if path.exists():
        found, next_step = "a symbolic link", "copy the data with its links followed: cp -rL DATA COPY"
    else:
        found = "a symbolic link to a file that is not there"
        next_step = "fetch the contents first (git annex get, dvc pull), then copy: cp -rL DATA COPY"
    return InputError(item, expected="a file or folder of its own", found=found, next_step=next_step)


def generated_by(root: Path) -> str | None:
    """How a folder states that generators drew its pictures; None if it does not.

    `consumer sample` and `consumer style` write a `dataset.json` that names a bundle and its generators, and
    a `metadata.jsonl` with a generator on every line. A `dataset.json` of another form is ignored.
    """
    description = _parsed(root / DESCRIPTION)
    if isinstance(description, dict) and {"bundle", "generators"} <= description.keys():
        return f"{DESCRIPTION} names the bundle and the generators that drew it"
    if any(isinstance(line, dict) and "generator" in line for line in _first_lines(root / METADATA)):
        return f"{METADATA} names a generator for its pictures"
    return None


def _parsed(path: Path) -> object:
    try:
        return files.parse_json(files.read_bytes(path, max_bytes=files.MAX_JSON_BYTES), path)
    except SharekitError:
        return None


def _first_lines(path: Path) -> list[object]:
    try:
        if not path.is_file():
            return []
        with path.open("rb") as file:
            lines = file.read(_HEAD_BYTES).split(b"\n")[:100]
    except OSError:
        return []
    found = []
    for line in lines:
        try:
            found.append(files.parse_json(line, path))
        except SharekitError:
            continue
    return found
