"""Download a signed file to the cache: it goes on where it stopped, and counts when it fits."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from tuf.api.exceptions import DownloadError, RepositoryError
from tuf.api.metadata import TargetFile

from consumer.repositories.client import faults
from consumer.repositories.transport import Transport
from sharekit.errors import VerificationError
from sharekit.trust.home import home, locked, made

PART = ".part"


def cached_path(folder: Path, target: TargetFile) -> Path:
    """Where the cache keeps a file: under its digest, SHA-256 if it has one."""
    digest = target.hashes.get("sha256") or min(target.hashes.values())
    return folder / f"{digest}{Path(target.path).suffix}"


def fetch(
    transport: Transport,
    url: str,
    target: TargetFile,
    folder: Path,
    on_bytes: Callable[[int], None] = lambda _: None,
) -> Path:
    """The cached file of a target, downloaded if it is missing; two processes download it once.

    Args:
        url: where the server has the file.
        folder: the cache's folder.
        on_bytes: called with the number of bytes that have arrived.

    Raises:
        VerificationError: the server's file is not what the hospital signed.
        InputError: the server does not answer, or stops in between.
    """
    path = cached_path(made(folder), target)
    part = path.with_name(f"{path.name}{PART}")
    with locked(home() / "locks" / path.name):
        if _fits(target, path):
            on_bytes(target.length)
            return path
        path.unlink(missing_ok=True)
        # What an earlier run left may be damaged: then once more, from the beginning.
        attempts = 2 if part.exists() else 1
        while attempts:
            attempts -= 1
            try:
                _download(transport, url, target, part, on_bytes)
                break
            except VerificationError:
                part.unlink()
                if not attempts:
                    raise
        part.replace(path)
    return path


def _download(
    transport: Transport, url: str, target: TargetFile, part: Path, on_bytes: Callable[[int], None]
) -> None:
    with faults(target.path), _naming(part.parent), part.open("ab") as file:
        start = file.tell()
        if start > target.length:
            file.truncate(0)
            start = 0
        if start < target.length:
            for number, chunk in enumerate(transport.read(url, start)):
                if number == 0 and chunk and start:
                    # The server sends the whole file again.
                    file.truncate(0)
                    start = 0
                start += len(chunk)
                if start > target.length:
                    file.truncate(0)
                    raise VerificationError(
                        target.path,
                        expected=f"{target.length} bytes, as signed",
                        found="more",
                        next_step="do not use it; tell the repository's steward",
                    )
                file.write(chunk)
                on_bytes(start)
        if start < target.length:
            raise DownloadError(f"{target.path}: the server stopped after {start} of {target.length} bytes")
        file.flush()
        os.fsync(file.fileno())
    with faults(target.path), part.open("rb") as file:
        target.verify_length_and_hashes(file)


@contextlib.contextmanager
def _naming(folder: Path) -> Iterator[None]:
    """Put the folder into errors of writing, which name no file: the disk may be full."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(folder)
        raise


def _fits(target: TargetFile, path: Path) -> bool:
    try:
        with path.open("rb") as file:
            target.verify_length_and_hashes(file)
    except (OSError, RepositoryError):
        return False
    return True
