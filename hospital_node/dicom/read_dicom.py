"""Reads a DICOM image and its segmentation through a process of their own, which can reach nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from hospital_node.dicom.decoded_file import LENGTH, LENGTHS, MAX_JSON, Header
from hospital_node.overlays.region import Kind, Region
from sharekit.errors import InputError, missing_package
from sharekit.program.sandbox import Limits, SandboxError, open_sandbox
from sharekit.storage.files import parse_json

Pixels = NDArray[np.uint8]

LIMITS = Limits(memory_mib=6144, cpu_seconds=60, wall_seconds=120)
PROGRAM = ("-m", "hospital_node.dicom.decoding_process")
_MAGIC_AT = 128


@dataclass(frozen=True)
class DicomImage:
    """The pixels of a DICOM image and what its tags say about them; nothing else of its tags."""

    frames: Pixels  # (F, H, W, C), C is 3 (RGB) or 1 (grey)
    masks: Mapping[str, Pixels]
    """Class to `(F, H, W)` of 0 and 255, from a DICOM segmentation; empty without one."""
    patient: str
    """PatientID, or the series; never stored."""
    burned_in: bool
    """Whether the file says that text is burned into its pixels."""
    outside: tuple[Region, ...]
    """What lies outside the ultrasound regions that the file declares."""


def is_dicom(data: bytes) -> bool:
    """Whether the bytes are a DICOM file (PS3.10): 128 bytes, then `DICM`."""
    return data[_MAGIC_AT : _MAGIC_AT + 4] == b"DICM"


def read_dicom(data: bytes, item: str, segmentation: bytes = b"") -> DicomImage:
    """Decode a DICOM image, all frames of it.

    Args:
        data: the file.
        item: its name in error messages.
        segmentation: a DICOM segmentation of it; empty: none.

    Raises:
        InputError: the file is broken, too large, no image, or not decoded in time.
        DependencyError: the extra `dicom` is missing.
    """
    for package in ("pydicom", "highdicom"):
        if find_spec(package) is None:
            raise missing_package(package, "dicom")
    try:
        words = ("segmentation",) if segmentation else ()
        with open_sandbox(PROGRAM, LIMITS, words) as sandbox:
            sandbox.send(LENGTHS.pack(len(data), len(segmentation)) + data + segmentation)
            (length,) = LENGTH.unpack(sandbox.receive(LENGTH.size))
            if length > MAX_JSON:
                raise SandboxError("an answer without end")
            answer = parse_json(sandbox.receive(length), item)
            if "expected" in answer:
                raise InputError(
                    item,
                    expected=str(answer["expected"])[:300],
                    found=str(answer["found"])[:300],
                    next_step=str(answer["next_step"])[:300],
                )
            header = Header.from_json(answer)
            samples = np.frombuffer(sandbox.receive(header.samples), np.uint8)
    except (SandboxError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            item,
            expected="a DICOM file that is decoded within its limits of memory and time",
            found=str(error) if isinstance(error, SandboxError) else "an answer that makes no sense",
            next_step="export the file again, uncompressed if it can be (dcmdjpeg, gdcmconv --raw)",
        ) from error
    return _image(header, samples)


def _image(header: Header, samples: Pixels) -> DicomImage:
    shape = (header.frames, header.height, header.width)
    count = header.frames * header.height * header.width
    frames = samples[: count * header.channels].reshape(*shape, header.channels)
    masks = samples[count * header.channels :].reshape(len(header.classes), *shape)
    return DicomImage(
        frames,
        dict(
            zip(
                header.classes,
                (np.where(mask > 127, np.uint8(255), np.uint8(0)) for mask in masks),
                strict=True,
            )
        ),
        header.patient,
        header.burned_in,
        tuple(outside(header.regions, header.height, header.width)),
    )


def outside(boxes: tuple[tuple[int, int, int, int], ...], height: int, width: int) -> list[Region]:
    """The strips around the smallest rectangle that holds all boxes (left, top, right, bottom)."""
    if not boxes:
        return []
    left, top = max(0, min(box[0] for box in boxes)), max(0, min(box[1] for box in boxes))
    right, bottom = min(width, max(box[2] for box in boxes)), min(height, max(box[3] for box in boxes))
    if left >= right or top >= bottom:
        return []
    strips = (
        (0, 0, width, top),
        (0, bottom, width, height),
        (0, top, left, bottom),
        (right, top, width, bottom),
    )
    return [Region(Kind.DECLARED, *strip) for strip in strips if strip[0] < strip[2] and strip[1] < strip[3]]
