"""Read a data-set folder of unknown origin: `images/`, `masks/` and optional metadata.

The reader accepts two forms: the one that `consumer sample` writes, where `metadata.jsonl` names every pair,
and any folder with `images/` and `masks/`, whose files pair by name. It follows no path out of the folder and
limits the size of every read.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consumer.datasets.description import DatasetDescription
from consumer.datasets.resumable_folder import refuse_unfinished
from sharekit.errors import InputError, SharekitError
from sharekit.pictures import decode as picture_files
from sharekit.pictures.decode import Raster, plain_pixels
from sharekit.pictures.folder import (
    DESCRIPTION,
    IMAGES,
    MASKS,
    METADATA,
    SINGLE_CLASS,
    list_files,
    read_file,
    unfit_character,
)
from sharekit.pictures.masks import USABLE, MaskError, MaskKind, MaskReading, read_mask
from sharekit.pictures.orientation import OrientationError, agreement, turned
from sharekit.pictures.pairing import pair
from sharekit.storage import files, schema
from sharekit.storage.budget import Budget
from sharekit.storage.names import printable

METADATA_BUDGET = Budget(256 * 2**20, max_nodes=8_000_000, max_depth=32, max_keys=8_000_000)
"""Budget of a whole `metadata.jsonl`: a million samples of one class have 7 million values."""
LINE_BUDGET = Budget(2**20, max_nodes=10_000, max_depth=32, max_keys=10_000)
_MAX_PATH_LENGTH = 1024  # characters
_MAX_NAME_LENGTH = 200  # characters
_NEXT_TURN = (
    "turn both the same way: magick mogrify -auto-orient IMAGE where the mask was drawn on the picture as "
    "shown, exiftool -Orientation= IMAGE where on the picture as stored"
)
_MASK_PROBLEMS = {MaskKind.NUMBERS: "class-numbers", MaskKind.GREY: "grey-mask"}

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Entry:
    """One image with its masks; paths are relative to the folder, with `/` between the parts."""

    image: str
    masks: Mapping[str, str]
    """Class name to path."""
    generator: str | None = None
    record: Mapping[str, Any] = field(default_factory=dict)
    """The entry's line of `metadata.jsonl`, unchanged; empty without metadata."""


@dataclass(frozen=True)
class Problem:
    """A file that cannot be used, or that does not belong in the data set."""

    kind: str
    """Kind of problem, one word of two lists.

    The folder: broken-metadata, unsafe-path, missing-file, unlisted-file, repeated-file or unpaired-file. A
    file's content: unreadable-image, unreadable-mask, class-numbers, grey-mask, size-mismatch or
    orientation-mismatch.
    """
    path: str
    message: str


class UnusablePairError(InputError):
    """A pair of a data set cannot be used; `problem` describes it as a report does."""

    problem: Problem


@dataclass(frozen=True)
class DatasetFolder:
    """Contents of a data-set folder, and the problems that listing found before reading any pixel."""

    root: Path
    entries: tuple[Entry, ...]
    description: Mapping[str, Any]
    """`dataset.json`, unchanged; empty without one."""
    problems: tuple[Problem, ...] = ()
    drawn: DatasetDescription | None = None
    """How the data set was drawn from a bundle; None where `dataset.json` does not say."""

    @property
    def manifests(self) -> tuple[str, ...]:
        """Digests of the manifests of the bundles that it was drawn from, if `dataset.json` says."""
        if self.drawn is not None:
            return (self.drawn.manifest_sha256,)
        sources = self.description["sources"] if is_mixture(self.description) else ()
        return tuple(source["manifest_sha256"] for source in sources)

    def hospital_of(self, entry: Entry) -> str:
        """The hospital whose generator drew an image; empty if nothing says."""
        if self.drawn is not None:
            return self.drawn.hospital
        hospital = entry.record.get("hospital")
        return hospital if isinstance(hospital, str) else ""

    def read_image(self, entry: Entry) -> Pixels:
        """Read an image upright: uint8 `(H, W, 3)`, or `(H, W)` when grey.

        Raises:
            InputError: the file is missing, unreadable, too large, not 8-bit, or partly transparent.
        """
        return decode(self.read_bytes(entry.image), self.root / entry.image)

    def read_mask(self, path: str) -> Pixels:
        """Read a mask upright: uint8 `(H, W)`, values 0 and 255.

        Raises:
            MaskError: the values are not those of a mask.
            InputError: the file is missing, unreadable or too large.
        """
        raster = self._raster(path)
        return np.ascontiguousarray(turned(self._reading(raster, path).mask, raster.orientation))

    def read_pair(
        self, entry: Entry, labels: Collection[str] | None = None
    ) -> tuple[Pixels, Mapping[str, MaskReading]]:
        """Read an image as `read_image` does, with its masks in the same orientation and size.

        Args:
            entry: the pair.
            labels: classes whose masks to read; None reads all.

        Raises:
            UnusablePairError: a file is unusable, or image and mask differ in size or orientation.
        """
        wanted = {label: path for label, path in entry.masks.items() if labels is None or label in labels}
        with _as_problem("unreadable-image", self.root):
            image = self._raster(entry.image)
            pixels = plain_pixels(image, self.root / entry.image)
        rasters, readings = {}, {}
        for label, path in wanted.items():
            with _as_problem("unreadable-mask", self.root):
                rasters[label] = self._raster(path)
                readings[label] = self._reading(rasters[label], path)
        with _as_problem("size-mismatch", self.root):
            turn, turns = agreement(
                image.stored(self.root / entry.image),
                {label: mask.stored(self.root / wanted[label]) for label, mask in rasters.items()},
                None,
                _NEXT_TURN,
            )
        return _squeezed(turned(pixels, turn)), {
            label: replace(reading, mask=np.ascontiguousarray(turned(reading.mask, turns[label])))
            for label, reading in readings.items()
        }

    def read_bytes(self, path: str) -> bytes:
        """Read a whole file of the folder.

        Raises:
            InputError: the file is missing, a symbolic link, or too long; the error names it.
        """
        try:
            return read_file(self.root, path)
        except InputError as error:
            raise _refuse(self.root / path, error.expected, error.found, error.next_step) from None

    def _raster(self, path: str) -> Raster:
        return picture_files.decode(self.read_bytes(path), self.root / path)

    def _reading(self, raster: Raster, path: str) -> MaskReading:
        reading = read_mask(raster)
        if reading.kind not in USABLE:
            raise reading.refusal(self.root / path)
        return reading

    def require_sound(self) -> DatasetFolder:
        """Return this folder if it has no problem.

        Raises:
            InputError: it has one; the error names the first problem's file.
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
        InputError: `root` is not a folder, has no `images/`, or holds too many files.
    """
    refuse_unfinished(root)
    for folder in (root, root / IMAGES):
        if not folder.is_dir():
            inside = [path.parent.name for path in sorted(root.glob(f"*/{DESCRIPTION}"))]
            found = f"a folder of data sets: {', '.join(inside[:5])}" if inside else "no such folder"
            raise _refuse(folder, "a data set with images/ and masks/", found, "name the data set's folder")
    problems: list[Problem] = []
    present = _list_files(root, problems)
    description, drawn = _read_description(root, problems)
    entries = (
        _from_metadata(root, present, problems) if (root / METADATA).exists() else _by_name(present, problems)
    )
    classes = _classes_of(description, drawn)
    if len(classes) == 1:
        # The masks of a data set's only class lie in `masks/` itself.
        entries = [_renamed(entry, classes[0]) for entry in entries]
    problems.sort(key=lambda problem: problem.path)
    return DatasetFolder(root, tuple(entries), description, tuple(problems), drawn)


def is_mixture(description: Mapping[str, Any]) -> bool:
    """Whether a `dataset.json` is of a data set that `consumer sample` drew from several bundles."""
    return "sources" in description and "noise_scheme" in description


def _classes_of(description: Mapping[str, Any], drawn: DatasetDescription | None) -> tuple[str, ...]:
    """The mask classes of a data set that was drawn from one bundle or from several."""
    if drawn is not None:
        return drawn.layout.mask_classes
    return tuple(description["layout"]["mask_classes"]) if is_mixture(description) else ()


def decode(data: bytes, item: object) -> Pixels:
    """Decode an image file to upright pixels: uint8 `(H, W)` or `(H, W, 3)`, without metadata.

    Raises:
        InputError: the file is broken, too large, of another format, or not 8-bit and opaque; the error names
            `item`.
    """
    raster = picture_files.decode(data, item)
    return _squeezed(turned(plain_pixels(raster, item), raster.orientation))


def _squeezed(pixels: Pixels) -> Pixels:
    """A contiguous copy, `(H, W)` instead of `(H, W, 1)`."""
    return np.ascontiguousarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


@contextlib.contextmanager
def _as_problem(kind: str, root: Path) -> Iterator[None]:
    """Turn an error of the block into an `UnusablePairError` of `kind`, or of a more specific kind."""
    try:
        yield
    except InputError as error:
        if isinstance(error, MaskError):
            kind = _MASK_PROBLEMS.get(error.reading.kind, kind)
        elif isinstance(error, OrientationError):
            kind = "orientation-mismatch"
        unusable = UnusablePairError(
            error.item, expected=error.expected, found=error.found, next_step=error.next_step
        )
        path = error.item.removeprefix(f"{root}/")
        unusable.problem = Problem(kind, path, f"{error.found}; {error.next_step}")
        raise unusable from error


def _list_files(root: Path, problems: list[Problem]) -> list[str]:
    """Every file under `images/` and `masks/` with a usable name, relative to `root`."""
    for top in (IMAGES, MASKS):
        if (root / top).is_symlink():
            problems.append(Problem("unsafe-path", top, _LINKED))
    listing = list_files(root, deep=True)
    problems += [Problem("unsafe-path", printable(path), _LINKED) for path in listing.linked]
    present = []
    for path in listing.files:
        unfit = unfit_character(path)
        if unfit is None:
            present.append(path)
        else:
            problems.append(Problem("unsafe-path", printable(path), f"a name with the character {unfit}"))
    return present


_LINKED = "a linked folder; copy the data with its links followed: cp -rL DATA COPY"


def _by_name(present: Sequence[str], problems: list[Problem]) -> list[Entry]:
    pairing = pair(present)
    found: dict[tuple[str, str], Problem] = {}
    for mismatch in pairing.mismatches:
        # All files of one name count as one problem.
        key = mismatch.reason.found if mismatch.kind == "repeated-file" else mismatch.path
        found.setdefault((mismatch.kind, key), Problem(mismatch.kind, mismatch.path, mismatch.reason.found))
    problems += found.values()
    return [Entry(source.image, source.masks) for source in sorted(pairing.pairs, key=lambda one: one.name)]


def _from_metadata(root: Path, listing: Sequence[str], problems: list[Problem]) -> list[Entry]:
    entries: list[Entry] = []
    present, listed = set(listing), set[str]()
    for number, record in _records(root, problems):
        where = f"{METADATA}:{number}"
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
            elif path not in present:
                problems.append(Problem("missing-file", path, f"listed in {METADATA}, but not there"))
            elif _leaves(root, path):
                problems.append(Problem("missing-file", path, _LEADS_OUT))
            else:
                continue
            sound = False
        listed.update(paths)
        if sound:
            entries.append(entry)
    for path in present - listed:
        problems.append(Problem("unlisted-file", path, f"there, but not listed in {METADATA}"))
    return entries


_LEADS_OUT = (
    "a symbolic link that leads out of the data set; copy it with its links followed: cp -rL DATA COPY"
)


def _records(root: Path, problems: list[Problem]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    data = files.read_bytes(root / METADATA, max_bytes=METADATA_BUDGET.max_bytes)
    for number, record in files.parse_json_lines(data, METADATA, METADATA_BUDGET, LINE_BUDGET):
        where = f"{METADATA}:{number}"
        if isinstance(record, SharekitError):
            problems.append(Problem("broken-metadata", where, record.found))
        elif not isinstance(record, dict):
            problems.append(Problem("broken-metadata", where, "not a JSON object"))
        else:
            yield number, record


def _entry(record: Mapping[str, Any]) -> Entry:
    """An entry from a line of metadata: one `mask_file_name`, or one `<class>_mask_file_name` per class."""
    image = record.get("file_name")
    masks = {
        key.removesuffix("mask_file_name").rstrip("_") or SINGLE_CLASS: value
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
        and unfit_character(path) is None
        and not set(path) & set("\\:")
        and len(parts) >= 2
        and parts[0] in (IMAGES, MASKS)
        and not any(part in ("", ".", "..") for part in parts)
    )


def _leaves(root: Path, path: str) -> bool:
    """Whether a symbolic link in the path leads out of the folder."""
    return not (root / path).resolve().is_relative_to(root.resolve())


def _read_description(
    root: Path, problems: list[Problem]
) -> tuple[Mapping[str, Any], DatasetDescription | None]:
    path = root / DESCRIPTION
    if not path.exists():
        return {}, None
    try:
        value = files.parse_json(files.read_bytes(path, max_bytes=files.MAX_JSON_BYTES), DESCRIPTION)
        if isinstance(value, dict) and is_mixture(value):
            schema.validate("mixture", value, DESCRIPTION)
            return value, None
        if isinstance(value, dict):
            return value, DatasetDescription.read(value, DESCRIPTION)
        found = "not a JSON object"
    except SharekitError as error:
        found = error.found
    problems.append(Problem("broken-metadata", DESCRIPTION, found))
    return {}, None


def _refuse(item: object, expected: str, found: str, next_step: str) -> InputError:
    return InputError(item, expected=expected, found=found, next_step=next_step)
