"""Pairs images with masks by file names alone; pure.

Names must be equal up to the ending, case included. Remaining files pair if one name equals the other plus an
ending that people give to masks or images, such as `_segmentation`.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sharekit.errors import InputError
from sharekit.pictures.folder import IMAGES, MASKS, SINGLE_CLASS, is_picture, stem_of, unfit_character

MASK_ENDINGS = (
    *("mask", "masks", "segmentation", "seg", "gt", "groundtruth", "ground_truth", "label", "labels"),
    *("annotation", "manual"),
)
IMAGE_ENDINGS = ("image", "img")
_SEPARATORS = "_-. "


@dataclass(frozen=True)
class SourcePair:
    """The files of one image, relative to the data folder."""

    image: str
    masks: Mapping[str, str]  # class -> file, in alphabetical order of the classes
    name: str = field(default="", compare=False)
    """The image's name: its stem."""


@dataclass(frozen=True)
class Mismatch:
    """A file that belongs to no pair."""

    kind: str
    """unpaired-file, repeated-file, unlisted-file (not a picture), or unsafe-path (a forbidden name)."""
    path: str  # relative to the data folder, printable
    reason: InputError

    @property
    def is_image(self) -> bool:
        return self.path.startswith(f"{IMAGES}/")


@dataclass(frozen=True)
class Pairing:
    """The files of a listing, each either in a pair or a mismatch."""

    pairs: tuple[SourcePair, ...]
    mismatches: tuple[Mismatch, ...]
    hint: str = ""
    """How the unpaired names differ, if most of them differ in the same way."""


def pair(
    paths: Iterable[str], *, mask_suffix: str | None = None, class_name: re.Pattern[str] | None = None
) -> Pairing:
    """Pair a listing: `images/NAME.ext`, `masks/NAME.ext`, `masks/CLASS/NAME.ext`.

    Args:
        paths: relative to the data folder.
        mask_suffix: end of every mask's stem; None tries `MASK_ENDINGS` for unpaired masks.
        class_name: pattern that the names of class folders must match; None allows any name.
    """
    names = _Names(mask_suffix, class_name)
    for path in sorted(paths):
        names.add(path)
    names.join_endings()
    return names.paired()


class _Names:
    """Files by class and stem during pairing."""

    def __init__(self, mask_suffix: str | None, class_name: re.Pattern[str] | None) -> None:
        self.mask_suffix = mask_suffix
        self.class_name = class_name
        self.images: dict[str, list[str]] = defaultdict(list)
        self.masks: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        self.mismatches: list[Mismatch] = []

    def add(self, path: str) -> None:
        unfit = unfit_character(path)
        if unfit is not None:
            self.mismatches.append(_unfit_name(path, unfit))
            return
        top, *between = path.split("/")[:-1]
        if top == IMAGES and not between:
            self.images[stem_of(path)].append(path)
        elif top == MASKS and len(between) <= 1:
            self._add_mask(path, between[0] if between else SINGLE_CLASS)
        else:
            self.mismatches.append(_too_deep(path))

    def _add_mask(self, path: str, label: str) -> None:
        stem = stem_of(path)
        if self.class_name is not None and not self.class_name.fullmatch(label):
            self.mismatches.append(_unfit_class(path, label))
        elif self.mask_suffix is None:
            self.masks[stem][label].append(path)
        elif stem.endswith(self.mask_suffix) and stem != self.mask_suffix:
            self.masks[stem.removesuffix(self.mask_suffix)][label].append(path)
        else:
            self.mismatches.append(_other_suffix(path, self.mask_suffix))

    def join_endings(self) -> None:
        """Move masks to the stem of their image, if the names differ only by a known ending.

        If two masks of one class match one image, both are refused: we cannot know which one is meant.
        """
        if self.mask_suffix is not None:
            return
        free = [stem for stem in self.images if stem not in self.masks]
        by_core: dict[str, list[str]] = defaultdict(list)
        for stem in free:
            by_core[stem].append(stem)
            core = _without(stem, IMAGE_ENDINGS)
            if core != stem:
                by_core[core].append(stem)
        meant: dict[tuple[str, str], list[str]] = defaultdict(list)
        for stem in [stem for stem in self.masks if stem not in self.images]:
            for label in self.masks[stem]:
                owners = by_core.get(_without(stem, (*MASK_ENDINGS, label)), [])
                if owners:
                    # An image with exactly this name comes first.
                    meant[owners[0], label].append(stem)
        for (owner, label), stems in meant.items():
            found = [path for stem in stems for path in self.masks[stem].pop(label)]
            if len(stems) == 1:
                self.masks[owner][label] = found
            else:
                self.mismatches += [_several_endings(path, self.images[owner][0], found) for path in found]

    def paired(self) -> Pairing:
        pairs = []
        unmatched: list[str] = []
        for stem, candidates in self.images.items():
            masks = {label: found for label, found in self.masks.pop(stem, {}).items() if found}
            images = self._pictures(candidates)
            masks = {label: self._pictures(found) for label, found in masks.items()}
            several = [found for found in (images, *masks.values()) if len(found) > 1]
            if several:
                everything = [*images, *(path for found in masks.values() for path in found)]
                self.mismatches += [_repeated(path, several[0]) for path in everything]
            elif not masks:
                unmatched.append(images[0])
            else:
                pairs.append(SourcePair(images[0], {name: masks[name][0] for name in sorted(masks)}, stem))
        lonely = [path for by_class in self.masks.values() for found in by_class.values() for path in found]
        suffix = self.mask_suffix or ""
        near = _by_plain(lonely)
        self.mismatches += [_without_partner(path, f"{stem_of(path)}{suffix}", near) for path in unmatched]
        near = _by_plain(unmatched)
        self.mismatches += [
            _without_partner(path, stem_of(path).removesuffix(suffix), near) for path in lonely
        ]
        hint = _hint(unmatched, lonely, self.mask_suffix)
        return Pairing(tuple(pairs), tuple(sorted(self.mismatches, key=lambda one: one.path)), hint)

    def _pictures(self, candidates: list[str]) -> list[str]:
        """The files with a picture's ending among files with one stem; all files if none has one."""
        pictures = [path for path in candidates if is_picture(path)]
        if not pictures:
            return candidates
        self.mismatches += [_no_picture(path) for path in candidates if path not in pictures]
        return pictures


def _without(stem: str, endings: Sequence[str]) -> str:
    """The stem without a separator and one of the endings in any case; unchanged if it has none."""
    for ending in sorted(endings, key=len, reverse=True):
        core = stem[: -len(ending) - 1]
        if core and stem[len(core)] in _SEPARATORS and stem[len(core) + 1 :].lower() == ending:
            return core
    return stem


def _hint(images: Sequence[str], masks: Sequence[str], mask_suffix: str | None) -> str:
    """How the names of images and masks differ, if most of them differ in the same way."""
    if mask_suffix is not None or len(images) < 2 or len(masks) < 2:
        return ""
    ours, theirs = [stem_of(path) for path in images], [stem_of(path) for path in masks]
    ending, count = _ending_after(set(ours), theirs)
    if 2 * count > len(theirs):
        return f"the masks' names end in {ending!r}; if they belong together, use --mask-suffix={ending}"
    (start, end), (mask_start, mask_end) = _around(ours), _around(theirs)
    if {_core(stem, start, end) for stem in ours} != {_core(stem, mask_start, mask_end) for stem in theirs}:
        return ""
    # Digits at the beginning of all names are part of the name.
    start, mask_start = start.rstrip("0123456789"), mask_start.rstrip("0123456789")
    names = f"{start}NAME{end}", f"{mask_start}NAME{mask_end}"
    return f"images are called {names[0]} and masks {names[1]}: rename them, so that both are called NAME"


def _ending_after(stems: set[str], longer: Sequence[str]) -> tuple[str, int]:
    """The text that most often follows one of `stems` in a longer name, and how often it does."""
    endings: Counter[str] = Counter()
    for name in longer:
        cut = next((cut for cut in range(len(name) - 1, 0, -1) if name[:cut] in stems), None)
        if cut is not None:
            endings[name[cut:]] += 1
    return endings.most_common(1)[0] if endings else ("", 0)


def _core(stem: str, start: str, end: str) -> str:
    return stem[len(start) : len(stem) - len(end)]


def _around(stems: Sequence[str]) -> tuple[str, str]:
    """The common beginning and the common end of all stems; the two don't overlap in any stem."""
    start = _common_start(stems)
    end = _common_start([stem[len(start) :][::-1] for stem in stems])[::-1]
    return start, end


def _common_start(texts: Sequence[str]) -> str:
    first, last = min(texts), max(texts)
    pairs = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    return first[: sum(1 for _ in pairs)]


def _error(kind: str, path: str, expected: str, found: str, next_step: str) -> Mismatch:
    return Mismatch(kind, path, InputError(path, expected=expected, found=found, next_step=next_step))


def _unfit_name(path: str, character: str) -> Mismatch:
    return _error(
        "unsafe-path",
        path.encode("unicode_escape").decode(),
        "a file name without control characters, in UTF-8",
        f"the character {character}",
        "rename the file and its partner",
    )


def _unfit_class(path: str, name: str) -> Mismatch:
    return _error(
        "unsafe-path",
        path,
        "a class name of 1 to 32 characters from a-z, 0-9, _ and -",
        repr(name),
        "rename the folder: the name goes into everything made from it",
    )


def _too_deep(path: str) -> Mismatch:
    return _error(
        "unlisted-file",
        path,
        "images/NAME, masks/NAME or masks/CLASS/NAME",
        "a file deeper in the folder than pairs are looked for",
        "move it up",
    )


def _no_picture(path: str) -> Mismatch:
    return _error("unlisted-file", path, "a picture", "not an image file", "keep other files elsewhere")


def _other_suffix(path: str, suffix: str) -> Mismatch:
    return _error(
        "unpaired-file",
        path,
        f"a mask whose name ends in {suffix!r}, as --mask-suffix says",
        "another name",
        "rename it, or leave it out of the folder",
    )


def _repeated(path: str, found: Sequence[str]) -> Mismatch:
    same = {unicodedata.normalize("NFC", one) for one in found}
    how = "in how Unicode stores their name" if len(same) == 1 else "in their ending"
    return _error(
        "repeated-file",
        path,
        "one file of a name",
        f"{len(found)} that differ only {how}: {', '.join(found)}",
        "keep the right one",
    )


def _several_endings(path: str, image: str, found: Sequence[str]) -> Mismatch:
    return _error(
        "repeated-file",
        path,
        f"one mask of {image}",
        f"{len(found)} by their names' endings: {', '.join(found)}",
        "name the ending that is meant with --mask-suffix, or keep the right one",
    )


def _without_partner(path: str, partner: str, near: Mapping[str, Sequence[str]]) -> Mismatch:
    """The mismatch of an image without a mask, a mask without an image, or a file that is no picture."""
    if not is_picture(path):
        return _no_picture(path)
    similar = near.get(_plain(partner), ())
    hint = f"; {similar[0]} has almost its name" if len(similar) == 1 else ""
    if path.startswith(f"{IMAGES}/"):
        expected = f"a mask {MASKS}/{partner}.* or {MASKS}/CLASS/{partner}.*"
        found, next_step = "an image without a mask", "add the mask, or give both the same name"
    else:
        expected = f"an image {IMAGES}/{partner}.*"
        found, next_step = "a mask without an image", "add the image, or give both the same name"
    return _error("unpaired-file", path, expected, found + hint, next_step)


def _by_plain(paths: Sequence[str]) -> Mapping[str, Sequence[str]]:
    found = defaultdict(list)
    for path in paths:
        found[_plain(stem_of(path))].append(path)
    return found


def _plain(stem: str) -> str:
    """A stem without case, spaces and punctuation."""
    return re.sub(r"[\W_]+", "", stem.casefold())
