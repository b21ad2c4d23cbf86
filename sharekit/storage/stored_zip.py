"""Writes a bundle as a STORED zip in one canonical form, and reads only zips in that form.

A zip states everything twice and has room for more, and programs disagree on which part to trust. So the
reader takes names, lengths and checksums from the central directory, generates the headers that the writer
would make for them, and refuses other bytes: compression, encryption, zip64, comments, extra fields, gaps.
Layout: PKWARE, APPNOTE.TXT 6.3.10, sections 4.3.7, 4.3.12 and 4.3.16.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from sharekit.errors import InputError, VerificationError
from sharekit.storage.names import printable

MAX_ENTRIES = 10_002  # 10 000 files, the manifest and its signature
MAX_ZIP_BYTES = 2**32 - 1  # more would need zip64
_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_MAX_DIRECTORY_BYTES = MAX_ENTRIES * (_CENTRAL.size + 200)
_VERSION = 20  # 2.0, the first with folders
_UNIX = 3 << 8
_REGULAR_FILE = (0o100644) << 16
_EPOCH = (0, 0x21)  # time and date of 1980-01-01, so that equal contents make equal zips


@dataclass(frozen=True)
class Entry:
    """One file of the zip."""

    name: str
    length: int  # bytes
    checksum: int  # CRC-32
    offset: int  # bytes, of its local header

    @property
    def data_offset(self) -> int:
        return self.offset + _LOCAL.size + len(self.name)

    def local_header(self) -> bytes:
        sizes = (self.checksum, self.length, self.length, len(self.name), 0)
        return _LOCAL.pack(b"PK\x03\x04", _VERSION, 0, 0, *_EPOCH, *sizes) + self.name.encode("ascii")

    def central_header(self) -> bytes:
        sizes = (self.checksum, self.length, self.length, len(self.name), 0, 0, 0, 0)
        header = _CENTRAL.pack(
            b"PK\x01\x02", _UNIX | _VERSION, _VERSION, 0, 0, *_EPOCH, *sizes, _REGULAR_FILE, self.offset
        )
        return header + self.name.encode("ascii")


class Writer:
    """Writes a zip entry by entry to a new file; `close` writes the central directory."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._entries: list[Entry] = []
        self._offset = 0

    def add(self, name: str, data: bytes) -> None:
        """Append a file.

        Raises:
            InputError: the zip would be longer than `MAX_ZIP_BYTES`.
        """
        entry = Entry(name, len(data), zlib.crc32(data), self._offset)
        self._offset = entry.data_offset + len(data)
        if self._offset > MAX_ZIP_BYTES:
            raise InputError(
                name,
                expected=f"a bundle of at most {MAX_ZIP_BYTES} bytes, as a zip",
                found="more",
                next_step="write the bundle as a folder: choose a name without .zip",
            )
        self._file.write(entry.local_header())
        self._file.write(data)
        self._entries.append(entry)

    def close(self) -> None:
        self._file.write(central_directory(self._entries, self._offset))


def read_entries(path: Path, file: BinaryIO) -> Mapping[str, Entry]:
    """Read the entries of an untrusted zip, by name, in its order. The names are not checked yet.

    Raises:
        VerificationError: a byte outside the files' contents differs from the form that `Writer` writes.
    """
    length = file.seek(0, 2)
    directory_offset, directory = _read_directory(path, file, length)
    entries = _parse_directory(path, directory)
    expected_offset = 0
    for entry in entries:
        file.seek(expected_offset)
        header = file.read(_LOCAL.size + len(entry.name))
        if entry.offset != expected_offset or header != entry.local_header():
            raise _refusal(
                printable(entry.name), "its header in the one form that Sharekit writes", "another"
            )
        expected_offset = entry.data_offset + entry.length
    if expected_offset != directory_offset:
        raise _refusal(path, "files up to the central directory", "other bytes between them")
    by_name: dict[str, Entry] = {}
    for entry in entries:
        if entry.name in by_name:
            raise _refusal(printable(entry.name), "every name once in the zip", "the same name twice")
        by_name[entry.name] = entry
    return by_name


def _read_directory(path: Path, file: BinaryIO, length: int) -> tuple[int, bytes]:
    """Read the offset of the central directory, and its bytes with the end record."""
    if not _END.size <= length <= MAX_ZIP_BYTES:
        raise _refusal(path, f"a zip of {_END.size} to {MAX_ZIP_BYTES} bytes", f"{length} bytes")
    file.seek(length - _END.size)
    signature, _, _, _, count, size, offset, _ = _END.unpack(file.read(_END.size))
    if signature != b"PK\x05\x06" or offset + size + _END.size != length:
        raise _refusal(path, "a zip that ends with its central directory", "something else")
    if count > MAX_ENTRIES or size > _MAX_DIRECTORY_BYTES:
        raise _refusal(path, f"at most {MAX_ENTRIES} files", f"{count} files, a directory of {size} bytes")
    file.seek(offset)
    return offset, file.read(size + _END.size)


def _parse_directory(path: Path, directory: bytes) -> list[Entry]:
    entries: list[Entry] = []
    position, end = 0, len(directory) - _END.size
    while position < end:
        fields = directory[position : position + _CENTRAL.size]
        if len(fields) < _CENTRAL.size:
            raise _refusal(path, "whole entries in the central directory", "a truncated one")
        _, _, _, flags, method, _, _, checksum, _, length, name_length, *_, offset = _CENTRAL.unpack(fields)
        position += _CENTRAL.size
        raw = directory[position : position + name_length]
        position += name_length
        name = raw.decode("ascii", "replace")
        if method != 0 or flags & 1:
            kind = "an encrypted file" if flags & 1 else f"compression method {method}"
            raise _refusal(printable(name), "a stored file", kind)
        if not raw.isascii():
            raise _refusal(printable(name), "an ASCII name", ascii(raw)[:200])
        entries.append(Entry(name, length, checksum, offset))
    if directory != central_directory(entries, _start(directory)):
        raise _refusal(path, "a central directory in the one form that Sharekit writes", "another")
    return entries


def _start(directory: bytes) -> int:
    return _END.unpack(directory[-_END.size :])[6]


def central_directory(entries: Sequence[Entry], offset: int) -> bytes:
    """The end of a zip, `offset` bytes after its start: a header for each entry and the end record."""
    central = b"".join(entry.central_header() for entry in entries)
    count = len(entries)
    return central + _END.pack(b"PK\x05\x06", 0, 0, count, count, len(central), offset, 0)


def _refusal(item: object, expected: str, found: str) -> VerificationError:
    return VerificationError(
        item,
        expected=expected,
        found=found,
        next_step="fetch the zip again, or, if you packed it yourself, verify the folder",
    )
