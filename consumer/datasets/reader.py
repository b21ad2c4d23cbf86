"""Reading a data-set folder that somebody else wrote: `images/`, `masks/` and its metadata, if it has any.

Two forms are read: the one that `consumer sample` writes (`metadata.jsonl` names every pair), and any folder
with `images/` and `masks/`, paired by stem. Paths never lead out of the folder, and every read has a cap.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from consumer.datasets.resumable_folder import refuse_unfinished
from sharekit.errors import InputError, SharekitError
from sharekit.storage import files
from sharekit.storage.budget import Budget
from sharekit.storage.names import printable

METADATA_FILE = "metadata.jsonl"
DESCRIPTION_FILE = "dataset.json"
IMAGE_FOLDER = "images"
MASK_FOLDER = "masks"
DEFAULT_CLASS = "mask"
"""The class of a mask that lies in `masks/` itself."""

FORMATS = ("PNG", "JPEG", "TIFF")
MAX_PIXELS = 64 * 2**20  # of one image
MAX_IMAGE_BYTES = 256 * 2**20
METADATA_BUDGET = Budget(256 * 2**20, max_nodes=8_000_000, max_depth=32, max_keys=8_000_000)
"""For the whole of `metadata.jsonl`: a million samples of one class have 7 million values."""
LINE_BUDGET = Budget(2**20, max_nodes=10_000, max_depth=32, max_keys=10_000)
MAX_FILES = 1_000_000

COLOUR_DIFFERENCE = 32
"""Between the channels of a mask's pixel: more than JPEG's rounding makes of grey."""

_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
_MAX_PATH_LENGTH = 1024  # characters
_MAX_NAME_LENGTH = 200  # characters

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Entry:
    """One image with its masks; paths are relative to the folder, with `/` between the parts."""

    image: str
    masks: Mapping[str, str]
    """Class name to path."""
    generator: str | None = None
    record: Mapping[str, Any] = field(default_factory=dict)
    """The entry's line of `metadata.jsonl` as it is; empty without one."""


@dataclass(frozen=True)
class Problem:
    """A file that could not be used, or should not be there."""

    kind: str
    """broken-metadata, unsafe-path, missing-file, unlisted-file, repeated-file or unpaired-file; of a file's
    content unreadable-image, unreadable-mask or size-mismatch."""
    path: str
    message: str


@dataclass(frozen=True)
class DatasetFolder:
    """What a folder holds; `problems`, found before any pixel is read, are what a strict reader refuses."""

    root: Path
    entries: tuple[Entry, ...]
    description: Mapping[str, Any]
    """`dataset.json`, or empty."""
    problems: tuple[Problem, ...] = ()

    def read_image(self, entry: Entry) -> Pixels:
        """uint8 `(H, W, 3)`, or `(H, W)` when grey.

        Raises:
            InputError: missing, unreadable, too large, 16-bit or transparent.
        """
        return decode(self.read_bytes(entry.image), self.root / entry.image)

    def read_mask(self, path: str) -> Pixels:
        """A mask as it is stored, uint8 `(H, W)`, any grey values.

        Raises:
            InputError: missing, unreadable, too large, 16-bit or coloured.
        """
        item = self.root / path
        pixels = decode(self.read_bytes(path), item)
        if pixels.ndim == 3:
            if int(np.ptp(pixels.astype(np.int16), axis=2).max(initial=0)) > COLOUR_DIFFERENCE:
                raise _refuse(item, "a grey mask", "a coloured image", "store masks as 8-bit grey, 0 and 255")
            pixels = np.ascontiguousarray(pixels[:, :, 0])
        return pixels

    def read_bytes(self, path: str) -> bytes:
        """A file of the folder, whole."""
        return files.read_bytes(self.root / path, max_bytes=MAX_IMAGE_BYTES)

    def require_sound(self) -> DatasetFolder:
        """The same folder, when it has no problem.

        Raises:
            InputError: naming the first problem's file.
        """
        if self.problems:
            first = self.problems[0]
            more = f" (and {len(self.problems) - 1} more problems)" if len(self.problems) > 1 else ""
            raise _refuse(
                self.root / first.path,
                "a sound data set",
                first.message + more,
                "see them all with `consumer validate`",
            )
        return self


def read_folder(root: Path) -> DatasetFolder:
    """List a data set's pairs without reading a pixel.

    Raises:
        InputError: not a folder, no `images/`, or too many files.
    """
    refuse_unfinished(root)
    for folder in (root, root / IMAGE_FOLDER):
        if not folder.is_dir():
            raise _refuse(
                folder, "a data set with images/ and masks/", "no such folder", "name the data set's folder"
            )
    problems: list[Problem] = []
    present = _list_files(root, problems)
    description = _read_description(root, problems)
    if (root / METADATA_FILE).exists():
        entries = _from_metadata(root, present, problems)
    else:
        entries = _by_stem(present, problems)
    single = _single_class(description)
    if single is not None:
        entries = [_renamed(entry, single) for entry in entries]
    problems.sort(key=lambda problem: problem.path)
    return DatasetFolder(root, tuple(entries), description, tuple(problems))


def decode(data: bytes, item: object) -> Pixels:
    """Decode an image file to uint8 `(H, W)` or `(H, W, 3)`; orientation applied, nothing but pixels kept.

    Raises:
        InputError: naming `item`, when it is broken, too large, of another format or not 8-bit and opaque.
    """
    try:
        with warnings.catch_warnings():
            # Sizes are capped below, before anything is decoded.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                width, height = image.size
                if width * height > MAX_PIXELS:
                    raise _refuse(
                        item, f"at most {MAX_PIXELS} pixels", f"{width}x{height}", "make it smaller"
                    )
                return _to_pixels(ImageOps.exif_transpose(image), item)
    except SharekitError:
        raise
    except Image.DecompressionBombError:
        raise _refuse(item, f"at most {MAX_PIXELS} pixels", "many more", "make it smaller") from None
    except Exception as error:
        # Pillow puts an object's address into the message of an unknown format.
        known = isinstance(error, OSError) and not isinstance(error, UnidentifiedImageError)
        reason = str(error) if known else "an unreadable file"
        raise _refuse(item, "a PNG, JPEG or TIFF image", reason, "replace the file") from None


def _to_pixels(image: Image.Image, item: object) -> Pixels:
    if image.mode in ("1", "L"):
        return np.asarray(image.convert("L"))
    if image.mode == "RGB":
        return np.asarray(image)
    if image.mode in ("P", "RGBA", "LA"):
        rgba = np.asarray(image.convert("RGBA"))
        if int(rgba[:, :, 3].min(initial=255)) < 255:
            raise _refuse(item, "an opaque image", "transparent pixels", "store it without an alpha channel")
        return np.ascontiguousarray(rgba[:, :, :3])
    raise _refuse(item, "an 8-bit grey or RGB image", f"mode {image.mode}", "convert it to 8 bits a channel")


def _list_files(root: Path, problems: list[Problem]) -> dict[str, str]:
    """Every file under `images/` and `masks/` as relative path, mapped to itself without its suffix."""
    present: dict[str, str] = {}
    for top in (IMAGE_FOLDER, MASK_FOLDER):
        if (root / top).is_symlink():
            problems.append(Problem("unsafe-path", top, "a link; copy the folder itself"))
            continue
        for folder, folders, names in os.walk(root / top):
            folders.sort()
            for name in sorted(names):
                path = (Path(folder) / name).relative_to(root).as_posix()
                if not _is_safe(path):
                    problems.append(Problem("unsafe-path", printable(path), "a name that may not be used"))
                    continue
                present[path] = path.removesuffix(Path(name).suffix)
                if len(present) > MAX_FILES:
                    raise _refuse(root, f"at most {MAX_FILES} files", "more", "split the data set")
    return present


def _by_stem(present: Mapping[str, str], problems: list[Problem]) -> list[Entry]:
    images: dict[str, str] = {}
    masks: dict[str, dict[str, str]] = {}
    for path, stem in present.items():
        top, *middle, name = PurePosixPath(stem).parts
        if Path(path).suffix.lower() not in _SUFFIXES:
            problems.append(Problem("unlisted-file", path, "not an image file"))
        elif len(middle) > (1 if top == MASK_FOLDER else 0):
            problems.append(Problem("unlisted-file", path, "deeper in the folder than pairs are looked for"))
        elif top == IMAGE_FOLDER:
            if name in images:
                problems.append(Problem("repeated-file", path, f"the same stem as {images[name]}"))
            images.setdefault(name, path)
        else:
            classes = masks.setdefault(name, {})
            label = middle[0] if middle else DEFAULT_CLASS
            if label in classes:
                problems.append(Problem("repeated-file", path, f"the same stem as {classes[label]}"))
            classes.setdefault(label, path)
    for name in images.keys() - masks.keys():
        problems.append(Problem("unpaired-file", images[name], "an image without a mask"))
    for name in masks.keys() - images.keys():
        for path in masks[name].values():
            problems.append(Problem("unpaired-file", path, "a mask without an image"))
    return [Entry(path, masks[name]) for name, path in sorted(images.items()) if name in masks]


def _from_metadata(root: Path, present: Mapping[str, str], problems: list[Problem]) -> list[Entry]:
    entries: list[Entry] = []
    listed: set[str] = set()
    for number, record in _records(root, problems):
        where = f"{METADATA_FILE}:{number}"
        try:
            entry = _entry(record)
        except ValueError as error:
            problems.append(Problem("broken-metadata", where, str(error)))
            continue
        paths = (entry.image, *entry.masks.values())
        sound = True
        for path in paths:
            if not _is_safe(path):
                problems.append(
                    Problem("unsafe-path", where, f"the path {printable(path)} leads out of the data set")
                )
            elif path in listed:
                problems.append(Problem("repeated-file", path, "listed more than once"))
            elif path not in present or _leaves(root, path):
                problems.append(Problem("missing-file", path, f"listed in {METADATA_FILE}, but not there"))
            else:
                continue
            sound = False
        listed.update(paths)
        if sound:
            entries.append(entry)
    for path in present.keys() - listed:
        problems.append(Problem("unlisted-file", path, f"there, but not listed in {METADATA_FILE}"))
    return entries


def _records(root: Path, problems: list[Problem]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    data = files.read_bytes(root / METADATA_FILE, max_bytes=METADATA_BUDGET.max_bytes)
    for number, record in files.parse_json_lines(data, METADATA_FILE, METADATA_BUDGET, LINE_BUDGET):
        where = f"{METADATA_FILE}:{number}"
        if isinstance(record, SharekitError):
            problems.append(Problem("broken-metadata", where, record.found))
        elif not isinstance(record, dict):
            problems.append(Problem("broken-metadata", where, "not a JSON object"))
        else:
            yield number, record


def _entry(record: Mapping[str, Any]) -> Entry:
    """An entry from a line of metadata: one `mask_file_name`, or one `<class>_mask_file_name` a class."""
    image = record.get("file_name")
    masks = {
        key.removesuffix("mask_file_name").rstrip("_") or DEFAULT_CLASS: value
        for key, value in record.items()
        if key.endswith("mask_file_name")
    }
    generator = record.get("generator")
    if not isinstance(image, str) or not masks or not all(isinstance(path, str) for path in masks.values()):
        raise ValueError("no file_name or mask_file_name")
    if generator is not None and not _is_name(generator):
        raise ValueError("a generator that is not a short name")
    if not all(_is_name(label) for label in masks):
        raise ValueError("a mask class that is not a short name")
    return Entry(image, masks, generator, record)


def _single_class(description: Mapping[str, Any]) -> str | None:
    """The name of a data set's only mask class, whose masks lie in `masks/` itself."""
    layout = description.get("layout")
    classes = layout.get("mask_classes") if isinstance(layout, dict) else None
    single = isinstance(classes, list) and len(classes) == 1 and _is_name(classes[0])
    return classes[0] if single and classes else None


def _renamed(entry: Entry, label: str) -> Entry:
    if len(entry.masks) > 1:
        return entry
    (path,) = entry.masks.values()
    return replace(entry, masks={label: path})


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _MAX_NAME_LENGTH and value.isprintable()


def _is_safe(path: str) -> bool:
    """Whether a relative path stays inside `images/` or `masks/`, on any system."""
    parts = path.split("/")
    return (
        len(path) <= _MAX_PATH_LENGTH
        and path.isprintable()
        and not set(path) & set("\\:")
        and len(parts) >= 2
        and parts[0] in (IMAGE_FOLDER, MASK_FOLDER)
        and not any(part in ("", ".", "..") for part in parts)
    )


def _leaves(root: Path, path: str) -> bool:
    """Whether a link somewhere in the path leads out of the folder."""
    return not (root / path).resolve().is_relative_to(root.resolve())


def _read_description(root: Path, problems: list[Problem]) -> Mapping[str, Any]:
    path = root / DESCRIPTION_FILE
    if not path.exists():
        return {}
    try:
        description = files.parse_json(
            files.read_bytes(path, max_bytes=files.MAX_JSON_BYTES), DESCRIPTION_FILE
        )
    except SharekitError as error:
        problems.append(Problem("broken-metadata", DESCRIPTION_FILE, error.found))
        return {}
    if not isinstance(description, dict):
        problems.append(Problem("broken-metadata", DESCRIPTION_FILE, "not a JSON object"))
        return {}
    return description


def _refuse(item: object, expected: str, found: str, next_step: str) -> InputError:
    return InputError(item, expected=expected, found=found, next_step=next_step)
