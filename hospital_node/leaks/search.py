"""Search finished bytes for anything real: pixels, noise, names, paths, digests, image files, tracebacks.

What it cannot see: a real image that was transformed beyond scaling, offset, numeric type and the usual
encodings. That is what the attacks on samples are for.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hospital_node.leaks.correlation import correlation
from hospital_node.leaks.needles import NEEDLE_BYTES, NeedleIndex, needles_of
from hospital_node.leaks.views import MIN_TENSOR, tensors_of, text_of, unfold
from sharekit.errors import ExposureError

Array = NDArray[np.float32]
SAME_TENSOR = 0.9
"""Least absolute correlation at which a tensor of equal size counts as the real one, scaled or shifted."""
MIN_STEM = 6
"""Least characters of a name to search for it without its ending: `1` or `polyp` is found anywhere."""
FORMATS: Mapping[str, re.Pattern[bytes]] = {
    "JPEG": re.compile(rb"\xff\xd8\xff(?:\xe0..JFIF\0|\xe1..Exif\0|\xdb\x00[\x43\x84])", re.DOTALL),
    "EXIF": re.compile(rb"Exif\0\0(?:II\*\0|MM\0\*)"),
    "PNG": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "TIFF": re.compile(rb"II\*\0\x08\0\0\0|MM\0\*\0\0\0\x08"),
    "DICOM": re.compile(rb"DICM\x02\0[\0-\x10]\0[A-Z]{2}"),
    "GIF": re.compile(rb"GIF8[79]a"),
    "WebP": re.compile(rb"RIFF....WEBP", re.DOTALL),
    "JPEG 2000": re.compile(rb"\0\0\0\x0cjP  \r\n\x87\n"),
    "ZIP": re.compile(rb"PK\x03\x04[\x0a\x14\x2d]\0"),
}
_ROOTS = "home|Users|root|tmp|var|mnt|media|data|srv|opt|etc|private|Volumes|work|scratch|storage|usr"
TEXTS: Mapping[str, re.Pattern[str]] = {
    # Long enough that the printable bytes of hundreds of megabytes of weights do not match by chance.
    "absolute path": re.compile(
        rf"(?<![\w./:-])/(?:{_ROOTS})/\w|file://|\b[A-Za-z]:\\{{1,2}}(?:[\w.-]{{3,}}\\{{1,2}})+[\w.-]{{3}}"
        r"|\\\\[\w.-]{3,}\\{1,2}[\w.-]{3}"
    ),
    "traceback": re.compile(r"Traceback \(most recent call last\)|File \"[^\"]+\", line \d+"),
    "patient text": re.compile(
        r"patient['s_ ]*(?:name|id)\W{0,3}[:=]|\(0010,00[1234]0\)"
        # Weights contain `mrn=` by chance, so a number or a date must follow.
        r"|\bMRN[ \t]*[:=][ \t]*[\w-]{0,4}\d{3}"
        r"|\bD\.?O\.?B\.?[ \t]*[:=][ \t]*\d{1,4}(?:[ ./-]\w{1,9}[ ./-]\d{2}|\d{4})",
        re.IGNORECASE,
    ),
}


@dataclass(frozen=True)
class RealContent:
    """One real image with everything that was derived from it inside the node."""

    label: str  # the random identifier, the only name a finding may carry
    pixels: tuple[NDArray[np.uint8], ...] = ()  # image (H, W, C), masks (H, W), original size
    levels: tuple[Array, ...] = ()  # pyramid in [-1, 1], each (C + masks, h, w)
    noise: tuple[Array, ...] = ()  # z*, where it still exists
    names: tuple[str, ...] = ()  # file names of the hospital, with or without folders
    places: tuple[str, ...] = ()  # absolute paths of its folders
    digests: tuple[bytes, ...] = ()  # unkeyed digests of the hospital's own files

    def arrays(self) -> Iterator[tuple[str, NDArray]]:
        """Every stored array under the name of its kind, channels first and last."""
        for pixels in self.pixels:
            yield "image", pixels
            if pixels.ndim == 3:
                yield "image", np.ascontiguousarray(pixels.transpose(2, 0, 1))
        for number, level in enumerate(self.levels):
            yield f"pyramid level {number}", level
            yield f"pyramid level {number}", np.ascontiguousarray(level.transpose(1, 2, 0))
        for number, noise in enumerate(self.noise):
            yield f"reconstruction noise {number}", noise

    def unkeyed_digests(self) -> Iterator[bytes]:
        yield from self.digests
        for _, array in self.arrays():
            yield from digests_of(array.tobytes())


@dataclass(frozen=True)
class Finding:
    """Something real in a file. It names the image by its random identifier, never by its file name."""

    file: str
    kind: str
    place: str

    def __str__(self) -> str:
        return f"{self.file}: {self.kind} ({self.place})"


def digests_of(data: bytes) -> Iterator[bytes]:
    """The unkeyed digests that a careless program would write of `data`: SHA-256, SHA-1 and MD5."""
    yield hashlib.sha256(data).digest()
    yield hashlib.sha1(data, usedforsecurity=False).digest()
    yield hashlib.md5(data, usedforsecurity=False).digest()


def find_real_content(files: Mapping[str, bytes], sources: Sequence[RealContent]) -> list[Finding]:
    """Everything real in `files` (name to finished bytes), each kind once per file.

    Numeric types: uint8, float32 and float16 in [0, 1], [-1, 1] and [0, 255], little endian, any contiguous
    stretch of a row; whole tensors also scaled, shifted or of any other type. Encodings: plain, base64,
    hexadecimal, zlib and gzip, one inside the other.
    """
    index = NeedleIndex(_needle_groups(sources))
    names = _name_pattern(sources)
    references = _references(sources)
    findings: dict[tuple[str, str], Finding] = {}
    for file, data in files.items():
        for finding in _search(file, data, index, names, references):
            findings.setdefault((finding.file, finding.kind), finding)
    return list(findings.values())


def refuse_real_content(files: Mapping[str, bytes], sources: Sequence[RealContent]) -> None:
    """Refuse files in which `find_real_content` finds anything.

    Raises:
        ExposureError: something real was found; the error names every finding.
    """
    findings = find_real_content(files, sources)
    if findings:
        raise ExposureError(
            findings[0].file,
            expected="nothing real in what leaves",
            found="; ".join(str(finding) for finding in findings),
            next_step="nothing was written; remove what is named, and report it as a fault of the program",
        )


def _search(
    file: str,
    data: bytes,
    index: NeedleIndex,
    names: re.Pattern[str] | None,
    references: Mapping[int, list[tuple[str, NDArray]]],
) -> Iterator[Finding]:
    for view in unfold(data):
        for label, offset in index.find(view):
            yield Finding(file, label, f"byte {offset}")
        for kind, magic in FORMATS.items():
            if found := magic.search(view):
                yield Finding(file, f"{kind} file", f"byte {found.start()}")
        text = text_of(view)
        for kind, pattern in TEXTS.items():
            if match := pattern.search(text):
                yield Finding(file, kind, f"character {match.start()} of its text")
        if names and (match := names.search(unicodedata.normalize("NFC", text))):
            yield Finding(file, "name from the hospital", f"character {match.start()} of its text")
    try:
        for place, tensor in tensors_of(file, data):
            for label, reference in references.get(tensor.size, []):
                if abs(correlation(tensor, reference)) >= SAME_TENSOR:
                    yield Finding(file, label, place)
    except ValueError:
        yield Finding(file, "file that cannot be searched", "its tensors")


def _needle_groups(sources: Sequence[RealContent]) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    for source in sources:
        for kind, array in source.arrays():
            for encoded in _encodings(array):
                yield f"{kind} of {source.label}", needles_of(encoded)
        digests = [np.frombuffer(digest[:NEEDLE_BYTES], np.uint8) for digest in source.unkeyed_digests()]
        if digests:
            yield f"unkeyed digest of {source.label}", np.stack(digests)


def _encodings(array: NDArray) -> Iterator[NDArray]:
    """An array of uint8 pixels or of float32 values as a program may have stored it."""
    if array.dtype == np.uint8:
        yield array
        scaled = array.astype(np.float32)
        floats = [scaled, scaled / np.float32(255), scaled / np.float32(127.5) - np.float32(1)]
    else:
        pixels = (array + np.float32(1)) * np.float32(127.5)
        yield np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
        yield np.clip(pixels, 0, 255).astype(np.uint8)
        floats = [array, (array + np.float32(1)) / np.float32(2), pixels]
    for values in floats:
        yield values.astype("<f4")
        yield values.astype("<f2")


def _name_pattern(sources: Sequence[RealContent]) -> re.Pattern[str] | None:
    """One pattern for all names and places, as whole words, in any case; stems too where long enough."""
    words = {unicodedata.normalize("NFC", place) for source in sources for place in source.places}
    for name in {name for source in sources for name in source.names}:
        plain = unicodedata.normalize("NFC", name)
        file = plain.rsplit("/", 1)[-1]
        stem = file.rsplit(".", 1)[0]
        words |= {plain, file}
        if len(stem) >= MIN_STEM and (any(c.isdigit() for c in stem) or len(stem) >= 2 * MIN_STEM):
            words.add(stem)
    # JSON may write a name with escapes.
    words |= {json.dumps(word)[1:-1] for word in words}
    usable = sorted((re.escape(word) for word in words if len(word) >= 3), key=len, reverse=True)
    return re.compile(rf"(?<!\w)(?:{'|'.join(usable)})(?!\w)", re.IGNORECASE) if usable else None


def _references(sources: Sequence[RealContent]) -> Mapping[int, list[tuple[str, NDArray]]]:
    """Real arrays by number of elements: whole, image channels alone, and each channel alone."""
    found: dict[int, list[tuple[str, NDArray]]] = {}
    for source in sources:
        for kind, array in source.arrays():
            parts = [array]
            if array.ndim == 3 and array.dtype != np.uint8:
                parts += [array[:channels] for channels in range(1, len(array))] if len(array) <= 16 else []
                parts += list(array) if len(array) <= 16 else []
            for part in parts:
                if part.size >= MIN_TENSOR and part.std() > 0:
                    found.setdefault(part.size, []).append((f"{kind} of {source.label}", part))
    return found
