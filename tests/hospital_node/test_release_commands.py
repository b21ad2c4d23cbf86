"""The commands from audit to report, as a user types them: results in JSON, refusals as exit codes."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from hospital_node.cli import main
from tests.hospital_node.trained_node import Keys, make_keys, trained_node


class Shell:
    """A node of three trained images, two key files, and the program."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.root, self._capsys = root, capsys
        self.node = root / "node"
        trained_node(self.node).ledger.close()
        self.keys: Keys = make_keys()
        for name in ("release", "approver", "stranger"):
            key = getattr(self.keys, name)
            key.save(root / f"{name}.key")
            key.public.save(root / f"{name}.pub")

    def copied_to(self, root: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
        """The same node and keys in another folder."""
        shutil.copytree(self.root, root, dirs_exist_ok=True)
        copied = copy.copy(self)
        copied.root, copied.node, copied._capsys = root, root / "node", capsys
        return copied

    def run(self, command: str, *arguments: object, expect: int = 0) -> Any:
        """One command on the node; its JSON result, or its JSON error."""
        line = [command, "--node", str(self.node), *map(str, arguments), "--format", "json"]
        assert main(line) == expect
        captured = self._capsys.readouterr()
        return json.loads(captured.out if expect in (0, 7) else captured.err.splitlines()[-1])


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(tmp_path, capsys)


def test_the_way_from_training_to_a_bundle(shell: Shell) -> None:
    bundle = shell.root / "bundle"
    export = ("export", "--out", bundle, "--key", shell.root / "release.key")
    approve = ("approve", "--key", shell.root / "approver.key", "--by", "Officer", "--all", "--yes")

    signed = ("--key", shell.root / "approver.key")
    assert shell.run(*export, expect=5)["item"].endswith("policy.json")
    policy = shell.run(
        "policy", "--approver", shell.root / "approver.pub", "--name", "Officer", "--set", "k=2"
    )
    assert policy["limits"]["k"] == 2
    assert "no candidate" in shell.run(*export, expect=5)["found"]
    shell.run(*approve, expect=5)

    assert shell.run("audit", "--samples", 16)["audited"] == 3
    assert "approved by 0 of 1" in shell.run(*export, expect=5)["found"]
    refused = shell.run(*approve, expect=5)
    assert "release_linkable is false" in refused["found"]
    assert "--set release_linkable=true" in refused["next_step"]
    assert shell.run("policy", *signed, "--set", "release_linkable=true", "min_group=2")["min_group"] == 2
    stranger = ("approve", "--key", shell.root / "stranger.key", "--by", "Nobody", "--all", "--yes")
    assert "listed approver" in shell.run(*stranger, expect=5)["expected"]

    assert len(shell.run(*approve)["approved"]) == 3
    shell.run("policy", *signed, "--set", "min_samples=17")
    assert "other limits" in shell.run(*export, expect=5)["found"]
    shell.run("policy", *signed, "--set", "min_samples=16")
    result = shell.run(*export)
    assert (len(result["generators"]), result["refused"], result["verdict"]) == (3, {}, "authentic")
    shell.run(*export, expect=3)

    assert Path(shell.run("report")["report"]).is_relative_to(shell.node)


def test_audit_of_a_broken_generator_exits_with_its_own_code(shell: Shell) -> None:
    next((shell.node / "models").iterdir()).joinpath("generator.safetensors").write_bytes(b"")
    result = shell.run("audit", "--samples", 16, expect=7)
    assert (result["audited"], result["failed"]) == (2, 1)


@pytest.mark.parametrize(
    "arguments", [("--set", "k"), ("--set", "skip_audit=true"), ("--name", "Officer without a key")]
)
def test_wrong_use_of_policy_changes_nothing(shell: Shell, arguments: tuple[str, ...]) -> None:
    before = shell.run("policy")["sha256"]
    shell.run("policy", *arguments, expect=2)
    assert shell.run("policy")["sha256"] == before
