"""Turns other exceptions about the machine into our errors: full disk, missing permission, lack of memory.

Problems of the environment are not faults of the program: their errors have a path, a remedy and exit code 3
or 8.
"""

from __future__ import annotations

import errno
import os
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec

from sharekit.errors import (
    DependencyError,
    InputError,
    NodeStateError,
    SharekitError,
    missing_package,
)

MAX_FOUND = 300
"""Most characters to show of a library's own message; `--verbose` shows all of it."""


@dataclass(frozen=True)
class _Fault:
    """The error for one kind of problem in the environment."""

    error: type[SharekitError]
    expected: str
    next_step: str
    somewhere: bool = True
    """Whether it concerns a place; if the error names none, the command's options do."""


_FULL = _Fault(
    InputError, "space on the disk", "free some space there, or name a folder on another disk, and try again"
)
_UNWRITABLE = _Fault(
    InputError,
    "a place that this user may read and write",
    "change its owner or permissions, or name another place",
)
_READ_ONLY = _Fault(InputError, "a file system that can be written", "name a folder on another one")
_PATH = _Fault(InputError, "a usable path", "check the path, and what is there")
_BROKEN = _Fault(
    InputError, "a disk that works", "check the disk or the network share, or name another place"
)
_LOCKS = _Fault(
    NodeStateError, "a file system with locks", "move the folder to a local disk, which has flock"
)
_MEMORY = _Fault(
    NodeStateError,
    "enough memory",
    "end other programs, raise the limit (`ulimit -v`, the container's), or ask for less at once",
    somewhere=False,
)
_HANDLES = _Fault(
    NodeStateError,
    "room for more open files or processes",
    "raise the limits that `ulimit -a` shows",
    somewhere=False,
)
_BUSY = _Fault(
    NodeStateError, "a file that no other process has locked", "wait for the other process, and try again"
)

_NETWORK = _Fault(
    NodeStateError,
    "a loopback interface that takes connections",
    "bring it up: `ip link set lo up`",
    somewhere=False,
)

_BY_NUMBER = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), _FULL),
    **dict.fromkeys((errno.EACCES, errno.EPERM), _UNWRITABLE),
    errno.EROFS: _READ_ONLY,
    **dict.fromkeys(
        (
            *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ELOOP),
            *(errno.ENAMETOOLONG, errno.EXDEV, errno.EINVAL, errno.ENXIO, errno.ENODEV, errno.EBUSY),
        ),
        _PATH,
    ),
    **dict.fromkeys((errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN), _BROKEN),
    **dict.fromkeys((errno.ENOLCK, errno.EOPNOTSUPP), _LOCKS),
    errno.ENOMEM: _MEMORY,
    **dict.fromkeys((errno.EMFILE, errno.ENFILE, errno.EAGAIN), _HANDLES),
    **dict.fromkeys((errno.ENETDOWN, errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT), _NETWORK),
}
_BY_DATABASE_CODE = {
    "SQLITE_FULL": _FULL,
    "SQLITE_READONLY": _UNWRITABLE,
    "SQLITE_CANTOPEN": _UNWRITABLE,
    "SQLITE_PERM": _UNWRITABLE,
    "SQLITE_IOERR": _BROKEN,
    "SQLITE_PROTOCOL": _LOCKS,
    "SQLITE_NOLFS": _BROKEN,
    "SQLITE_BUSY": _BUSY,
    "SQLITE_LOCKED": _BUSY,
    "SQLITE_NOMEM": _MEMORY,
}
# Messages of libraries that raise their own exception classes.
_NO_MEMORY = re.compile(
    r"bad_alloc|allocat\w* (?:\w+ )?memory|memory allocation|out of memory|not enough memory"
    r"|can't start new thread|failed to map segment",
    re.IGNORECASE,
)
_TEMPORARY = re.compile(r"\.([^/\\]+)\.[0-9a-f]{8}\.tmp(?=$|[/\\])")
_NO_LIBRARY = re.compile(r"(\S+): cannot open shared object file|DLL load failed while importing (\w+)")


_REPOSITORY_PACKAGES = {"tuf", "securesystemslib", "urllib3"}
"""Packages of the extra `repository`, which all three programs use."""


def explain(
    error: BaseException, command: str, place: object = None, extra: str | None = None
) -> SharekitError:
    """Turn any exception into an error that says what to do next.

    Args:
        command: the command; it becomes the error's item if the exception names no file.
        place: the folder or file that the command works on, for exceptions that name none.
        extra: the extra to install when a package is missing; None if the command says so itself.
    """
    fault = _fault_of(error)
    if isinstance(error, SharekitError) and fault is None:
        return error
    if fault is not None:
        item = _final_name(error) or (place if fault.somewhere else None) or command
        return fault.error(item, expected=fault.expected, found=_found(error), next_step=fault.next_step)
    if isinstance(error, ImportError):
        missing = _missing(error, extra)
        if missing is not None:
            return missing
    if isinstance(error, UnicodeError) and isinstance(getattr(error, "object", None), str):
        return InputError(
            ascii(error.object)[:MAX_FOUND],  # type: ignore[attr-defined]
            expected="a name in characters that files and texts can hold (UTF-8)",
            found=str(getattr(error, "reason", error)),
            next_step="rename the file or folder",
        )
    return SharekitError(
        command,
        expected="no fault in the program",
        found=f"{type(error).__name__}: {_first_line(str(error))}",
        next_step="run again with --verbose and report the traceback",
    )


def _fault_of(error: BaseException) -> _Fault | None:
    if isinstance(error, SharekitError):
        # Only a MemoryError counts here: the words of an error about a file may quote the file itself.
        reasons = _reasons(error)
        return _MEMORY if any(isinstance(reason, MemoryError) for reason in reasons) else None
    if isinstance(error, MemoryError):
        return _MEMORY
    if isinstance(error, OSError) and error.errno is not None:
        return _BY_NUMBER.get(error.errno)
    if isinstance(error, sqlite3.Error):
        name = getattr(error, "sqlite_errorname", "")
        return next((fault for code, fault in _BY_DATABASE_CODE.items() if name.startswith(code)), None)
    return _MEMORY if _NO_MEMORY.search(str(error)) else None


def _reasons(error: BaseException) -> Iterator[BaseException]:
    """The exceptions that led to an error, the nearest first."""
    reason = error.__cause__ or error.__context__
    while reason is not None:
        yield reason
        reason = reason.__cause__ or reason.__context__


def _final_name(error: BaseException) -> str | None:
    """The path that an error names; for a temporary file of `storage.files`, its final path."""
    name = getattr(error, "filename", None)
    return _TEMPORARY.sub(r"\1", os.fsdecode(name)) if isinstance(name, str | bytes | os.PathLike) else None


def _found(error: BaseException) -> str:
    if isinstance(error, SharekitError):
        return error.found
    return getattr(error, "strerror", None) or _first_line(str(error)) or "memory ran out"


def _missing(error: ImportError, extra: str | None) -> DependencyError | None:
    """The error for a missing package, or for a missing shared library of a package."""
    package = (error.name or "").partition(".")[0]
    extra = "repository" if package in _REPOSITORY_PACKAGES else extra
    if isinstance(error, ModuleNotFoundError) and package and extra and find_spec(package) is None:
        return missing_package(package, extra)
    library = _NO_LIBRARY.search(str(error))
    if library is None:
        return None
    name = library[1] or library[2]
    return DependencyError(
        name,
        expected=f"the shared library {name}",
        found=_first_line(str(error)),
        next_step="install it with the system's package manager, or install the package that needs it again",
    )


def _first_line(text: str) -> str:
    """The first line of a message, shortened: some libraries print whole graphs."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return line if len(line) <= MAX_FOUND else f"{line[:MAX_FOUND]}…"
