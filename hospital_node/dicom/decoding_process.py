"""The process that decodes one stranger's DICOM file, and its segmentation, inside a sandbox.

Run as `python -m hospital_node.dicom.decoding_process MEMORY_MIB CPU_SECONDS [segmentation]`; the last word
says that a segmentation comes with the file. See `decoded_file` for what goes in and out.
"""

from __future__ import annotations

import importlib
import io
import json
import re
import sys
import warnings
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.uid import SegmentationStorage

from hospital_node.dicom import shown_pixels
from hospital_node.dicom.decoded_file import (
    LENGTH,
    LENGTHS,
    MAX_CLASSES,
    MAX_FRAMES,
    MAX_PIXELS,
    MAX_SAMPLES,
    Header,
)
from sharekit.pictures.mask_map import CLASS_NAME
from sharekit.program.confinement import confine

Pixels = NDArray[np.uint8]

# Decoders load these when they need them; after confinement no file can be opened.
_DECODERS = (
    "gdcm",
    "openjpeg",
    "pylibjpeg",
    "jpeg_ls",
    "PIL.Image",
    "PIL.JpegImagePlugin",
)


class RefusedError(Exception):
    """A file that is not decoded: what was expected, found, and what to do next."""

    def __init__(self, expected: str, found: str, next_step: str) -> None:
        super().__init__(expected, found, next_step)


def main(memory_mib: int, cpu_seconds: int, *, with_segmentation: bool) -> None:
    """Decode one file and end."""
    warnings.simplefilter("ignore")
    for name in _DECODERS:
        try:
            importlib.import_module(name)
        except ImportError:
            continue
    pydicom.pixels.get_decoder(pydicom.uid.JPEG2000Lossless)
    if with_segmentation:
        _load_highdicom()
    confine(memory_mib, cpu_seconds)
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    image, segmentation = (source.read(length) for length in LENGTHS.unpack(source.read(LENGTHS.size)))
    try:
        header, frames, masks = decode(image, segmentation)
    except RefusedError as error:
        expected, found, next_step = error.args
        _answer(sink, {"expected": expected, "found": found, "next_step": next_step})
    except MemoryError:
        _answer(sink, _broken("more memory than a file may take"))
    except Exception as error:  # the libraries' errors share no base class
        _answer(sink, _broken(f"{type(error).__name__} while decoding"))
    else:
        _answer(sink, header.to_json())
        sink.write(np.ascontiguousarray(frames).tobytes())
        for mask in masks.values():
            sink.write(np.ascontiguousarray(mask).tobytes())
        sink.flush()


def _load_highdicom() -> None:
    """Load the library, and the tables of the standard that it reads from files at its first use.

    This takes seconds, so that a file without a segmentation does without.
    """
    importlib.import_module("highdicom.seg")
    tables = importlib.import_module("highdicom._standard_utils")
    for name in ("get_sop_class_iod_map", "get_iod_module_map", "get_module_attribute_map"):
        getattr(tables, name)()


def decode(image: bytes, segmentation: bytes = b"") -> tuple[Header, Pixels, Mapping[str, Pixels]]:
    """Decode a DICOM image, and its DICOM segmentation if there is one.

    Returns:
        What the file says; frames `(F, H, W, C)`; class to masks `(F, H, W)` of 0 and 255.

    Raises:
        RefusedError: the file is no image, too large, or does not fit its segmentation.
    """
    dataset = pydicom.dcmread(io.BytesIO(image))
    _check_size(dataset)
    values = dataset.pixel_array
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames == 1:
        values = values[None]
    shown = shown_pixels.shown(dataset, values)
    masks = _masks(dataset, segmentation, frames) if segmentation else {}
    frames, height, width, channels = shown.shape
    header = Header(
        frames,
        height,
        width,
        channels,
        patient=_patient(dataset),
        burned_in=str(dataset.get("BurnedInAnnotation", "")).upper() == "YES",
        regions=_regions(dataset),
        classes=tuple(masks),
    )
    if header.samples > MAX_SAMPLES:
        raise _too_large(f"{header.samples} bytes with its masks")
    return header, shown, masks


def _check_size(dataset: Any) -> None:
    """Bound the decoded size by the file's own words, before anything is decoded."""
    if "PixelData" not in dataset or dataset.file_meta.MediaStorageSOPClassUID == SegmentationStorage:
        raise RefusedError(
            "a DICOM image with pixels",
            "no PixelData" if "PixelData" not in dataset else "a segmentation",
            "put images into images/ and segmentations into masks/",
        )
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    frames, samples = int(dataset.get("NumberOfFrames") or 1), int(dataset.SamplesPerPixel)
    size = rows * columns * frames * max(samples, 3) * (int(dataset.BitsAllocated) // 8 or 1)
    if not (0 < rows * columns <= MAX_PIXELS and 0 < frames <= MAX_FRAMES and 0 < samples <= 4):
        raise _too_large(f"{frames} frames of {columns}x{rows} pixels")
    if size > MAX_SAMPLES:
        raise _too_large(f"{frames} frames of {columns}x{rows} pixels, {size} bytes")


def _too_large(found: str) -> RefusedError:
    return RefusedError(
        f"at most {MAX_FRAMES} frames of {MAX_PIXELS} pixels, and {MAX_SAMPLES} bytes in all",
        found,
        "split the file into shorter sequences",
    )


def _patient(dataset: Any) -> str:
    """Who or what the frames belong to; without a patient, the frames of one series belong together."""
    for name in ("PatientID", "SeriesInstanceUID", "SOPInstanceUID"):
        value = str(dataset.get(name) or "").strip()
        if value:
            return f"{name}:{value}" if name != "PatientID" else value
    return ""


def _regions(dataset: Any) -> tuple[tuple[int, int, int, int], ...]:
    """The boxes of ultrasound regions (PS3.3 C.8.5.5)."""
    return tuple(
        (
            int(one.RegionLocationMinX0),
            int(one.RegionLocationMinY0),
            int(one.RegionLocationMaxX1) + 1,
            int(one.RegionLocationMaxY1) + 1,
        )
        for one in dataset.get("SequenceOfUltrasoundRegions") or ()
    )


def _masks(dataset: Any, segmentation: bytes, frames: int) -> Mapping[str, Pixels]:
    """Class to masks of every frame, from a DICOM segmentation that refers to this image."""
    import highdicom.seg

    found = highdicom.seg.segread(io.BytesIO(segmentation))
    size = int(found.Rows) * int(found.Columns) * int(found.get("NumberOfFrames") or 1)
    if size > MAX_SAMPLES or found.number_of_segments > MAX_CLASSES:
        raise _too_large(f"a segmentation of {size} samples")
    options: dict[str, Any] = {"ignore_spatial_locations": True, "assert_missing_frames_are_empty": True}
    try:
        if frames == 1 and "NumberOfFrames" not in dataset:
            masks = found.get_pixels_by_source_instance([dataset.SOPInstanceUID], **options)
        else:
            numbers = range(1, frames + 1)
            masks = found.get_pixels_by_source_frame(dataset.SOPInstanceUID, numbers, **options)
    except (ValueError, KeyError) as error:
        raise RefusedError(
            "a segmentation of this image",
            "one that does not refer to it",
            "give the image and its own segmentation one name",
        ) from error
    if masks.shape[1:3] != (int(dataset.Rows), int(dataset.Columns)):
        raise RefusedError(
            "masks of the image's size", f"{masks.shape[2]}x{masks.shape[1]} pixels", "export it again"
        )
    names = [_class_name(found, number) for number in range(1, found.number_of_segments + 1)]
    if len(set(names)) < len(names):
        raise RefusedError("segments of different names", "two of one name", "rename one of the segments")
    binary = (np.asarray(masks) > 0.5).astype(np.uint8) * 255
    return {name: binary[..., number] for number, name in sorted(enumerate(names), key=lambda one: one[1])}


def _class_name(segmentation: Any, number: int) -> str:
    label = str(segmentation.get_segment_description(number).segment_label)
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", label).strip("-")[:64].lower()
    return name if CLASS_NAME.fullmatch(name) else f"segment-{number}"


def _broken(found: str) -> dict[str, str]:
    return {
        "expected": "a DICOM file that can be decoded",
        "found": found,
        "next_step": "export the file again, uncompressed if it can be (dcmdjpeg, gdcmconv --raw)",
    }


def _answer(sink: BinaryIO, value: Mapping[str, Any]) -> None:
    data = json.dumps(value).encode()
    sink.write(LENGTH.pack(len(data)) + data)
    sink.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), with_segmentation=bool(sys.argv[3:]))
