"""Runs commands on a Ray cluster whose machines share this machine's file system."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sharekit.errors import NodeStateError, SharekitError, missing_package
from sharekit.steps.processes import Processes, threads_environment
from sharekit.steps.step import Step, run_step


@dataclass
class Cluster:
    """Sends each command to a worker with a free CPU for each of its threads."""

    ray: Any
    threads: int
    _waiting: set[Any] = field(default_factory=set)
    _stopped: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, step: Step) -> Any:
        """Run a step as `run_step` does, on a worker.

        Raises:
            SharekitError: the command's own error, or its worker was lost.
            KeyboardInterrupt: `stop` was called.
        """
        remote = self.ray.remote(num_cpus=self.threads, max_retries=0)(_run_there)
        with self._lock:
            if self._stopped:
                raise KeyboardInterrupt
            reference = remote.remote(step, str(Path.cwd()), threads_environment(self.threads))
            self._waiting.add(reference)
        try:
            found = self.ray.get(reference)
        except self.ray.exceptions.RayError as error:
            if self._stopped:
                raise KeyboardInterrupt from None
            raise _lost(step, error) from None
        finally:
            with self._lock:
                self._waiting.discard(reference)
        if isinstance(found, SharekitError):
            raise found
        return found

    def stop(self) -> None:
        """Interrupt the commands on the cluster and start no others."""
        with self._lock:
            self._stopped = True
            for reference in self._waiting:
                self.ray.cancel(reference)


@contextlib.contextmanager
def joined(address: str, threads: int) -> Iterator[Cluster]:
    """Use the cluster at `address` for the length of the block, with the token from the environment.

    Raises:
        DependencyError: Ray is not installed.
        NodeStateError: no cluster answers at `address`, or it refuses the token.
    """
    # Ray reads this variable when it is imported.
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    try:
        import ray
        import ray.exceptions
    except ImportError:
        raise missing_package("ray", "hospital") from None
    try:
        try:
            _knock(address)
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise NodeStateError(
                f"--address {address}",
                expected="a Ray cluster that takes the token of RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH",
                found=f"{type(error).__name__}: {str(error).partition(chr(10))[0]}",
                next_step="check the address, the token, and that both run the same release of Ray",
            ) from error
        yield Cluster(ray, threads)
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Fail at once if nothing listens at `ip:port`, because Ray would try for minutes."""
    host, separator, port = address.rpartition(":")
    if separator:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def _run_there(step: Step, folder: str, environment: Mapping[str, str]) -> Any:
    """Run a step on a worker, and return its result or its error as a value, which Ray does not wrap."""
    os.chdir(folder)
    os.umask(0o077)
    # Ray blocks SIGINT in its workers, and commands inherit that.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    try:
        return run_step(step, Processes(environment))
    except SharekitError as error:
        return error


def _lost(step: Step, error: Exception) -> NodeStateError:
    return NodeStateError(
        step.command_line,
        expected="a worker of the cluster that runs it to its end",
        found=f"{type(error).__name__}: {str(error).partition(chr(10))[0]}",
        next_step="check that the cluster's machines share this folder and have sharekit installed, and run "
        "the same command again to go on",
    )
