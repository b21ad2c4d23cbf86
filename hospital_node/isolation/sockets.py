"""Who could reach a node's processes: listening sockets beyond loopback, and doors without a token."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from hospital_node.isolation import guard
from sharekit.errors import ExposureError

PROBE_TIMEOUT = 60.0  # seconds
_REFUSED = 3  # the probe's exit code
_PROBE = f"""
import sys
from ray._raylet import GcsClient
from ray.exceptions import AuthenticationError
try:
    GcsClient(address=sys.argv[1]).get_all_node_info()
except AuthenticationError:
    sys.exit({_REFUSED})
"""


@dataclass(frozen=True)
class Listener:
    """A socket that waits for others: TCP in LISTEN, or UDP without a peer."""

    process: str
    pid: int
    ip: str
    port: int

    @property
    def on_loopback(self) -> bool:
        address = ipaddress.ip_address(self.ip)
        mapped = getattr(address, "ipv4_mapped", None)
        return (mapped or address).is_loopback


def listeners(processes: Iterable[psutil.Process]) -> Iterator[Listener]:
    """The listening internet sockets of these processes; one that has ended has none."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            name = process.name()
            for connection in process.net_connections("inet"):
                waits = connection.status == psutil.CONN_LISTEN or connection.type == socket.SOCK_DGRAM
                if waits and connection.laddr and not connection.raddr:
                    yield Listener(name, process.pid, connection.laddr.ip, connection.laddr.port)


def node_processes(directory: Path | None = None) -> list[psutil.Process]:
    """This process, its descendants, and every process that works in Ray's `directory`."""
    this = psutil.Process()
    tree = [this, *this.children(recursive=True)]
    others = [] if directory is None else guard.holders(directory)
    return [*tree, *(process for process in others if process not in tree)]


def check_sockets(directory: Path | None = None) -> list[Listener]:
    """The listening sockets of the node, all of them on loopback.

    Raises:
        ExposureError: a socket is not on loopback, or a process's sockets cannot be listed.
    """
    try:
        found = list(listeners(node_processes(directory)))
    except psutil.AccessDenied as error:
        raise ExposureError(
            f"process {error.pid}",
            expected="a process of the node whose sockets can be listed",
            found="access denied",
            next_step="run the node as one user",
        ) from None
    for listener in found:
        if not listener.on_loopback:
            raise ExposureError(
                f"{listener.process} (process {listener.pid})",
                expected="sockets on loopback only",
                found=f"it listens on {listener.ip} port {listener.port}",
                next_step="end what else this process has started; unset RAY_* variables that open Ray",
            )
    return found


def lets_in(address: str, environment: Mapping[str, str]) -> bool | None:
    """Whether the Ray at `address` takes a client with these variables; None: it gave no answer.

    Args:
        address: ip:port of its control store.
        environment: variables of the client's process, with or without a token.
    """
    command = [sys.executable, "-c", _PROBE, address]
    try:
        ended = subprocess.run(  # noqa: S603
            command, env=environment, capture_output=True, timeout=PROBE_TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired:
        return None
    return {0: True, _REFUSED: False}.get(ended.returncode)


def check_token_required(address: str) -> None:
    """Check that the Ray at `address` (ip:port of its control store) turns away a client without a token.

    Raises:
        ExposureError: Ray lets the client in, or gives no answer.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH_")}
    answer = lets_in(address, {**environment, "RAY_AUTH_MODE": "disabled"})
    if answer is not False:
        raise ExposureError(
            address,
            expected="a Ray that turns away a client without a token",
            found="it let one in" if answer else "no answer to a client without a token",
            next_step="start the cluster with RAY_AUTH_MODE=token and a token of your own",
        )
