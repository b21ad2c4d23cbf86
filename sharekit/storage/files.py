"""Writes files completely or not at all, and reads them once with a size limit."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any

from sharekit.errors import InputError, VerificationError
from sharekit.storage.budget import Budget, Count, count_json
from sharekit.storage.names import printable

MAX_JSON_BYTES = 16 * 2**20
JSON_BUDGET = Budget(MAX_JSON_BYTES, max_nodes=600_000, max_depth=32, max_keys=600_000)
"""Budget for any document; the manifest of 10,000 generators with 9 scales has 550,000 values."""


_BINARY = getattr(os, "O_BINARY", 0)
"""Without this flag, Windows would change line endings."""
_WITHOUT_FOLLOWING = sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC"))
"""Flags to not follow links nor wait for pipes; Windows has none of them."""
_FOLDERS_CAN_BE_OPENED = hasattr(os, "O_DIRECTORY")


def _fsync_directory(directory: Path) -> None:
    if _FOLDERS_CAN_BE_OPENED:
        _fsync(directory, os.O_RDONLY)


def _fsync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write `data` to `path` atomically: temporary file next to it, fsync, rename, fsync of the folder.

    `mode` is the permission of the finished file, before the process's umask.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _fsync_directory(path.parent)


def write_text(path: Path, text: str, *, mode: int = 0o644) -> None:
    """`write_bytes` in UTF-8."""
    write_bytes(path, text.encode(), mode=mode)


def dump_json(value: Any) -> bytes:
    """UTF-8 JSON with sorted keys, two-space indentation and a final newline; equal values give equal bytes.

    Raises:
        ValueError: a number is NaN or infinite, which JSON cannot express.
    """
    return (json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def write_json(path: Path, value: Any, *, mode: int = 0o644) -> None:
    """`write_bytes` of `dump_json`."""
    write_bytes(path, dump_json(value), mode=mode)


def parse_json(data: bytes, item: object, budget: Budget = JSON_BUDGET) -> Any:
    """Parse untrusted JSON: UTF-8, no duplicate keys, no NaN, and within a budget that is checked first.

    Raises:
        VerificationError: naming `item`, if one of these rules is broken.
    """
    return _parse_json(data, item, budget)[0]


def parse_json_lines(
    data: bytes, item: object, budget: Budget, line_budget: Budget
) -> Iterator[tuple[int, Any]]:
    """Yield the values of untrusted JSON lines, each with its line number from 1.

    For a line that is not strict JSON or exceeds `line_budget`, the value is its VerificationError.

    Raises:
        VerificationError: naming `item`, if all lines together exceed `budget`.
    """
    excess = budget.excess_bytes(len(data)) or budget.excess(Count(nodes=data.count(b"\n")))
    total = Count()
    for number, line in enumerate(() if excess else data.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            value, count = _parse_json(line, f"{item}:{number}", line_budget)
        except VerificationError as error:
            yield number, error
            continue
        total += count
        excess = budget.excess(total)
        if excess:
            break
        yield number, value
    if excess:
        raise _not_json(item, excess[1], excess[0])


def _parse_json(data: bytes, item: object, budget: Budget) -> tuple[Any, Count]:
    """The parsed value, and the count from before parsing."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) < len(pairs):
            seen: set[str] = set()
            for key, _ in pairs:
                if key in seen:
                    raise _not_json(item, f"the key '{printable(key)}' twice in one object", "every key once")
                seen.add(key)
        return value

    def constant(name: str) -> Any:
        raise _not_json(item, f"the number {name}")

    def finite(text: str) -> float:
        number = float(text)
        return number if math.isfinite(number) else constant(f"{text:.20}")

    count = Count()
    excess = budget.excess_bytes(len(data))
    if excess is None:
        count = count_json(data, budget)
        excess = budget.excess(count)
    if excess:
        raise _not_json(item, excess[1], excess[0])
    try:
        text = data.decode("utf-8")
        value = json.loads(text, object_pairs_hook=unique, parse_constant=constant, parse_float=finite)
        if "\\ud" in text.lower():
            # A lone surrogate can be neither printed nor written again.
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        if is_lfs_pointer(data):
            raise lfs_pointer(item) from None
        raise _not_json(item, f"{type(error).__name__}: {error}"[:300]) from None
    return value, count


def _not_json(
    item: object, found: str, expected: str = "strict JSON (RFC 8259) in UTF-8"
) -> VerificationError:
    return VerificationError(
        item, expected=expected, found=found, next_step="fetch the file again from its source"
    )


def is_lfs_pointer(data: bytes) -> bool:
    """Whether these bytes are a Git LFS pointer instead of the file."""
    return len(data) < 1024 and data.startswith(b"version https://git-lfs.github.com/spec/")


def lfs_pointer(item: object, expected: str = "the file itself") -> VerificationError:
    """The error for a Git LFS pointer in place of the file."""
    return VerificationError(
        item,
        expected=expected,
        found="a Git LFS pointer, which only stands for the file",
        next_step="fetch the files with `git lfs pull`, or copy the bundle from its source",
    )


def read_bytes(path: Path, *, max_bytes: int) -> bytes:
    """Read a regular file once, refusing links, devices and files longer than `max_bytes`.

    Raises:
        InputError: the file is missing, not a regular file, unreadable, or too long.
    """
    with open_regular(path) as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise InputError(
            path,
            expected=f"at most {max_bytes} bytes",
            found="a longer file",
            next_step="use a smaller file",
        )
    return data


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file for reading; a link or device is refused.

    Raises:
        InputError: the file is missing, not a regular file, or unreadable.
    """
    try:
        if path.is_symlink():
            # If the system has the flag, `open` also refuses a link that appears after this check.
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        descriptor = os.open(path, os.O_RDONLY | _WITHOUT_FOLLOWING | _BINARY)
    except OSError as error:
        raise InputError(
            path,
            expected="a readable regular file",
            found=error.strerror or type(error).__name__,
            next_step="check the path and its permissions",
        ) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InputError(
            path,
            expected="a regular file",
            found="a folder, device or pipe",
            next_step="name the file itself",
        )
    return os.fdopen(descriptor, "rb")


def sha256_of(path: Path) -> str:
    """SHA-256 of a regular file of any length, in constant memory.

    Raises:
        InputError: the file is missing, not a regular file, or unreadable.
    """
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def refuse_existing(path: Path) -> None:
    """Refuse a path that already exists.

    Raises:
        InputError: `path` exists already.
    """
    if path.exists() or path.is_symlink():
        raise InputError(
            path,
            expected="a path that does not exist yet",
            found="something there",
            next_step="remove it or choose another path",
        )


def check_writable(path: Path) -> None:
    """Before long work, refuse a path where no file can be written; an older file may exist there.

    Raises:
        InputError: `path` is a folder, or lies in no folder that may be written to.
    """
    folder = path.parent
    if path.is_dir():
        found, next_step = "a folder", "name a file in it, or choose another path"
    elif not folder.is_dir():
        found, next_step = f"no folder {folder}", "make the folder, or choose another path"
    elif not os.access(folder, os.W_OK | os.X_OK):
        found, next_step = "a folder that may not be written to", "choose another path"
    else:
        return
    raise InputError(
        path, expected="a file in a folder that can be written to", found=found, next_step=next_step
    )


@contextlib.contextmanager
def new_directory(path: Path, *, mode: int = 0o755) -> Iterator[Path]:
    """Fill a temporary folder next to `path`; it becomes `path` only when the block ends without error.

    Raises:
        InputError: `path` exists already.
    """
    refuse_existing(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    temporary.mkdir(mode=mode)
    try:
        yield temporary
        put_in_place(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def put_in_place(folder: Path, path: Path) -> None:
    """Sync a finished folder to disk, then rename it to `path`. Both must be in one file system."""
    for parent, _, names in os.walk(folder):
        for name in names:
            # Windows syncs only files that are open for writing.
            _fsync(Path(parent) / name, os.O_RDONLY if _FOLDERS_CAN_BE_OPENED else os.O_RDWR)
        _fsync_directory(Path(parent))
    folder.rename(path)
    _fsync_directory(path.parent)
