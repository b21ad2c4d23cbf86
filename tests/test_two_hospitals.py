"""`docs/two-hospitals.md` is run: two hospitals publish, a consumer mixes and trains, one withdraws."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

import consumer.cli
import hospital_node.cli
import sharekit.cli
from sharekit.demo.plan import Settings, plan
from sharekit.program.command_line import build_parser
from tests.commands_of_pages import Shown, commands_of
from tests.hospital_node.trained_node import trained_node
from tests.repository_world import serve

PAGE = Path(__file__).parents[1] / "docs" / "two-hospitals.md"
PROGRAMS = {"hospital-node": hospital_node.cli, "consumer": consumer.cli, "sharekit": sharekit.cli}
SERVER = "python -m http.server "
ADDRESS = "http://127.0.0.1:8000"
FASTER: Mapping[str, tuple[str, ...]] = {
    "consumer sample": ("--threads", "1"),
    "consumer train": ("--batch-size", "2", "--updates", "1", "--threads", "1"),
}
"""Added to the page's command lines for less work; a later option replaces an earlier one."""
MAKING: Mapping[str, tuple[str, ...]] = {
    "release key": (),
    "approver key": (),
    "policy": ("--set", "k=2", "release_linkable=true"),
    "audit": ("--samples", "16", "--actors", "1"),
    "approve": (),
    "export": (),
}
"""The demonstration's steps from trained generators to a bundle, and what is added to them."""
TINY_DEMO = ("--iterations", "2", "--samples", "4")
REASON = "a patient took back consent"


def in_process(*command: str) -> int:
    return PROGRAMS[command[0]].main(list(command[1:]))


def make_hospital(settings: Settings) -> None:
    """What `sharekit demo` leaves for the page's next steps, without its training, which takes minutes."""
    trained_node(settings.node, hospital=settings.hospital).ledger.close()
    for step in plan(settings):
        if step.name in MAKING:
            assert in_process(*step.command, *MAKING[step.name]) == 0, step.command_line


def run_here(shown: Shown, replaced: Mapping[str, str]) -> int:
    """Run a command of the page in this process, on tiny trained nodes instead of the demonstration's."""
    line = shown.line
    for old, new in replaced.items():
        line = line.replace(old, new)
    program, *arguments = shlex.split(line)
    if program not in PROGRAMS:
        return subprocess.run([program, *arguments], check=False).returncode
    if arguments[0] == "demo":
        module = PROGRAMS[program]
        chosen = build_parser(program, module.DESCRIPTION, module.COMMANDS).parse_args(arguments)
        make_hospital(Settings(chosen.out, hospital=chosen.hospital))
        return 0
    more = next((more for name, more in FASTER.items() if line.startswith(f"{name} ")), ())
    return in_process(program, *arguments, *more)


def test_two_hospitals_publish_a_consumer_mixes_and_trains_and_one_withdraws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SHAREKIT_HOME", str(tmp_path / "home"))
    said: list[tuple[str, str]] = []
    replaced: dict[str, str] = {}
    with contextlib.ExitStack() as servers:
        for shown in commands_of(PAGE):
            if shown.line.startswith(SERVER):
                # A free port; the repository is then read over HTTP.
                replaced[ADDRESS] = servers.enter_context(serve(tmp_path / "repository")).address
                continue
            if shown.line.startswith("hospital-node withdraw"):
                # The ledger is enough to withdraw.
                for folder in ("images", "models", "candidates", "audit"):
                    shutil.rmtree(tmp_path / "south" / "node" / folder, ignore_errors=True)
            assert run_here(shown, replaced) == shown.exit_code, shown.line
            out, err = capsys.readouterr()
            said.append((shown.line, " ".join(f"{out} {err}".split())))

    def of(start: str, number: int = 0) -> str:
        return [text for line, text in said if line.startswith(start)][number]

    assert replaced
    assert "colonoscopy" in of("consumer catalogue")
    assert "contact sheet" in of("consumer catalogue")
    assert of("consumer pull").count("authentic and current") == 2
    assert "authentic and current" in of("sharekit verify north")
    lines = (tmp_path / "mixed" / "metadata.jsonl").read_text().splitlines()
    found = Counter(json.loads(line)["hospital"] for line in lines)
    assert found == {"Hospital North": 20, "Hospital South": 10}
    assert (tmp_path / "segmenter.onnx").is_file()
    assert "withdrawn" in of("hospital-node releases")
    assert REASON in of("hospital-node releases")
    printed = of("consumer pull", 1)
    assert REASON in printed
    assert str(tmp_path / "mixed") in printed
    for refused in ("consumer sample south ", "consumer sample south/bundle", "consumer train mixed"):
        assert REASON in of(refused, -1), refused
    assert not (tmp_path / "again").exists()
    assert not (tmp_path / "again.onnx").exists()
    assert (tmp_path / "still" / "metadata.jsonl").is_file()
    page = (tmp_path / "repository" / "index.html").read_text()
    assert REASON in page
    assert ADDRESS.partition(":8000")[0] in page
    assert "<script" not in page


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(1800)
def test_the_page_works_as_a_reader_types_it(tmp_path: Path) -> None:
    """The programs themselves, from training to withdrawal, with Python's own web server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "SHAREKIT_HOME": str(tmp_path / "home")}
    with contextlib.ExitStack() as servers:
        for shown in commands_of(PAGE):
            command = shlex.split(shown.line.replace("8000", port))
            if shown.line.startswith(SERVER):
                server = subprocess.Popen(command[:-1], cwd=tmp_path, env=environment)
                servers.callback(server.wait)
                servers.callback(server.terminate)
                _wait_for(int(port))
                continue
            if "demo" in command:
                command += TINY_DEMO
            done = subprocess.run(
                command,
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=900,
            )
            assert done.returncode == shown.exit_code, f"{shown.line}\n{done.stdout}{done.stderr}"
    assert (tmp_path / "segmenter.onnx").is_file()


def _wait_for(port: int) -> None:
    for _ in range(100):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    pytest.fail("the web server does not answer")
