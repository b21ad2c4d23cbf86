"""Both sides as their users type them: a model goes in, rounded means of the real hold-out come out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from consumer.cli import main as consumer
from hospital_node.cli import main as hospital_node
from sharekit.signing.keys import generate
from tests.hospital_node.held_out import NAME, write_pictures
from tests.tiny_segmenter import HEIGHT, WIDTH, segmenter


class Shell:
    """Two key pairs, a model of a foreign make, a folder of real pictures, and the two programs."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.root, self._capsys = root, capsys
        self.node = root / "node"
        for name in ("release", "laboratory"):
            key = generate()
            key.save(root / f"{name}.key")
            key.public.save(root / f"{name}.pub")
        (root / "model.onnx").write_bytes(segmenter().SerializeToString())
        write_pictures(root / "records", 20, seed=1)

    def run(self, program: Any, *words: object, expect: int = 0) -> Any:
        """One command; its JSON result, or its JSON error."""
        assert program([*map(str, words), "--format", "json"]) == expect
        captured = self._capsys.readouterr()
        return json.loads(captured.err.splitlines()[-1] if expect else captured.out)

    def submit(self, out: str, *options: object, expect: int = 0) -> Any:
        words = ("submit", self.root / "model.onnx", "--key", self.root / "laboratory.key")
        return self.run(consumer, *words, "--out", self.root / out, *options, expect=expect)

    def evaluate(self, submission: str, out: str, expect: int = 0) -> Any:
        words = ("evaluate", self.root / submission, "--node", self.node, "--key", self.root / "release.key")
        return self.run(hospital_node, *words, "--out", self.root / out, expect=expect)

    def verify(self, report: str, submission: str, expect: int = 0) -> Any:
        words = ("report", "verify", self.root / report, "--key", self.root / "release.pub")
        return self.run(consumer, *words, "--submission", self.root / submission, expect=expect)


CONTRACT = ("--size", f"{WIDTH}x{HEIGHT}", "--mean", 0.5, 0.5, 0.5, "--std", 0.25, 0.25, 0.25)
CONTRACT = (*CONTRACT, "--output", "logits", "--classes", "foreground")


def test_from_a_model_to_a_verified_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shell = Shell(tmp_path, capsys)
    named = ("--node", shell.node, "--hospital", "St. Test")
    held_out = ("ingest", "--data", tmp_path / "records", *named, "--hold-out")
    assert shell.run(hospital_node, *held_out)["ingested"] == 20

    assert "--mean" in shell.submit("early", expect=2)["found"]
    submitted = shell.submit("submission.zip", *CONTRACT)
    assert shell.evaluate("submission.zip", "report.json", expect=5)["expected"].startswith("a registered")
    register = ("submitter", "add", "--key", tmp_path / "laboratory.pub", "--name", "Laboratory")
    shell.run(hospital_node, *register, "--node", shell.node)
    # With the default, the noise on 20 images would now and then hide that the model is good.
    quiet = ("epsilon=100", "submitter_epsilon=1000", "hold_out_epsilon=1000")
    shell.run(hospital_node, "submitter", "set", *quiet, "--node", shell.node)

    told = shell.evaluate("submission.zip", "report.json")
    assert (told["spent"], told["budget"], told["repeated"]) == (1, 5, False)
    verified = shell.verify("report.json", "submission.zip")
    assert (verified["verdict"], verified["belongs_to_submission"]) == ("authentic", True)
    assert verified["submission_sha256"] == submitted["sha256"]
    assert verified["classes"] == told["classes"]
    assert verified["classes"]["foreground"]["iou"]["mean"] > 0.5
    assert NAME not in (tmp_path / "report.json").read_text()

    assert shell.evaluate("submission.zip", "again.json")["repeated"] is True
    shell.submit("other", *CONTRACT, "--purpose", "another question")
    assert "about the submission" in shell.verify("report.json", "other", expect=4)["expected"]
    shell.evaluate("other", "report.json", expect=3)
    listed = shell.run(hospital_node, "submitter", "list", "--node", shell.node)
    assert (listed["held_out"], listed["spent"]) == (20, 1)


def test_a_packed_model_can_be_packed_again_from_its_own_contract(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shell = Shell(tmp_path, capsys)
    first = shell.submit("first", *CONTRACT)
    (tmp_path / "model.onnx").write_bytes((tmp_path / "first" / "model.onnx").read_bytes())
    again = shell.submit("again")
    assert (again["sha256"], again["contract"]) == (first["sha256"], first["contract"])
    assert shell.submit("other", "--threshold", 0.3)["contract"]["threshold"] == 0.3
