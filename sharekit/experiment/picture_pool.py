"""The pictures of a data folder: read once, identified by content, copied into new folders."""

from __future__ import annotations

import hashlib
import shutil
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sharekit.errors import InputError
from sharekit.pictures.decode import decode, plain_pixels
from sharekit.pictures.folder import IMAGES, is_picture, list_files, read_file, require_folders, stem_of
from sharekit.pictures.orientation import turned
from sharekit.pictures.pairing import pair
from sharekit.pictures.similarity import difference_hash, pixel_digest
from sharekit.program.progress import Progress, ProgressCallback, ignore
from sharekit.storage import files


@dataclass(frozen=True)
class Picture:
    """One image with its masks, named after their common stem."""

    name: str
    image: str
    """Path relative to the data folder, like those of the masks."""
    masks: tuple[str, ...]
    files_sha256: str = field(repr=False)
    """Digest of the bytes of the image and its masks."""
    pixels_sha256: bytes = field(repr=False)
    """Digest of the image's decoded pixels."""
    hash: bytes = field(repr=False)
    """Perceptual hash of the image: `HASH_BITS` packed bits."""


def read_pictures(
    root: Path, names: Iterable[str] | None = None, on_progress: ProgressCallback = ignore
) -> tuple[Picture, ...]:
    """Read all pictures of a data folder, or those in `names`, sorted by name.

    Raises:
        InputError: a folder, image or mask is missing, two images share a name, or an image is unreadable.
    """
    require_folders(root)
    pairing = pair(list_files(root).files)
    pairs = {source.name: source for source in pairing.pairs}
    unpaired = {
        stem_of(one.path): one.reason for one in pairing.mismatches if one.is_image and is_picture(one.path)
    }
    chosen = sorted({*pairs, *unpaired} if names is None else names)
    pictures = []
    for number, name in enumerate(chosen):
        on_progress(Progress(number, len(chosen)))
        # A table may write a name in another Unicode form.
        source = pairs.get(unicodedata.normalize("NFC", name))
        if source is None:
            found = unpaired[name].found if name in unpaired else "no image and mask of this name"
            raise InputError(
                root / IMAGES / name,
                expected="one image of this name, and a mask of the same name in masks/ or masks/CLASS/",
                found=found,
                next_step="correct the folder, or the names in the table of folds",
            )
        pictures.append(_read(root, name, source.image, tuple(source.masks.values())))
    on_progress(Progress(len(chosen), len(chosen)))
    if not pictures:
        raise InputError(
            root / IMAGES, expected="images", found="none", next_step="name the data's folder with --data"
        )
    return tuple(pictures)


def shuffled(name: str, seed: int) -> bytes:
    """A sort key that gives names a random-looking order, independent of which other names are sorted."""
    return hashlib.sha256(f"{seed}:{name}".encode()).digest()


def digest_of(pictures: Iterable[Picture]) -> str:
    """SHA-256 of names and contents, hexadecimal; independent of the order."""
    lines = sorted(f"{picture.name}:{picture.files_sha256}" for picture in pictures)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def write_pictures(root: Path, pictures: Sequence[Picture], out: Path) -> None:
    """Copy pictures with their masks into a new data folder `out`, unless it exists."""
    if out.exists():
        return
    # These pictures are real: other users of the machine must not read them.
    with files.new_directory(out, mode=0o700) as folder:
        for picture in pictures:
            for path in (picture.image, *picture.masks):
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(root / path, folder / path)


def _read(root: Path, name: str, image: str, masks: tuple[str, ...]) -> Picture:
    contents = [read_file(root, path) for path in (image, *masks)]
    raster = decode(contents[0], root / image)
    pixels = turned(plain_pixels(raster, root / image), raster.orientation)
    # A grey file and an RGB file of the same picture count as one picture.
    pixels = np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))
    bytes_sha256 = hashlib.sha256(
        "".join(
            f"{path}:{hashlib.sha256(data).hexdigest()}\n"
            for path, data in zip((image, *masks), contents, strict=True)
        ).encode()
    ).hexdigest()
    packed = np.packbits(difference_hash(pixels)).tobytes()
    return Picture(name, image, masks, bytes_sha256, pixel_digest(pixels), packed)
