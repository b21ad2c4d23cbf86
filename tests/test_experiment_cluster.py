"""The same commands on a real Ray cluster: results, errors and interruptions are those of this machine."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hospital_node.isolation import closed_ray as closed
from hospital_node.isolation import guard
from sharekit.errors import InputError, NodeStateError
from sharekit.steps.cluster import joined
from sharekit.steps.step import Step, read_record

pytestmark = pytest.mark.ray
PYTHON = Path(sys.executable).name


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A cluster of one machine with two CPUs, behind this process's token."""
    directory = closed.private_directory()
    (directory / "ray").mkdir()
    (directory / "token").write_text(closed.process_token())
    variables = {
        **closed.CLOSED,
        "RAY_AUTH_TOKEN_PATH": str(directory / "token"),
        "RAY_TMPDIR": str(directory),
    }
    with closed.environment(variables):
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 2, "node_ip_address": "127.0.0.1", "temp_dir": str(directory / "ray")}
        machines = Cluster(
            initialize_head=True,
            head_node_args={**head, "include_dashboard": False},
            shutdown_at_exit=False,
        )
        try:
            yield machines.address
        finally:
            machines.shutdown()
            guard.reap(directory)


def step(tmp_path: Path, *command: str) -> Step:
    return Step("a step", command, tmp_path / "record.json", log=tmp_path / "log.txt")


def test_a_cluster_runs_commands_keeps_their_results_and_tells_their_errors(
    address: str, tmp_path: Path
) -> None:
    with joined(address, 1) as cluster:
        made = cluster.run(
            step(tmp_path, "sharekit", "keys", "new", "--no-password", "--out", str(tmp_path / "key"))
        )
        assert (tmp_path / "key.pub").exists()
        assert read_record(tmp_path / "record.json") == made
        (tmp_path / "record.json").unlink()
        absent = str(tmp_path / "absent.pub")
        with pytest.raises(InputError, match=r"absent\.pub.*readable regular file"):
            cluster.run(step(tmp_path, "sharekit", "keys", "fingerprint", absent))


def test_an_interruption_ends_the_command_on_the_cluster(address: str, tmp_path: Path) -> None:
    begun, raised = tmp_path / "begun", []
    code = (
        f"import os, pathlib, time; pathlib.Path({str(begun)!r}).write_text(str(os.getpid())); time.sleep(99)"
    )

    with joined(address, 1) as cluster:

        def run() -> None:
            try:
                cluster.run(step(tmp_path, PYTHON, "-c", code))
            except BaseException as error:
                raised.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        while not (begun.exists() and begun.read_text()):
            time.sleep(0.05)
        cluster.stop()
        thread.join(30)
        assert isinstance(raised[0], KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            cluster.run(step(tmp_path, PYTHON, "-c", "pass"))
        until = time.monotonic() + 10
        with contextlib.suppress(ProcessLookupError):
            while time.monotonic() < until:
                os.kill(int(begun.read_text()), 0)
                time.sleep(0.1)
        assert time.monotonic() < until


def test_a_cluster_that_is_not_there_is_named() -> None:
    with pytest.raises(NodeStateError, match=r"127\.0\.0\.1:1"), joined("127.0.0.1:1", 1):
        pass
