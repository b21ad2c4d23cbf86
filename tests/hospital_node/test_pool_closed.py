"""A node's Ray: on loopback, behind a token, in a private folder, and gone afterwards."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import textwrap
import time

import psutil
import pytest

from hospital_node.cli import main
from hospital_node.isolation import closed_ray as closed
from hospital_node.isolation import guard, sockets
from hospital_node.isolation.closed_ray import closed_ray
from hospital_node.ledger.states import GeneratorState
from hospital_node.node.node import Node
from sharekit.errors import ExposureError
from tests.hospital_node.ingested import ingested_image
from tests.hospital_node.trained_node import generator_of

PROGRAM = [sys.executable, "-c", "import sys; from hospital_node.cli import main; sys.exit(main())"]

LISTEN = """
import socket, sys, time
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
server = socket.create_server((sys.argv[1], 0), family=family)
print("up", flush=True)
time.sleep(60)
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """Ray's folder and its control store's address, while it runs with a worker."""
    record = tmp_path_factory.mktemp("closed") / "ray.json"
    with closed_ray(record) as directory:
        import ray

        ray.get(ray.remote(lambda: os.getpid()).remote())
        yield directory, ray.get_runtime_context().gcs_address
    assert guard.holders(directory) in ([], [psutil.Process()])
    assert not directory.exists()
    assert not record.exists()


@pytest.fixture
def planted():
    """Start a child of this process that listens on an address."""
    children = []

    def listen(ip: str) -> None:
        child = subprocess.Popen([sys.executable, "-c", LISTEN, ip], stdout=subprocess.PIPE)
        children.append(child)
        child.stdout.readline()

    yield listen
    for child in children:
        child.kill()
        child.communicate()


@pytest.mark.ray
def test_every_socket_of_a_running_node_is_on_loopback(running):
    directory, _ = running
    found = sockets.check_sockets(directory)
    assert {"gcs_server", "raylet"} <= {listener.process for listener in found}
    assert any(listener.process.startswith("ray::") for listener in found)
    assert all(listener.on_loopback for listener in found)


@pytest.mark.ray
def test_rays_files_are_behind_a_private_folder(running):
    directory, _ = running
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((directory / "token").stat().st_mode) == 0o600


@pytest.mark.ray
def test_a_client_without_the_token_is_refused(running):
    _, address = running
    sockets.check_token_required(address)


@pytest.mark.ray
def test_a_client_with_another_token_is_refused_and_one_with_the_token_let_in(running):
    directory, address = running

    def join(token: str) -> bool | None:
        environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
        environment.pop("RAY_AUTH_TOKEN_PATH", None)
        return sockets.lets_in(address, environment)

    assert join("0" * 64) is False
    assert join((directory / "token").read_text()) is True


@pytest.mark.ray
def test_a_cluster_is_joined_with_its_token_and_trains(running, tmp_path):
    directory, address = running
    node = Node.create(tmp_path / "node")
    image = ingested_image(node, 1)
    environment = {**os.environ, "RAY_AUTH_TOKEN_PATH": str(directory / "token")}
    environment.pop("RAY_AUTH_MODE", None)
    command = [*PROGRAM, "train", "--node", str(node.root), "--profile", "quick", "--iterations", "1"]
    command += ["--max-side", "32", "--address", address]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    generator = generator_of(node, image)
    assert node.ledger.generators.get(generator).state is GeneratorState.TRAINED
    assert [path.name for path in node.model_dir(generator).iterdir()] == ["generator.safetensors"]


@pytest.mark.ray
def test_a_ray_without_a_token_is_found_out(tmp_path):
    script = """
        import sys, ray
        from hospital_node.isolation import sockets
        ray.init(address="local", num_cpus=1, include_dashboard=False, _node_ip_address="127.0.0.1",
                 _temp_dir=sys.argv[1], log_to_driver=False, logging_level="ERROR")
        sockets.check_sockets()
        sockets.check_token_required(ray.get_runtime_context().gcs_address)
    """
    directory = closed.private_directory()
    environment = {
        **os.environ,
        "RAY_AUTH_MODE": "disabled",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    with guard.guarded(directory):
        command = [sys.executable, "-c", textwrap.dedent(script), str(directory / "ray")]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert "ExposureError" in ended.stderr
    assert "found it let one in" in ended.stderr


@pytest.mark.parametrize("ip", ["0.0.0.0", "::"])  # noqa: S104 - what must be found
def test_a_planted_listener_on_every_interface_is_found(planted, ip):
    planted(ip)
    with pytest.raises(ExposureError, match="listens on"):
        sockets.check_sockets()


def test_a_planted_listener_on_loopback_is_allowed(planted):
    planted("127.0.0.1")
    assert any(listener.process.startswith("python") for listener in sockets.check_sockets())


def test_an_unconnected_udp_socket_on_every_interface_is_found():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("0.0.0.0", 0))  # noqa: S104 - what must be found
        with pytest.raises(ExposureError, match="listens on"):
            sockets.check_sockets()


@pytest.mark.parametrize(
    ("ip", "closed"),
    [
        ("127.0.0.1", True),
        ("127.5.0.1", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", False),  # noqa: S104
        ("::", False),
        ("::ffff:0.0.0.0", False),
        ("192.0.2.7", False),
        ("fe80::1", False),
    ],
)
def test_what_counts_as_loopback(ip, closed):
    assert sockets.Listener("x", 1, ip, 1).on_loopback is closed


def test_a_guard_ends_what_a_killed_process_left_and_removes_its_folder(tmp_path):
    directory = tmp_path / "left"
    directory.mkdir()
    script = """
        import os, signal, subprocess, sys
        from pathlib import Path
        from hospital_node.isolation import guard
        directory = Path(sys.argv[1])
        with guard.guarded(directory), (directory / "log").open("w") as log:
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"],
                                     stdout=log, start_new_session=True)
            print(child.pid, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as killed:
        orphan = int(killed.stdout.readline())
    deadline = time.monotonic() + 20
    while directory.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not directory.exists()
    assert not psutil.pid_exists(orphan) or psutil.Process(orphan).status() == psutil.STATUS_ZOMBIE


def test_what_a_killed_run_recorded_is_reaped(tmp_path):
    directory = closed.private_directory()
    (directory / "token").write_text("0")
    record = tmp_path / "ray.json"
    record.write_text(json.dumps({"directory": str(directory)}))
    closed.reap_recorded(record)
    assert not directory.exists()
    assert not record.exists()


@pytest.mark.parametrize("mode", [0o700, 0o755])
def test_a_recorded_folder_that_is_not_rays_is_left_alone(tmp_path, mode):
    directory = tmp_path / "other"
    directory.mkdir()
    directory.chmod(mode)
    if mode == 0o755:
        (directory / "token").write_text("0")
    record = tmp_path / "ray.json"
    record.write_text(json.dumps({"directory": str(directory)}))
    closed.reap_recorded(record)
    assert directory.exists()


@pytest.mark.parametrize("mode", [None, "disabled"])
def test_a_cluster_is_not_joined_without_a_token(tmp_path, monkeypatch, mode):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    if mode:
        monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
        monkeypatch.setenv("RAY_AUTH_MODE", mode)
    with pytest.raises(ExposureError, match="token"), closed.joined_ray("127.0.0.1:1"):
        pass


def test_the_environment_is_given_back(monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "mine")
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    before = dict(os.environ)
    with closed.environment({"RAY_AUTH_MODE": "token"}, without=("RAY_AUTH_TOKEN",)):
        assert os.environ["RAY_AUTH_MODE"] == "token"
        assert "RAY_AUTH_TOKEN" not in os.environ
    assert dict(os.environ) == before


def test_a_long_temporary_folder_still_gives_a_short_path(tmp_path, monkeypatch):
    deep = tmp_path / ("x" * 60)
    deep.mkdir()
    monkeypatch.setattr(closed.tempfile, "tempdir", str(deep))
    directory = closed.private_directory()
    try:
        assert len(os.fsencode(directory)) <= closed.MAX_DIRECTORY_LENGTH
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert list(deep.iterdir()) == []
    finally:
        directory.rmdir()


def test_help_names_the_way_to_a_cluster(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    assert "--address" in capsys.readouterr().out
