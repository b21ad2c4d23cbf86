"""The files of one pair, read once: a DICOM file with several frames gives several pairs."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from hospital_node.dicom.read_dicom import DicomImage, is_dicom, read_dicom
from hospital_node.intake.intake_rules import IntakeRules
from hospital_node.intake.read_pair import ReadPair, read_dicom_pair, read_pair
from sharekit.errors import InputError
from sharekit.pictures.folder import read_file
from sharekit.pictures.pairing import SourcePair

FRAME = " frame "
"""Stands between a file's name and the number of its frame, from 1."""
MAX_KEPT = 2**28
"""Bytes of decoded DICOM files that are kept for a second look."""
_START = 132  # bytes of a file that tell whether it is DICOM


@dataclass(frozen=True)
class Source:
    """One picture with its masks: the files of a pair, or one frame of them."""

    pair: SourcePair
    """Names for the ledger and for errors; a frame's name is the file's with its number."""
    image: str  # path of the image's file, relative to the data folder
    frame: int = 0
    is_dicom: bool = False


class SourceFiles:
    """Reads pictures of a data folder; keeps decoded DICOM files, as far as memory allows."""

    def __init__(self, data: Path, rules: IntakeRules) -> None:
        self._data = data
        self._rules = rules
        self._decoded: dict[str, DicomImage] = {}
        """Digest of the files to the decoded image, the oldest first."""

    def expand(self, pair: SourcePair) -> Iterator[Source]:
        """The pictures in the files of a pair, usually one.

        Raises:
            InputError: a DICOM file is refused.
            DependencyError: it is one, and the extra `dicom` is missing.
        """
        if not _starts_like_dicom(self._data / pair.image):
            yield Source(pair, pair.image)
            return
        image = self._dicom(pair)
        frames = len(image.frames)
        if frames == 1:
            yield Source(pair, pair.image, is_dicom=True)
            return
        if not image.masks:
            raise InputError(
                pair.image,
                expected="one frame, or a DICOM segmentation with masks of every frame",
                found=f"{frames} frames and masks of another form",
                next_step="store each frame with its mask in its own files, or give a DICOM segmentation",
            )
        for frame in range(frames):
            if self._rules.allow_empty_masks or any(mask[frame].any() for mask in image.masks.values()):
                name = f"{pair.image}{FRAME}{frame + 1}"
                yield Source(dataclasses.replace(pair, image=name), pair.image, frame, is_dicom=True)

    def bytes_of(self, source: Source) -> tuple[bytes, dict[str, bytes]]:
        """The image's file, and class to the mask's file.

        Raises:
            InputError: one of them cannot be read.
        """
        image = read_file(self._data, source.image)
        return image, {name: read_file(self._data, path) for name, path in source.pair.masks.items()}

    def decode(self, source: Source, image: bytes, masks: Mapping[str, bytes]) -> ReadPair:
        """The pair of these bytes.

        Raises:
            MaskError: a file has values that no mask has.
            InputError: a file is refused.
        """
        if not source.is_dicom:
            return read_pair(source.pair, image, masks, self._rules)
        return read_dicom_pair(
            source.pair, self._dicom(source.pair, image, source.image), source.frame, masks, self._rules
        )

    def patient(self, source: Source) -> str:
        """The patient that a DICOM file names, or its series; empty for other files."""
        return self._dicom(source.pair, path=source.image).patient if source.is_dicom else ""

    def _dicom(self, pair: SourcePair, image: bytes | None = None, path: str | None = None) -> DicomImage:
        path = path or pair.image
        data = read_file(self._data, path) if image is None else image
        masks = {name: read_file(self._data, mask) for name, mask in pair.masks.items()}
        segmentations = [mask for mask in masks.values() if is_dicom(mask)]
        if segmentations and len(masks) > 1:
            raise InputError(
                path,
                expected="one DICOM segmentation, or masks of other formats",
                found=f"{len(masks)} masks, {len(segmentations)} of them DICOM",
                next_step="keep the segmentation alone, in masks/ itself",
            )
        segmentation = b"".join(segmentations)
        key = hashlib.sha256(data + segmentation).hexdigest()
        if key not in self._decoded:
            self._decoded[key] = read_dicom(data, path, segmentation)
            while len(self._decoded) > 1 and sum(map(_size, self._decoded.values())) > MAX_KEPT:
                del self._decoded[next(iter(self._decoded))]
        return self._decoded[key]


def _size(image: DicomImage) -> int:
    return image.frames.nbytes + sum(mask.nbytes for mask in image.masks.values())


def _starts_like_dicom(path: Path) -> bool:
    try:
        if path.is_symlink() or not path.is_file():
            return False
        with path.open("rb") as file:
            return is_dicom(file.read(_START))
    except OSError:
        return False
