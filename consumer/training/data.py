"""Read the pairs of a segmentation task into memory once, at the model's size."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from consumer.datasets.reader import DatasetFolder, Entry
from sharekit.errors import InputError, UsageError
from sharekit.pictures.folder import SINGLE_CLASS
from sharekit.program.progress import Progress, ProgressCallback, ignore
from sharekit.segmenter.contract import SegmenterContract

NOT_TRAINED_ON = "validation images that are not trained on"
NOT_SEEN = "test images that are neither trained on nor choose the best weights"


@dataclass(frozen=True)
class Pairs:
    """Images with the masks of one class, at the size of a contract."""

    images: NDArray[np.uint8]
    """`(N, h, w, C)`."""
    masks: NDArray[np.bool_]
    """`(N, h, w)`."""
    files: tuple[Path, ...]
    """The images' files, for messages."""
    synthetic: NDArray[np.bool_]
    """`(N,)`: whether the folder's metadata names a generator for the image."""
    root: Path
    """The first folder."""
    hospitals: tuple[str, ...] = ()
    """The hospital behind each synthetic image, empty where nothing says; may be left out as a whole."""

    def of_hospital(self, name: str) -> tuple[Pairs, Pairs]:
        """The pairs of a hospital, and all others."""
        own = np.array([hospital == name for hospital in self.hospitals], np.bool_)
        return self._chosen(own), self._chosen(~own)

    def _chosen(self, which: NDArray[np.bool_]) -> Pairs:
        places = np.flatnonzero(which)
        return Pairs(
            self.images[places],
            self.masks[places],
            tuple(self.files[place] for place in places),
            self.synthetic[places],
            self.root,
            tuple(self.hospitals[place] for place in places),
        )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def digest(self) -> str:
        """SHA-256 of every pixel and mask in order, hexadecimal."""
        digest = hashlib.sha256(repr(self.images.shape).encode())
        digest.update(self.images.tobytes())
        digest.update(np.packbits(self.masks).tobytes())
        digest.update(np.packbits(self.synthetic).tobytes())
        return digest.hexdigest()

    @property
    def image_digests(self) -> tuple[bytes, ...]:
        """SHA-256 of each image's pixels."""
        return tuple(hashlib.sha256(image.tobytes()).digest() for image in self.images)


def choose_class(folders: Sequence[DatasetFolder], wanted: str | None) -> str:
    """The class to segment: the wanted one, or the only one in the folders.

    Masks without a named class (directly in `masks/`, without a description) belong to the chosen class.

    Raises:
        UsageError: the folders have several classes, and none is wanted.
    """
    named = sorted({name for folder in folders for name in _classes(folder)} - {SINGLE_CLASS})
    if wanted is not None:
        return wanted
    if len(named) > 1:
        raise UsageError(
            "--class",
            expected=f"one of the classes {', '.join(named)}",
            found="no choice",
            next_step="name the class to segment",
        )
    return named[0] if named else SINGLE_CLASS


def read_pairs(
    groups: Sequence[Sequence[DatasetFolder]],
    class_name: str,
    contract: SegmenterContract,
    *,
    on_progress: ProgressCallback = ignore,
) -> list[Pairs]:
    """Decode every pair at the contract's size, and join the folders of each group.

    Raises:
        InputError: a folder has a problem, a file is broken, an image has no mask of the class, or a group
            has no pairs or more than fit into memory.
    """
    sources = [
        [(folder.require_sound(), entry) for folder in group for entry in folder.entries] for group in groups
    ]
    for group, found in zip(groups, sources, strict=True):
        _require_room(len(found), contract, group)
    total, done = sum(map(len, sources)), 0
    read = []
    for found in sources:
        images = np.empty((len(found), *contract.size, contract.image_channels), np.uint8)
        masks = np.empty((len(found), *contract.size), np.bool_)
        for number, (folder, entry) in enumerate(found):
            images[number], masks[number] = _read_pair(folder, entry, class_name, contract)
            done += 1
            on_progress(Progress(done, total))
        synthetic = np.array([entry.generator is not None for _, entry in found], np.bool_)
        hospitals = tuple(folder.hospital_of(entry) for folder, entry in found)
        paths = tuple(folder.root / entry.image for folder, entry in found)
        read.append(Pairs(images, masks, paths, synthetic, found[0][0].root, hospitals))
    return read


def refuse_leak(seen: Pairs, unseen: Pairs, expected: str = NOT_TRAINED_ON) -> None:
    """Refuse images of one set that are also in another.

    Args:
        expected: what the error expects of the images of `unseen`.

    Raises:
        InputError: an image has the same pixels, at the model's size, in both sets; the error names it.
    """
    known = dict(zip(seen.image_digests, seen.files, strict=True))
    leaked = [
        (file, known[digest])
        for file, digest in zip(unseen.files, unseen.image_digests, strict=True)
        if digest in known
    ]
    if leaked:
        file, twin = leaked[0]
        more = f" (and {len(leaked) - 1} more images)" if len(leaked) > 1 else ""
        raise InputError(
            file,
            expected=expected,
            found=f"the pixels of {twin}{more}",
            next_step="take these images out of one of the two data sets",
        )


def _read_pair(
    folder: DatasetFolder, entry: Entry, class_name: str, contract: SegmenterContract
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    label = _label(folder, entry, class_name)
    image, masks = folder.read_pair(entry, {label})
    return contract.resize(image), contract.prepare_mask(masks[label].mask)


def _label(folder: DatasetFolder, entry: Entry, class_name: str) -> str:
    """The entry's label for the class; masks without a named class belong to any class."""
    if class_name in entry.masks:
        return class_name
    if set(entry.masks) != {SINGLE_CLASS}:
        raise InputError(
            folder.root / entry.image,
            expected=f"a mask of the class {class_name}",
            found=f"masks of {', '.join(sorted(entry.masks))}",
            next_step="choose another class with --class, or add the mask",
        )
    return SINGLE_CLASS


def _classes(folder: DatasetFolder) -> set[str]:
    return {name for entry in folder.entries for name in entry.masks}


def _require_room(pairs: int, contract: SegmenterContract, folders: Sequence[DatasetFolder]) -> None:
    """Require at least one pair, and pairs that fit into half of this machine's memory."""
    height, width = contract.size
    needed = pairs * height * width * (contract.image_channels + 1)
    limit = _half_of_memory()
    if not 0 < needed <= limit:
        raise InputError(
            ", ".join(str(folder.root) for folder in folders),
            expected=f"pairs that fit into {limit >> 20} MiB at the model's size"
            if pairs
            else "at least one image with its mask",
            found=f"{needed >> 20} MiB" if pairs else "no pairs",
            next_step="use a smaller --size or fewer images" if pairs else "name a data set with pairs",
        )


def _half_of_memory() -> int:
    """Half of this machine's memory in bytes; no limit on Windows, which has no `os.sysconf`."""
    if not hasattr(os, "sysconf"):
        return sys.maxsize
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
