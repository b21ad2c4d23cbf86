"""Assigns images to folds, so that no image of one fold looks like an image of another."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sharekit.errors import InputError, UsageError
from sharekit.experiment.picture_pool import Picture, read_pictures, shuffled
from sharekit.pictures.similarity import HASH_BITS, near_pairs
from sharekit.program.progress import ProgressCallback, ignore
from sharekit.storage import files

MAX_TABLE_BYTES = 64 * 2**20
_LABEL = re.compile(r"[A-Za-z0-9_-]{1,32}")


@dataclass(frozen=True)
class Split:
    """Every picture in exactly one fold."""

    root: Path
    """The data folder."""
    folds: Mapping[str, tuple[Picture, ...]]
    """Fold label to its pictures, in a random order that equal names and seeds repeat."""

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.folds)

    def others(self, held: str) -> tuple[str, ...]:
        """All folds except the one that is held out."""
        return tuple(label for label in self.folds if label != held)


def split_data(
    root: Path,
    *,
    folds: Path | None = None,
    groups: Path | None = None,
    count: int = 3,
    seed: int = 0,
    on_progress: ProgressCallback = ignore,
) -> Split:
    """Read all images, read or make the folds, and refuse folds that share an image, near duplicate or group.

    Args:
        root: folder with `images/NAME.*` and `masks/NAME.*` or `masks/CLASS/NAME.*`.
        folds: CSV with the columns `name` and `fold`; images that it does not name are ignored.
        groups: CSV with the columns `name` and `group` (a patient, a sequence) for every image; a group stays
            in one fold.
        count: number of folds to make if `folds` is None.
        seed: seed for the order of the pictures in a fold.
        on_progress: called for every image.

    Raises:
        InputError: a file or table is broken, the groups do not name an image, or two folds share an image, a
            near duplicate or a group.
        UsageError: `count` folds cannot be made.
    """
    wanted = None if folds is None else read_table(folds, "fold")
    pictures = read_pictures(root, None if wanted is None else wanted.keys(), on_progress)
    grouped = {} if groups is None else read_groups(groups, [picture.name for picture in pictures])
    alike = list(_alike(pictures))
    if wanted is None:
        wanted = make_folds([picture.name for picture in pictures], _joined(pictures, alike, grouped), count)
    check_labels(wanted)
    check_groups(wanted, grouped)
    check_leaks(wanted, alike)
    members: dict[str, list[Picture]] = defaultdict(list)
    for picture in sorted(pictures, key=lambda picture: shuffled(picture.name, seed)):
        members[wanted[picture.name]].append(picture)
    return Split(root, {label: tuple(members[label]) for label in sorted(members)})


def read_table(path: Path, column: str) -> dict[str, str]:
    """Read a CSV with the columns `name` and `column` as a mapping from name to value.

    Raises:
        InputError: the file is unreadable, has another form, or has a name twice.
    """

    def refuse(found: str) -> InputError:
        return InputError(
            path,
            expected=f"a CSV table with the columns name and {column}, every name once",
            found=found,
            next_step="correct the table",
        )

    try:
        text = files.read_bytes(path, max_bytes=MAX_TABLE_BYTES).decode("utf-8-sig")
        rows = list(csv.DictReader(io.StringIO(text), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise refuse(f"{type(error).__name__}: {error}") from None
    if not rows:
        raise refuse("no row")
    table: dict[str, str] = {}
    for number, row in enumerate(rows, start=2):
        name, value = (row.get("name") or "").strip(), (row.get(column) or "").strip()
        if not name or not value:
            raise refuse(f"line {number} without one of them")
        if name in table:
            raise refuse(f"{name!r} twice")
        table[name] = value
    return table


def read_groups(path: Path, names: Sequence[str]) -> dict[str, str]:
    """Read the group of every image, refusing a table that does not name them all.

    Raises:
        InputError: as `read_table`, or an image has no group.
    """
    table = read_table(path, "group")
    without = [name for name in names if name not in table]
    if without:
        raise InputError(
            path,
            expected="a group for every image, named without its folder and suffix",
            found=f"none for {len(without)} of {len(names)} images, the first of them {without[0]!r}",
            next_step="correct the table; an image that belongs to no other is a group of its own",
        )
    return table


def make_folds(names: Sequence[str], groups: Sequence[int], count: int) -> dict[str, str]:
    """Deal groups into `count` folds of nearly equal size: the largest group first, into the smallest fold.

    Args:
        names: names of the images.
        groups: the group number of each image.
        count: number of folds.

    Raises:
        UsageError: fewer groups than folds, or fewer than two folds.
    """
    sizes = Counter(groups)
    if count < 2 or len(sizes) < count:
        raise UsageError(
            "--fold-count",
            expected="at least 2 folds, and a group of images for each",
            found=f"{count} folds and {len(sizes)} groups",
            next_step="choose another number, or give more images",
        )
    filled = [0] * count
    fold_of: dict[int, str] = {}
    for group, size in sizes.most_common():
        smallest = filled.index(min(filled))
        filled[smallest] += size
        fold_of[group] = str(smallest)
    return {name: fold_of[group] for name, group in zip(names, groups, strict=True)}


def check_labels(fold_of: Mapping[str, str]) -> None:
    """Refuse fold labels that cannot name a folder, and fewer than two folds.

    Raises:
        InputError: naming a wrong label, or the number of folds.
    """
    labels = set(fold_of.values())
    wrong = sorted(label for label in labels if not _LABEL.fullmatch(label))
    if wrong or len(labels) < 2:
        raise InputError(
            "the table of folds",
            expected="at least two folds, named by up to 32 letters, digits, _ and -",
            found=repr(wrong[0]) if wrong else f"{len(labels)} fold",
            next_step="correct the table",
        )


def check_groups(fold_of: Mapping[str, str], group_of: Mapping[str, str]) -> None:
    """Refuse folds that split a group.

    Raises:
        InputError: naming two images of the group.
    """
    first: dict[str, str] = {}
    for name in sorted(fold_of):
        if name not in group_of:
            continue
        other = first.setdefault(group_of[name], name)
        if fold_of[other] != fold_of[name]:
            raise _leak(other, name, fold_of, f"both of group {group_of[name]!r}")


def check_leaks(fold_of: Mapping[str, str], alike: Iterable[tuple[Picture, Picture, int]]) -> None:
    """Refuse folds if pictures in two of them look alike.

    Raises:
        InputError: naming both images.
    """
    for first, second, bits in alike:
        if fold_of[first.name] != fold_of[second.name]:
            same = first.pixels_sha256 == second.pixels_sha256
            how = (
                "the same pixels" if same else f"perceptual hashes that differ in {bits} of {HASH_BITS} bits"
            )
            raise _leak(first.name, second.name, fold_of, how)


def refuse_shared(split: Split, external: Sequence[Picture]) -> None:
    """Refuse external pictures that look like one of the folds.

    Raises:
        InputError: naming both images.
    """
    own = [picture for pictures in split.folds.values() for picture in pictures]
    ours = set(map(id, own))
    for first, second, bits in _alike([*own, *external]):
        if (id(first) in ours) != (id(second) in ours):
            raise InputError(
                f"{first.name} and {second.name}",
                expected="external data that share no image or near duplicate with the folds",
                found=f"perceptual hashes that differ in {bits} of {HASH_BITS} bits",
                next_step="take the image out of the external data: it was trained on, or chose weights",
            )


def _leak(first: str, second: str, fold_of: Mapping[str, str], how: str) -> InputError:
    return InputError(
        f"{first} and {second}",
        expected="folds that share no image, near duplicate or group",
        found=f"{how}, in fold {fold_of[first]} and in fold {fold_of[second]}",
        next_step="put both into one fold: otherwise what is trained on one is tested on itself",
    )


def _alike(pictures: Sequence[Picture]) -> Iterator[tuple[Picture, Picture, int]]:
    """Pairs of equal or nearly equal pictures, with the number of differing hash bits."""
    for first, second, bits in near_pairs(_hashes(pictures)):
        for i, j, differing in zip(first.tolist(), second.tolist(), bits.tolist(), strict=True):
            yield pictures[i], pictures[j], differing


def _hashes(pictures: Sequence[Picture]) -> NDArray[np.bool_]:
    packed = np.frombuffer(b"".join(picture.hash for picture in pictures), np.uint8)
    return np.unpackbits(packed.reshape(len(pictures), -1), axis=1).astype(bool)


def _joined(
    pictures: Sequence[Picture],
    alike: Iterable[tuple[Picture, Picture, int]],
    group_of: Mapping[str, str],
) -> list[int]:
    """The group number of each picture: similar pictures and those of one group are joined, transitively."""
    parent = {picture.name: picture.name for picture in pictures}

    def root(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    first: dict[str, str] = {}
    links = [(one.name, other.name) for one, other, _ in alike]
    links += [(name, first.setdefault(group, name)) for name, group in group_of.items() if name in parent]
    for one, other in links:
        parent[root(one)] = root(other)
    numbers: dict[str, int] = {}
    return [numbers.setdefault(root(picture.name), len(numbers)) for picture in pictures]
