"""Read the file that says which images belong together: a CSV with the columns `image` and `group`."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath, PurePosixPath

from hospital_node.ledger.states import ImageRecord, ImageState
from sharekit.errors import InputError
from sharekit.storage import files

MAX_BYTES = 16 * 2**20
COLUMNS = ("image", "group")
PATIENT = "patient"
"""Another name for the second column."""


def read_groups(path: Path, images: Iterable[ImageRecord]) -> dict[str, str]:
    """The group of every ingested image that the file names, by the image's identifier.

    Args:
        path: each row names an image, by its path, its file name or its stem, and the group it belongs to (a
            patient, a sequence).
        images: all of the node; rows about refused and held-out images are ignored.

    Raises:
        InputError: the file is unreadable, a name fits no image or several, or an image is in two groups.
    """
    sources = {image.id: image for image in images if image.source_image}
    known = by_name({name: (image.source_image, image.data_dir) for name, image in sources.items()})
    next_step = "see `hospital-node status --all --format json` for the images' paths"

    def ingested(found: Sequence[str]) -> list[str]:
        return [image for image in found if sources[image].state is ImageState.INGESTED]

    return _read(path, known, ingested, "one image of this node", next_step)


def read_patients(path: Path, data: Path, images: Iterable[str]) -> dict[str, str]:
    """The patient of every image of a data folder that the file names, by the image's path in the folder.

    Args:
        path: as for `read_groups`; the second column may also be called `patient`.
        data: the data folder.
        images: paths of all its images, and of those that it held before, relative to it.

    Raises:
        InputError: the file is unreadable, a name fits no image or several, or an image has two patients.
    """
    known = by_name({image: (image, str(data)) for image in images})
    next_step = "correct the name, or take the row out; nothing was ingested"
    return _read(path, known, list, f"one image of {data}", next_step)


def _read(
    path: Path,
    known: Callable[[str], Sequence[str]],
    choose: Callable[[Sequence[str]], Sequence[str]],
    expected: str,
    next_step: str,
) -> dict[str, str]:
    """Image to group; `known` gives the images that a name fits, and `choose` those of them that count."""
    groups: dict[str, str] = {}
    for line, name, group in _rows(path):
        found = known(name)
        chosen = choose(found)
        if not found or len(chosen) > 1:
            raise _refusal(
                path,
                line,
                expected=f"the path, file name or stem of {expected}",
                found=f"{name!r}, which is {'no image' if not found else f'{len(chosen)} images'}",
                next_step=next_step,
            )
        for image in chosen:
            if groups.setdefault(image, group) != group:
                raise _refusal(
                    path,
                    line,
                    expected="every image in one group",
                    found=f"{name!r} in {groups[image]!r} and in {group!r}",
                    next_step="keep the group that is right",
                )
    return groups


def by_name(sources: Mapping[str, tuple[str, str]]) -> Callable[[str], Sequence[str]]:
    """A function from a name, a path, a file name or a stem to the images that have it.

    Args:
        sources: image to its path and its data folder.
    """
    found = defaultdict(list)
    for image, (path, data) in sources.items():
        source = PurePosixPath(path)
        for name in {str(source), str(PurePath(data) / source), source.name, source.stem}:
            found[_normal(name)].append(image)
    return lambda name: found.get(_normal(name), [])


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _rows(path: Path) -> Iterator[tuple[int, str, str]]:
    """Line, image and group of every row."""
    try:
        text = files.read_bytes(path, max_bytes=MAX_BYTES).decode("utf-8-sig")
        # Spreadsheet programs in some languages write semicolons.
        delimiter = ";" if ";" in text.partition("\n")[0] else ","
        reader = csv.DictReader(io.StringIO(text), strict=True, delimiter=delimiter)
        rows = [(reader.line_num, row) for row in reader]
        header = tuple(reader.fieldnames or ())
    except (UnicodeDecodeError, csv.Error) as error:
        raise _refusal(
            path,
            1,
            expected="a CSV file in UTF-8",
            found=f"{type(error).__name__}: {error}",
            next_step="save the table as CSV in UTF-8",
        ) from error
    columns = (COLUMNS[0], PATIENT) if PATIENT in header and COLUMNS[1] not in header else COLUMNS
    if not set(columns) <= set(header):
        raise _refusal(
            path,
            1,
            expected=f"the columns {' and '.join(COLUMNS)}",
            found=", ".join(header) or "an empty file",
            next_step="write a first line `image,group`",
        )
    for line, row in rows:
        image, group = ((row[column] or "").strip() for column in columns)
        if not image or not group:
            raise _refusal(
                path,
                line,
                expected="an image and its group",
                found=f"image {image!r}, group {group!r}",
                next_step="complete the row; an image that belongs to no other is a group of its own",
            )
        yield line, image, group


def _refusal(path: Path, line: int, *, expected: str, found: str, next_step: str) -> InputError:
    return InputError(f"{path}, line {line}", expected=expected, found=found, next_step=next_step)
