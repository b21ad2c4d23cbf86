"""Nobody is contacted: no socket leaves the machine, and no file appears outside the named folders."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from packaging.version import Version

from hospital_node.candidate.build import build_onnx
from sharekit import silence
from sharekit.program.onnx_runtime import onnxruntime
from tests import observed
from tests.observed import Contact, Observation
from tests.repository_world import World, serve
from tests.tiny import tiny_generator

OBSTACLE = observed.obstacle()
pytestmark = pytest.mark.skipif(OBSTACLE is not None, reason=str(OBSTACLE))

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("sharekit", "hospital_node", "consumer")
ONE_PLACE = ROOT / "sharekit" / "program" / "onnx_runtime.py"
NOBODY = "192.0.2.1"  # an address of the block for documentation

ASK = f"""
import socket, subprocess, sys
kind = socket.SOCK_DGRAM if sys.argv[1] == "udp" else socket.SOCK_STREAM
with socket.socket(socket.AF_INET, kind) as mine:
    mine.settimeout(0.1)
    try:
        mine.sendto(b"hello", ("{NOBODY}", 53)) if sys.argv[1] == "udp" else mine.connect(("{NOBODY}", 443))
    except OSError:
        pass
"""
FROM_A_CHILD = "import subprocess, sys; subprocess.run([sys.executable, '-c', *sys.argv[1:]])"
OPEN_A_SESSION = "session = onnxruntime.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider'])"

RAY = """
import sys, time
from pathlib import Path
from hospital_node.isolation.closed_ray import closed_ray

with closed_ray(Path(sys.argv[1])) as directory:
    log = directory / "ray" / "session_latest" / "logs" / "dashboard.log"
    deadline = time.monotonic() + 90
    # Ray writes this once it has asked what cloud it runs in.
    while "Usage reporting is disabled" not in (log.read_text() if log.exists() else ""):
        assert time.monotonic() < deadline, "Ray's server did not start"
        time.sleep(0.2)
"""


def _observe(tmp_path: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> Observation:
    """Run Python with a home and a temporary folder of its own."""
    home, temporary = tmp_path / "home", tmp_path / "temporary"
    home.mkdir()
    temporary.mkdir()
    own = {"HOME": str(home), "TMPDIR": str(temporary), "PYTHONDONTWRITEBYTECODE": "1"}
    # Nothing else is inherited: ONNX Runtime, for one, is silent where `CI` is set.
    inherited = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    return observed.run(
        [sys.executable, *arguments], cwd=tmp_path, environment={**inherited, **own, **(environment or {})}
    )


@pytest.mark.parametrize(("kind", "port"), [("udp", 53), ("tcp", 443)])
def test_who_is_asked_is_seen_also_from_a_child(tmp_path: Path, kind: str, port: int) -> None:
    seen = _observe(tmp_path, "-c", FROM_A_CHILD, ASK, kind)
    assert seen.returncode == 0, seen.stderr
    assert [(one.address, one.port) for one in seen.strangers] == [(NOBODY, port)]


def test_what_is_made_elsewhere_is_seen(tmp_path: Path) -> None:
    code = "import os; os.mkdir('a'); open('a/b', 'w').close(); os.rename('a/b', 'c'); open('c').close()"
    seen = _observe(tmp_path, "-c", code)
    assert seen.outside([tmp_path]) == []
    assert seen.outside([tmp_path / "a"]) == [tmp_path / "c"]


def test_loopback_in_every_form_is_no_stranger() -> None:
    ours, others = ("127.0.0.1", "::1", "::ffff:127.0.0.1"), ("169.254.169.254", "::", "10.0.0.1")
    assert all(Contact("x", address, 1).on_this_machine for address in ours)
    assert not any(Contact("x", address, 1).on_this_machine for address in others)


@pytest.fixture
def generator(tmp_path: Path) -> Path:
    path = tmp_path / "generator.onnx"
    path.write_bytes(build_onnx(tiny_generator(1)))
    return path


def test_onnx_runtime_keeps_no_device_id_and_asks_nobody(tmp_path: Path, generator: Path) -> None:
    code = f"import sys; from sharekit.program.onnx_runtime import onnxruntime; {OPEN_A_SESSION}"
    seen = _observe(tmp_path, "-c", code, str(generator))
    assert seen.returncode == 0, seen.stderr
    assert seen.strangers == []
    assert seen.outside([tmp_path / "temporary", Path("/dev")]) == []


def test_onnx_runtime_is_loaded_in_one_place_and_not_by_the_shared_package() -> None:
    wrong = []
    for path in (path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        ours = path.is_relative_to(ROOT / "sharekit")
        names = {
            name for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) for name in _imported(node)
        }
        if path != ONE_PLACE and (
            "onnxruntime" in names or (ours and "sharekit.program.onnx_runtime" in names)
        ):
            wrong.append(path.relative_to(ROOT))
    assert wrong == []


def _imported(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield from (str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names))


@pytest.mark.skipif(
    Version(onnxruntime.__version__) < Version("1.29"), reason="this ONNX Runtime has no telemetry on Linux"
)
def test_without_the_switch_onnx_runtime_would_keep_a_device_id(tmp_path: Path, generator: Path) -> None:
    seen = _observe(tmp_path, "-c", f"import sys, onnxruntime; {OPEN_A_SESSION}", str(generator))
    assert any(path.name == "deviceid" for path in seen.outside([tmp_path / "temporary"]))


SHOW = f"import os; print(*(os.environ[name] for name in {list(silence.SWITCHES)}))"


def test_children_inherit_the_switches_whatever_the_user_has_set(tmp_path: Path) -> None:
    code = f"import os, sys, sharekit; os.execv(sys.executable, [sys.executable, '-c', {SHOW!r}])"
    seen = _observe(tmp_path, "-c", code, environment={"ORT_DISABLE_TELEMETRY": "0"})
    assert seen.stdout.split() == list(silence.SWITCHES.values())


@pytest.mark.ray
def test_ray_does_not_ask_for_the_clouds_name(tmp_path: Path) -> None:
    seen = _observe(tmp_path, "-c", RAY, str(tmp_path / "ray.json"), environment={"no_proxy": "*"})
    assert seen.returncode == 0, seen.stderr
    assert seen.strangers == []
    assert any(one.port == 9 for one in seen.contacts), "Ray asked nobody: is the proxy still needed?"


PULL = "import sys; from consumer.cli import main; sys.exit(main(['pull', *sys.argv[1:]]))"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("SHAREKIT_HOME", str(tmp_path / "sharekit-home"))
    return World.make(tmp_path, "alpha")


def test_a_pull_contacts_the_named_server_and_nobody_else(tmp_path: Path, world: World) -> None:
    with serve(world.folder) as server:
        asked = (server.address, "--hospital", "alpha", "--root", world.root_fingerprint)
        own = {"SHAREKIT_HOME": str(tmp_path / "sharekit-home")}
        seen = _observe(tmp_path, "-c", PULL, *asked, environment=own)
    assert seen.returncode == 0, seen.stderr
    assert {(one.address, one.port) for one in seen.contacts} == {("127.0.0.1", server.server_port)}
    assert seen.outside([tmp_path / "temporary", tmp_path / "sharekit-home", Path("/dev")]) == []


def test_a_pull_from_a_folder_contacts_nobody(tmp_path: Path, world: World) -> None:
    asked = (str(world.folder), "--hospital", "alpha", "--root", world.root_fingerprint)
    own = {"SHAREKIT_HOME": str(tmp_path / "sharekit-home")}
    seen = _observe(tmp_path, "-c", PULL, *asked, environment=own)
    assert seen.returncode == 0, seen.stderr
    assert seen.contacts == set()


def test_a_redirection_elsewhere_is_not_followed(tmp_path: Path, world: World) -> None:
    elsewhere = {"Location": f"http://{NOBODY}/metadata/timestamp.json"}
    with serve(world.folder) as server:
        server.rules.append(("timestamp", lambda handler, _: handler.answer(b"", 302, elsewhere)))
        asked = (server.address, "--hospital", "alpha", "--root", world.root_fingerprint)
        own = {"SHAREKIT_HOME": str(tmp_path / "sharekit-home")}
        seen = _observe(tmp_path, "-c", PULL, *asked, environment=own)
    assert seen.returncode == 3, seen.stderr
    assert seen.strangers == []
