"""Text is text: names of hospitals, people and folders reach the terminal as they are, whatever they hold."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from consumer.cli import main as consumer
from hospital_node.candidate.build import build_onnx
from hospital_node.cli import main as hospital_node
from sharekit.cli import main as sharekit
from sharekit.demo import phantom
from sharekit.signing.keys import SigningKey, generate
from tests.hospital_node.trained_node import trained_node
from tests.sharekit.bundles import small_bundle
from tests.tiny import tiny_generator

HOSTILE = "[link=https://example.org]St. Example[/link] [bold red]:warning:[/]"
PATH = "[bold]a folder[red]"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose name looks like markup."""
    folder = tmp_path / PATH
    folder.mkdir()
    return folder


@pytest.fixture
def key(folder: Path) -> SigningKey:
    key = generate()
    key.save(folder / "key.key")
    key.public.save(folder / "key.pub")
    return key


@pytest.mark.parametrize("command", ["verify", "inspect"])
def test_a_hospitals_name_is_text_to_whoever_looks_at_its_bundle(
    folder: Path, key: SigningKey, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    small_bundle(folder / "bundle", key, hospital=HOSTILE)
    assert sharekit([command, str(folder / "bundle"), "--key", str(folder / "key.pub")]) == 0
    assert HOSTILE in capsys.readouterr().out


def test_a_hospitals_name_and_a_path_are_text_to_whoever_samples(
    folder: Path, key: SigningKey, capsys: pytest.CaptureFixture[str]
) -> None:
    generator = tiny_generator(0, sizes=((9, 11), (14, 17)))
    small_bundle(folder / "bundle", key, hospital=HOSTILE, generators={generator.spec: build_onnx(generator)})
    out = str(folder / "samples")
    options = ["--key", str(folder / "key.pub"), "--count", "1", "--seed", "1", "--out", out]
    assert consumer(["sample", str(folder / "bundle"), *options, "--provider", "cpu"]) == 0
    told = capsys.readouterr().out
    assert HOSTILE in told
    assert out in told


def test_an_approver_may_be_called_anything(
    folder: Path, key: SigningKey, capsys: pytest.CaptureFixture[str]
) -> None:
    trained_node(folder / "node").ledger.close()
    node = ["--node", str(folder / "node")]
    approver = ["--approver", str(folder / "key.pub"), "--name", HOSTILE]
    assert hospital_node(["policy", *node, *approver, "--set", "k=2", "release_linkable=true"]) == 0
    assert HOSTILE in capsys.readouterr().out
    assert hospital_node(["audit", *node, "--samples", "16"]) == 0
    approve = ["approve", *node, "--key", str(folder / "key.key"), "--by", HOSTILE, "--all", "--yes"]
    assert hospital_node(approve) == 0
    told = capsys.readouterr().out
    assert f"approved by {HOSTILE}" in told
    assert str(folder / "node") in told


def test_refused_files_are_named_whole_where_no_terminal_limits_the_width(tmp_path: Path) -> None:
    stem = "StExampleEndoscopyUnit_2024-03-" * 4
    data = tmp_path / "data"
    phantom.write_data_set(data, 1)
    names = [f"{stem}{number}[0].png" for number in (1, 2)]
    for name in names:
        (data / "images" / name).write_bytes(b"no picture")
        (data / "masks" / name).write_bytes(b"no picture")
    program = Path(sys.executable).with_name("hospital-node")
    line = [program, "ingest", "--data", data, "--node", tmp_path / "node", "--hospital", "St. Example"]
    told = subprocess.run(line, capture_output=True, text=True, check=False)
    assert all(f"images/{name}" in told.stdout for name in names), told.stdout
    assert "…" not in told.stdout
