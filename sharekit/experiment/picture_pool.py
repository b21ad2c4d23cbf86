"""The pictures of a data folder: read once, known by their content, copied into new folders."""

from __future__ import annotations

import hashlib
import io
import shutil
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from sharekit.errors import InputError
from sharekit.pictures.similarity import difference_hash, pixel_digest
from sharekit.program.progress import Progress, ProgressCallback, ignore
from sharekit.storage import files

IMAGES, MASKS = "images", "masks"
MAX_FILE_BYTES = 256 * 2**20
_FORMATS = ("PNG", "JPEG", "TIFF")


@dataclass(frozen=True)
class Picture:
    """One image with its masks, named by the stem that they share."""

    name: str
    image: str
    """Path relative to the data folder, as are the masks'."""
    masks: tuple[str, ...]
    files_sha256: str = field(repr=False)
    """Of the bytes of the image and of its masks."""
    pixels_sha256: bytes = field(repr=False)
    """Of the image's decoded pixels."""
    hash: bytes = field(repr=False)
    """Its perceptual hash: `HASH_BITS` packed."""


def read_pictures(
    root: Path, names: Iterable[str] | None = None, on_progress: ProgressCallback = ignore
) -> tuple[Picture, ...]:
    """Every picture of a data folder, or those that are named, by name.

    Raises:
        InputError: a missing folder, image or mask, two images of one name, or an unreadable image.
    """
    images, masks = _by_stem(root, IMAGES), _by_stem(root, MASKS)
    chosen = sorted(images if names is None else names)
    pictures = []
    for number, name in enumerate(chosen):
        on_progress(Progress(number, len(chosen)))
        if len(images[name]) != 1 or not masks[name]:
            raise InputError(
                root / IMAGES / name,
                expected="one image of this name, and a mask of the same name in masks/ or masks/CLASS/",
                found=f"{len(images[name])} images and {len(masks[name])} masks",
                next_step="correct the folder, or the names in the table of folds",
            )
        pictures.append(_read(root, name, images[name][0], tuple(masks[name])))
    on_progress(Progress(len(chosen), len(chosen)))
    if not pictures:
        raise InputError(
            root / IMAGES, expected="images", found="none", next_step="name the data's folder with --data"
        )
    return tuple(pictures)


def shuffled(name: str, seed: int) -> bytes:
    """A sort key: names come in an order that looks random and does not depend on which others there are."""
    return hashlib.sha256(f"{seed}:{name}".encode()).digest()


def digest_of(pictures: Iterable[Picture]) -> str:
    """SHA-256 of names and contents, whatever the order: hexadecimal."""
    lines = sorted(f"{picture.name}:{picture.files_sha256}" for picture in pictures)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def write_pictures(root: Path, pictures: Sequence[Picture], out: Path) -> None:
    """Copy pictures with their masks into a new data folder `out`; nothing is done where it exists."""
    if out.exists():
        return
    # Real pictures: nobody else on a shared machine should read them.
    with files.new_directory(out, mode=0o700) as folder:
        for picture in pictures:
            for path in (picture.image, *picture.masks):
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(root / path, folder / path)


def _by_stem(root: Path, top: str) -> dict[str, list[str]]:
    folder = root / top
    if not folder.is_dir():
        raise InputError(
            folder,
            expected="a data folder with images/ and masks/",
            found="no such folder",
            next_step="name the data's folder with --data",
        )
    found: dict[str, list[str]] = defaultdict(list)
    pattern = "**/*" if top == MASKS else "*"
    for path in sorted(folder.glob(pattern)):
        if path.is_file() and not path.name.startswith("."):
            found[path.stem].append(path.relative_to(root).as_posix())
    return found


def _read(root: Path, name: str, image: str, masks: tuple[str, ...]) -> Picture:
    contents = [files.read_bytes(root / path, max_bytes=MAX_FILE_BYTES) for path in (image, *masks)]
    try:
        with Image.open(io.BytesIO(contents[0]), formats=_FORMATS) as opened:
            pixels = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(
            root / image,
            expected="a PNG, JPEG or TIFF image",
            found=type(error).__name__,
            next_step="replace or remove the file",
        ) from None
    bytes_sha256 = hashlib.sha256(
        "".join(
            f"{path}:{hashlib.sha256(data).hexdigest()}\n"
            for path, data in zip((image, *masks), contents, strict=True)
        ).encode()
    ).hexdigest()
    packed = np.packbits(difference_hash(pixels)).tobytes()
    return Picture(name, image, masks, bytes_sha256, pixel_digest(pixels), packed)
