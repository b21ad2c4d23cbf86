"""Read the file that says which images belong together: a CSV with the columns `image` and `group`."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePath

from hospital_node.ledger.states import ImageRecord, ImageState
from sharekit.errors import InputError
from sharekit.storage import files

MAX_BYTES = 16 * 2**20
COLUMNS = ("image", "group")


def read_groups(path: Path, images: Iterable[ImageRecord]) -> dict[str, str]:
    """The group of every ingested image that the file names, by the image's identifier.

    Args:
        path: each row names an image, by its path, its file name or its stem, and the group it belongs to (a
            patient, a sequence).
        images: all of the node; rows about refused and held-out images are ignored.

    Raises:
        InputError: the file is unreadable, a name fits no image or several, or an image is in two groups.
    """
    known = _by_name(images)
    groups: dict[str, str] = {}
    for line, name, group in _rows(path):
        found = known.get(unicodedata.normalize("NFC", name), [])
        ingested = [image.id for image in found if image.state is ImageState.INGESTED]
        if not found or len(ingested) > 1:
            raise _refusal(
                path,
                line,
                expected="the path, file name or stem of one image of this node",
                found=f"{name!r}, which is {'no image' if not found else f'{len(ingested)} images'}",
                next_step="see `hospital-node status --all --format json` for the images' paths",
            )
        for image in ingested:
            if groups.setdefault(image, group) != group:
                raise _refusal(
                    path,
                    line,
                    expected="every image in one group",
                    found=f"{name!r} in {groups[image]!r} and in {group!r}",
                    next_step="keep the group that is right",
                )
    return groups


def _by_name(images: Iterable[ImageRecord]) -> Mapping[str, list[ImageRecord]]:
    found = defaultdict(list)
    for image in images:
        if image.source_image:
            source = PurePath(image.source_image)
            for name in {str(source), str(PurePath(image.data_dir) / source), source.name, source.stem}:
                found[unicodedata.normalize("NFC", name)].append(image)
    return found


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
    if not set(COLUMNS) <= set(header):
        raise _refusal(
            path,
            1,
            expected=f"the columns {' and '.join(COLUMNS)}",
            found=", ".join(header) or "an empty file",
            next_step="write a first line `image,group`",
        )
    for line, row in rows:
        image, group = ((row[column] or "").strip() for column in COLUMNS)
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
