"""Reads the files of a repository over https, over http on this machine, or from a folder.

Nobody but the server that the user named is contacted: a redirection is an error.
"""

from __future__ import annotations

import ipaddress
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import urllib3
from tuf.api.exceptions import DownloadError, DownloadHTTPError, SlowRetrievalError
from tuf.ngclient import FetcherInterface

from sharekit import __version__
from sharekit.errors import UsageError

CHUNK = 2**18  # bytes
CONNECT_SECONDS, READ_SECONDS = 10.0, 30.0
CONNECTIONS = 8
"""More than downloads at the same time."""
RETRIES = 2
"""For connections that fail before any byte arrives."""
MISSING = 404


class Transport(FetcherInterface):
    """Reads the files below a repository's address; python-tuf reads its metadata through it."""

    def __init__(self, address: str) -> None:
        """Take the address of a repository.

        Args:
            address: an https address, an http address of this machine, or a folder.

        Raises:
            UsageError: another kind of address.
        """
        self.base = base_of(address)
        self._pool = None if self.base.startswith("file:") else _pool(self.base)

    def _fetch(self, url: str) -> Iterator[bytes]:
        return self.read(url)

    def read(self, url: str, start: int = 0) -> Iterator[bytes]:
        """The bytes of a file from position `start`; all of them if the server cannot begin there.

        The first item is empty if the bytes begin at `start`; there is none if they begin at 0.

        Raises:
            DownloadHTTPError: the server answers with an error.
            DownloadError: the server does not answer, or stops in between.
        """
        if self._pool is None:
            return _file_chunks(Path(unquote(urlsplit(url).path)), start)
        return self._chunks(url, start)

    def _chunks(self, url: str, start: int) -> Iterator[bytes]:
        headers = {"Range": f"bytes={start}-"} if start else {}
        try:
            response = self._pool.request(  # type: ignore[union-attr]
                "GET", url, headers=headers, preload_content=False, redirect=False
            )
        except urllib3.exceptions.HTTPError as error:
            raise DownloadError(f"{url}: {error}"[:300]) from error
        try:
            if response.status not in (200, 206) or (response.status == 206 and not start):
                raise DownloadHTTPError(f"{url}: status {response.status}", response.status)
            if response.status == 206:
                if not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
                    raise DownloadError(f"{url}: the server sent another part of the file")
                yield b""
            # `read1` gives what has arrived, so that an interruption loses nothing.
            while chunk := response.read1(CHUNK):
                yield chunk
        except urllib3.exceptions.ReadTimeoutError as error:
            raise SlowRetrievalError(f"{url}: no byte for {READ_SECONDS:g} s") from error
        except urllib3.exceptions.HTTPError as error:
            raise DownloadError(f"{url}: the server stopped in between ({error})"[:300]) from error
        finally:
            response.close()


def base_of(address: str) -> str:
    """The address as the beginning of every URL, with a final slash.

    Raises:
        UsageError: it is neither https, nor http on this machine, nor a folder.
    """
    parts = urlsplit(address)
    if parts.scheme == "https" and parts.hostname:
        return f"{address.rstrip('/')}/"
    if parts.scheme == "http" and _is_this_machine(parts.hostname):
        return f"{address.rstrip('/')}/"
    if "://" not in address and Path(address).is_dir():
        return f"{Path(address).resolve().as_uri()}/"
    raise UsageError(
        "REPOSITORY",
        expected="an https address, an http address of this machine, or a folder",
        found=f"{address:.100}",
        next_step="check the address; the metadata is signed, but http would show others what you pull",
    )


def _is_this_machine(host: str | None) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def _pool(base: str) -> urllib3.PoolManager:
    """The connections to the server, through the proxy that the user's environment names for it."""
    host = urlsplit(base).hostname or ""
    options = {
        "maxsize": CONNECTIONS,
        "headers": {"User-Agent": f"sharekit/{__version__}", "Accept-Encoding": "identity"},
        "timeout": urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
        "retries": urllib3.Retry(connect=RETRIES, read=False, redirect=False, status=0, backoff_factor=0.1),
    }
    proxy = urllib.request.getproxies().get(urlsplit(base).scheme)
    if proxy and not _is_this_machine(host) and not urllib.request.proxy_bypass(host):
        return urllib3.ProxyManager(proxy, **options)  # type: ignore[arg-type]
    return urllib3.PoolManager(**options)  # type: ignore[arg-type]


def _file_chunks(path: Path, start: int) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            if start:
                file.seek(start)
                yield b""
            while chunk := file.read(CHUNK):
                yield chunk
    except FileNotFoundError:
        raise DownloadHTTPError(f"{path}: no such file", MISSING) from None
