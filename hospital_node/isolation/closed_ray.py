"""A Ray that nobody else can reach, or, by choice, a cluster that asks for a token.

By itself `ray.init` listens on every interface, even with a loopback address and without a dashboard (see
docs/adr/0005-ray-closed.md for what was measured). The settings below close it; the checks make sure.
"""

from __future__ import annotations

import contextlib
import os
import resource
import secrets
import stat
import tempfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from hospital_node.isolation import guard, sockets
from sharekit.errors import ExposureError, NodeStateError
from sharekit.storage import files

MAX_DIRECTORY_LENGTH = 38
"""Bytes: Ray adds `/ray/session_<date>_<pid>/sockets/plasma_store`; Unix socket paths have at most 107."""

_LOOPBACK = "127.0.0.1"
_NOWHERE = f"http://{_LOOPBACK}:9"
"""A port of this machine where nobody listens."""
CLOSED = {
    # Without it, gRPC servers bind to every interface, for any address of the node.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_AUTH_MODE": "token",
    # Nobody reads the metrics, and their ports ask for no token.
    "RAY_enable_metrics_collection": "0",
    # Workers get an environment of their own: those started ahead would only idle.
    "RAY_prestart_worker_first_driver": "0",
    # With usage statistics off, Ray still asks the cloud's metadata address where it runs. Lower case wins.
    "http_proxy": _NOWHERE,
    "https_proxy": _NOWHERE,
    "no_proxy": f"{_LOOPBACK},localhost",
}
"""Variables that keep a Ray to this machine and ask its clients for a token."""
_TOKENS = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
_QUIET: Mapping[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}


@contextlib.contextmanager
def closed_ray(record: Path) -> Iterator[Path]:
    """Run a private Ray for the length of the block, closed to everybody else.

    Args:
        record: file that holds the folder's path while Ray runs, so that the next run finds what a killed one
            left.

    Yields:
        Ray's private folder; give it to `sockets.check_sockets` whenever workers were started.

    Raises:
        ExposureError: it listens beyond loopback or lets in a client without the token; it is shut down.
        NodeStateError: it does not start on this machine.
    """
    reap_recorded(record)
    directory = private_directory()
    token = directory / "token"
    variables = {
        **CLOSED,
        "RAY_AUTH_TOKEN_PATH": str(token),
        # A worker's torch would make this folder in the machine's temporary one.
        "TORCHINDUCTOR_CACHE_DIR": str(directory / "torch"),
    }
    try:
        with guard.guarded(directory), environment(variables, without=("RAY_AUTH_TOKEN",)), _umask(0o077):
            files.write_text(token, process_token(), mode=0o600)
            files.write_json(record, {"directory": str(directory)}, mode=0o600)
            import ray

            try:
                with _start_told():
                    ray.init(
                        address="local",
                        include_dashboard=False,
                        _node_ip_address=_LOOPBACK,
                        # Ray opens this folder to everybody (0777); the one around it stays 0700.
                        _temp_dir=str(directory / "ray"),
                        **_QUIET,
                    )
                sockets.check_sockets(directory)
                sockets.check_token_required(ray.get_runtime_context().gcs_address)
                yield directory
            finally:
                ray.shutdown()
    finally:
        # The guard has done its work, even if something went wrong in the block.
        record.unlink(missing_ok=True)


@contextlib.contextmanager
def _start_told() -> Iterator[None]:
    """Turn Ray's bare exceptions at start into an error about the machine's limits, memory or sockets."""
    try:
        yield
    except Exception as error:
        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        unlimited = limit == resource.RLIM_INFINITY
        raise NodeStateError(
            "Ray",
            expected="a Ray that starts on this machine",
            found=f"{str(error).splitlines()[0] if str(error) else type(error).__name__:.300}"
            + ("" if unlimited else f" (the address space is limited to {limit / 2**30:.1f} GiB)"),
            next_step="see `hospital-node doctor`, and free memory"
            if unlimited
            else "lift the limit: `ulimit -v unlimited`",
        ) from error


@contextlib.contextmanager
def joined_ray(address: str) -> Iterator[None]:
    """Use the cluster at `address` (`auto` or ip:port) for the length of the block.

    The cluster's owner decides who can reach its sockets. This checks that the cluster asks for a token.

    Raises:
        ExposureError: no token is set here, or the cluster lets in a client without one.
        NodeStateError: there is no such cluster, or it refuses the token.
    """
    if not _has_token() or os.environ.get("RAY_AUTH_MODE", "token") != "token":
        raise ExposureError(
            f"--address {address}",
            expected="token authentication: RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token",
            found=f"RAY_AUTH_MODE={os.environ['RAY_AUTH_MODE']}" if _has_token() else "no token",
            next_step="start the cluster with RAY_AUTH_MODE=token and give its token here",
        )
    with environment({"RAY_AUTH_MODE": "token"}):
        import ray

        try:
            try:
                ray.init(address=address, **_QUIET)
            except (ConnectionError, RuntimeError, ray.exceptions.RayError) as error:
                raise NodeStateError(
                    f"--address {address}",
                    expected="a Ray cluster that takes this node's token",
                    found=f"{type(error).__name__}: {str(error).splitlines()[0]}",
                    next_step="check the address, the token, and that both run the same release of Ray",
                ) from error
            sockets.check_token_required(ray.get_runtime_context().gcs_address)
            yield
        finally:
            ray.shutdown()


@cache
def process_token() -> str:
    """The one token of every Ray that this process starts, because Ray reads its token only once."""
    return secrets.token_hex(32)


def _has_token() -> bool:
    default = Path("~/.ray/auth_token").expanduser()
    return any(os.environ.get(name) for name in _TOKENS) or default.is_file()


def private_directory() -> Path:
    """A new folder of mode 0700 with a path short enough for Ray's Unix sockets."""
    directory = Path(tempfile.mkdtemp(prefix="node-")).resolve()
    if len(os.fsencode(directory)) <= MAX_DIRECTORY_LENGTH:
        return directory
    directory.rmdir()
    return Path(tempfile.mkdtemp(prefix="node-", dir="/tmp")).resolve()


def reap_recorded(record: Path) -> None:
    """End the processes that a killed run left, before its images are touched again."""
    if not record.is_file():
        return
    value = files.parse_json(files.read_bytes(record, max_bytes=files.MAX_JSON_BYTES), record)
    directory = Path(value["directory"])
    # In a folder that everybody can write, the name may belong to somebody else by now.
    with contextlib.suppress(FileNotFoundError):
        found = directory.lstat()
        ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
        if ours and (directory / "token").is_file():
            guard.reap(directory)
    record.unlink()


@contextlib.contextmanager
def environment(values: Mapping[str, str], without: tuple[str, ...] = ()) -> Iterator[None]:
    """Set these variables of this process, and unset those in `without`, for the length of the block."""
    before = dict(os.environ)
    for name in without:
        os.environ.pop(name, None)
    os.environ.update(values)
    try:
        yield
    finally:
        for name in (*values, *without):
            os.environ.pop(name, None)
            if name in before:
                os.environ[name] = before[name]


@contextlib.contextmanager
def _umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)
