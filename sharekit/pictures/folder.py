"""What a data folder looks like, on both sides: folder names, hidden files, endings, and file names.

A folder holds either form:

    images/NAME.png   masks/NAME.png          one class, `SINGLE_CLASS`
    images/NAME.png   masks/CLASS/NAME.png …  one class a folder
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
"""The class of masks that lie in `masks/` itself, where no `dataset.json` names it."""
FORMER_SINGLE_CLASS = "mask"
"""What consumers called `SINGLE_CLASS` before both sides agreed; segmenters still carry it."""

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".tif", ".tiff"})
MAX_FILES = 1_000_000
MAX_FILE_BYTES = 256 * 2**20
"""Of one picture or mask, as it is stored."""

_OME = re.compile(r"\.ome\.tiff?", re.IGNORECASE)
_HIDDEN = frozenset(
    {"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "icon\r", "@eadir", "$recycle.bin"}
)
_UNFIT = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode categories that a name must not hold: controls, undecodable bytes, line and paragraph ends."""
_DIRECTION = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_HEAD_BYTES = 2**20
"""Of `metadata.jsonl`: enough to see whether generators are named in it."""


@dataclass(frozen=True)
class Listing:
    """The files below `images/` and `masks/`; paths are relative to the data folder, sorted."""

    files: tuple[str, ...]
    hidden: tuple[str, ...] = ()
    """Files and folders that an operating system made for itself."""
    linked: tuple[str, ...] = ()
    """Folders that are symbolic links; nothing below them is listed."""
    deeper: tuple[str, ...] = ()
    """Folders deeper than pairs are looked for; nothing below them is listed."""

    @property
    def skipped(self) -> tuple[str, ...]:
        return tuple(sorted((*self.hidden, *self.linked, *self.deeper)))


def is_hidden(name: str) -> bool:
    """Whether an operating system made this file or folder for itself: `.DS_Store`, `._x`, `Thumbs.db`, …"""
    return name.startswith(".") or name.lower() in _HIDDEN


def is_picture(path: str) -> bool:
    """Whether the file's ending is that of a picture. The content alone tells the format."""
    return Path(path).suffix.lower() in SUFFIXES


def stem_of(path: str) -> str:
    """What names a pair: the file's name without its ending (`.ome.tif` is one), in Unicode's form C.

    The same name typed on two operating systems may differ in bytes (`é` as one character or two).
    """
    name = path.rpartition("/")[2]
    match = _OME.search(name)
    if match is not None and match.end() == len(name) and match.start() > 0:
        stem = name[: match.start()]
    else:
        stem = Path(name).stem
    return unicodedata.normalize("NFC", stem)


def unfit_character(name: str) -> str | None:
    """The first character that no file name may hold, as `U+000A`; None where the name is fit.

    Spaces of every kind and joiners are fit; controls, bytes that are not UTF-8, line ends and characters
    that turn the direction of the text around them are not.
    """
    for character in name:
        if unicodedata.category(character) in _UNFIT or character in _DIRECTION:
            return f"U+{ord(character):04X}"
    return None


def list_files(root: Path, *, deep: bool = False) -> Listing:
    """List what lies below `images/` and `masks/`; a missing or linked one of the two gives nothing.

    Args:
        root: the data folder.
        deep: also look into folders below `images/` and `masks/CLASS/`, which hold no pairs by name.

    Raises:
        InputError: a folder cannot be listed, or there are more than `MAX_FILES` files.
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
    """A listing in the making."""

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
        """List one folder and `depth` levels below it, all levels where it is None."""
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
    """The bytes of a file of a data folder.

    Raises:
        InputError: naming `path`; a link, no regular file, unreadable, or too long.
    """
    if (root / path).is_symlink():
        raise link_error(path, root / path)
    try:
        return files.read_bytes(root / path, max_bytes=MAX_FILE_BYTES)
    except InputError as error:
        # The same refusal, named as the folder's owner knows the file.
        raise InputError(
            path, expected=error.expected, found=error.found, next_step=error.next_step
        ) from None


def link_error(item: object, path: Path) -> InputError:
    """The refusal of a symbolic link, with a way out: nothing outside the named folder is ever read."""
    if path.exists():
        found, next_step = "a symbolic link", "copy the data with its links followed: cp -rL DATA COPY"
    else:
        found = "a symbolic link to a file that is not there"
        next_step = "fetch the contents first (git annex get, dvc pull), then copy: cp -rL DATA COPY"
    return InputError(item, expected="a file or folder of its own", found=found, next_step=next_step)


def generated_by(root: Path) -> str | None:
    """How a folder says that its pictures were drawn by generators; None where it doesn't say so.

    `dataset.json` of `consumer sample` and `consumer style` names a bundle and its generators, and their
    `metadata.jsonl` a generator on every line. A `dataset.json` of another form says nothing.
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
