"""Lists and reads the files of a bundle, in an untrusted folder or STORED zip, and writes new ones."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import stat
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from sharekit.errors import InputError, VerificationError
from sharekit.storage import files, stored_zip
from sharekit.storage.names import check_names, printable

MAX_FILES = stored_zip.MAX_ENTRIES
MAX_FILE_BYTES = 512 * 2**20
MAX_TOTAL_BYTES = 16 * 2**30


class Container(Protocol):
    """A folder or zip with the files of a bundle."""

    @property
    def path(self) -> Path: ...

    @property
    def lengths(self) -> Mapping[str, int]:
        """File name to length in bytes; names, lengths and their sum are within the limits."""

    def read(self, name: str) -> bytes:
        """Read a listed file and check its length; its content is not verified.

        Raises:
            VerificationError: naming the file.
        """

    def sha256(self, name: str) -> str:
        """SHA-256 of a listed file, in constant memory where the bundle is a folder.

        Raises:
            VerificationError: naming the file.
        """

    def moved(self, path: Path) -> Container:
        """The same files, after the folder or zip was renamed to `path`."""


class Writer(Protocol):
    """Writes the files of a new bundle."""

    path: Path

    def add(self, name: str, data: bytes) -> None:
        """Add a file."""

    def close(self) -> None:
        """Finish the bundle; no more files may be added."""


@dataclass(frozen=True)
class Folder:
    """A bundle in a folder."""

    path: Path
    lengths: Mapping[str, int]

    @staticmethod
    def open(path: Path) -> Folder:
        """List a folder.

        Raises:
            VerificationError: it contains a link, a device, an empty folder or a bad name, or too many or too
                large files.
        """
        lengths: dict[str, int] = {}
        for name, status in _walk(path):
            _check_status(name, status)
            lengths[name] = status.st_size
        _check_lengths(path, lengths)
        return Folder(path, lengths)

    def read(self, name: str) -> bytes:
        with _naming(name):
            data = files.read_bytes(self.path / name, max_bytes=self.lengths[name])
        return _whole(name, data, self.lengths[name])

    def sha256(self, name: str) -> str:
        with _naming(name):
            return files.sha256_of(self.path / name)

    def moved(self, path: Path) -> Folder:
        return Folder(path, self.lengths)


@dataclass(frozen=True)
class Zip:
    """A bundle in one zip file."""

    path: Path
    entries: Mapping[str, stored_zip.Entry]

    @staticmethod
    def open(path: Path) -> Zip:
        """Read a zip's directory.

        Raises:
            VerificationError: the zip is not in the form that Sharekit writes, or has a bad name or too large
                files.
        """
        with path.open("rb") as file:
            container = Zip(path, stored_zip.read_entries(path, file))
        _check_lengths(path, container.lengths)
        return container

    @property
    def lengths(self) -> Mapping[str, int]:
        return {name: entry.length for name, entry in self.entries.items()}

    def read(self, name: str) -> bytes:
        entry = self.entries[name]
        with self.path.open("rb") as file:
            file.seek(entry.data_offset)
            data = _whole(name, file.read(entry.length), entry.length)
        if zlib.crc32(data) != entry.checksum:
            raise _refusal(name, "the bytes that the zip's checksum belongs to", "others")
        return data

    def sha256(self, name: str) -> str:
        return hashlib.sha256(self.read(name)).hexdigest()

    def moved(self, path: Path) -> Zip:
        return Zip(path, self.entries)


def open_container(path: Path) -> Container:
    """Open a bundle's folder or zip, whichever `path` is.

    Raises:
        InputError: `path` does not exist, or is neither folder nor file.
        VerificationError: the folder or zip is malformed.
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            return Folder.open(path)
        if stat.S_ISREG(mode):
            return Zip.open(path)
        found = "neither folder nor file"
    except OSError as error:
        found = error.strerror or type(error).__name__
    raise InputError(
        path,
        expected="a bundle: a folder or a zip",
        found=found,
        next_step="check the path and its permissions",
    )


@contextlib.contextmanager
def new_container(path: Path) -> Iterator[Writer]:
    """Fill a new bundle next to `path`; it gets its name only when the block ends without error.

    A name that ends in `.zip` makes a zip, any other a folder.

    Raises:
        InputError: `path` exists already.
    """
    if path.suffix.lower() == ".zip":
        with _new_zip(path) as writer:
            yield writer
    else:
        with files.new_directory(path) as folder:
            yield _FolderWriter(folder)


@contextlib.contextmanager
def _new_zip(path: Path) -> Iterator[Writer]:
    files.refuse_existing(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            yield _ZipWriter(temporary, file)
        temporary.rename(path)
    finally:
        temporary.unlink(missing_ok=True)


class _FolderWriter:
    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, name: str, data: bytes) -> None:
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        files.write_bytes(target, data)

    def close(self) -> None:
        """Every file is already whole."""


class _ZipWriter:
    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self._file = file
        self._writer = stored_zip.Writer(file)

    def add(self, name: str, data: bytes) -> None:
        self._writer.add(name, data)

    def close(self) -> None:
        self._writer.close()
        self._file.flush()
        os.fsync(self._file.fileno())


@contextlib.contextmanager
def _naming(name: str) -> Iterator[None]:
    """Turn an error of reading into one of verification that names the file as the bundle does."""
    try:
        yield
    except InputError as error:
        raise VerificationError(
            printable(name), expected=error.expected, found=error.found, next_step=error.next_step
        ) from None


def _walk(root: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Name and status of each file below `root`; links are not followed, and the number is limited."""
    pending, count = [""], 0
    while pending:
        prefix = pending.pop()
        with os.scandir(root / prefix) as listing:
            entries = []
            for entry in listing:
                count += 1
                if count > 2 * MAX_FILES:
                    raise _refusal(str(root), f"at most {MAX_FILES} files", "more")
                entries.append(entry)
        if not entries and prefix:
            raise _refusal(prefix, "files in every folder", "an empty folder")
        for entry in entries:
            name = f"{prefix}{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                pending.append(f"{name}/")
            else:
                yield name, entry.stat(follow_symlinks=False)


def _check_status(name: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = "a symbolic link" if stat.S_ISLNK(status.st_mode) else "a device, pipe or socket"
        raise _refusal(name, "a regular file", kind)
    if status.st_nlink != 1:
        raise _refusal(name, "a file with one name", f"{status.st_nlink} hard links to it")


def _check_lengths(path: Path, lengths: Mapping[str, int]) -> None:
    if len(lengths) > MAX_FILES:
        raise _refusal(str(path), f"at most {MAX_FILES} files", str(len(lengths)))
    check_names(lengths)
    for name, length in lengths.items():
        limit = files.MAX_JSON_BYTES if name.endswith((".json", ".sig")) else MAX_FILE_BYTES
        if length > limit:
            raise _refusal(name, f"at most {limit} bytes", f"{length} bytes")
    total = sum(lengths.values())
    if total > MAX_TOTAL_BYTES:
        raise _refusal(str(path), f"at most {MAX_TOTAL_BYTES} bytes in all", f"{total} bytes")


def _whole(name: str, data: bytes, length: int) -> bytes:
    if len(data) != length:
        raise _refusal(name, f"{length} bytes, as listed", f"{len(data)} bytes")
    return data


def _refusal(name: str, expected: str, found: str) -> VerificationError:
    return VerificationError(
        printable(name),
        expected=expected,
        found=found,
        next_step="do not use it; fetch the bundle again, or copy it as plain files",
    )
