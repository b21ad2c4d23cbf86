"""The whole story in public commands: two hospitals publish, a consumer mixes and trains, one withdraws."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

import consumer.cli
import hospital_node.cli
import sharekit.cli
from tests.hospital_node.trained_node import trained_node
from tests.repository_world import serve

PROGRAMS = {"hospital-node": hospital_node.cli, "consumer": consumer.cli, "sharekit": sharekit.cli}
LABELS = {"north": "Hospital North", "south": "Hospital South"}
SMALL = "--encoder resnet18 --architecture unet --size 32 --batch-size 2 --updates 1 --threads 1"


def run(line: str, expected: int = 0, **values: object) -> None:
    program, *arguments = line.split()
    # Values are put in after the split, so that they may hold spaces.
    assert PROGRAMS[program].main([part.format(**values) for part in arguments]) == expected, line


def out(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().out.split())


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two nodes, the keys of everybody, and a repository in which both have published."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SHAREKIT_HOME", str(tmp_path / "home"))
    for key in (
        "root-1",
        "root-2",
        "root-3",
        "online",
        "north",
        "north-a",
        "north-b",
        "south",
        "south-a",
        "south-b",
    ):
        run("sharekit keys new --out keys/{key} --no-password", key=key)
    run(
        "sharekit repository init repository --root-key keys/root-1.key --root-key keys/root-2.key"
        " --root-key keys/root-3.pub --online-key keys/online.key"
    )
    for name, label in LABELS.items():
        # What training leaves: a real training takes minutes.
        trained_node(tmp_path / name, hospital=label).ledger.close()
        run(
            "hospital-node policy --node {name} --approver keys/{name}-a.pub --name Officer"
            " --set k=2 release_linkable=true",
            name=name,
        )
        run("hospital-node audit --node {name} --samples 16", name=name)
        run("hospital-node approve --node {name} --key keys/{name}-a.key --by Officer --all --yes", name=name)
        run("hospital-node export --node {name} --out {name}-bundle --key keys/{name}.key", name=name)
        run(
            "sharekit repository add-hospital repository {name} --name {label}"
            " --hospital-key keys/{name}-a.pub --hospital-key keys/{name}-b.pub"
            " --key keys/root-1.key --key keys/root-2.key",
            name=name,
            label=label,
        )
        publish = "hospital-node publish {name}-bundle --node {name} --repository {stick}"
        publish += " --key keys/{name}-{who}.key"
        said = " --modality colonoscopy --licence CC-BY-4.0"
        # One hospital signs in the repository itself, the other on a medium that travels.
        stick = Path("repository") if name == "north" else Path("stick")
        if stick.name == "stick":
            shutil.copytree(tmp_path / "repository" / "metadata", tmp_path / "stick" / "metadata")
        run(publish + said, name=name, stick=stick, who="a")
        run(publish, name=name, stick=stick, who="b")
    run("sharekit repository refresh repository --key keys/online.key --from stick")
    run("sharekit repository page repository")
    return tmp_path


def test_two_hospitals_publish_a_consumer_mixes_and_trains_and_one_withdraws(
    published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in LABELS:
        run("sharekit keys fingerprint keys/{name}.pub --format json", name=name)
    fingerprints = [json.loads(text)["fingerprint"] for text in _documents(capsys.readouterr().out)[-2:]]
    for name, fingerprint in zip(LABELS, fingerprints, strict=True):
        run(
            "sharekit trust add {name} --key keys/{name}.pub --valid-until 2999-12-31"
            " --fingerprint {fingerprint}",
            name=name,
            fingerprint=fingerprint,
        )
    with serve(published / "repository") as server:
        address = server.address
        root = "repository/metadata/1.root.json"
        run("consumer catalogue {address} --root {root} --sheets", address=address, root=root)
        shown = out(capsys)
        assert "colonoscopy" in shown
        assert "contact sheet" in shown
        run("consumer pull {address} --hospital north --hospital south", address=address)
        assert out(capsys).count("authentic and current") == 2
        run("sharekit verify north --key north")
        assert "authentic and current" in out(capsys)
        run("consumer sample north south --weights 2 1 --samples 6 --seed 1 --threads 1 --out mixed")
        lines = (published / "mixed" / "metadata.jsonl").read_text().splitlines()
        found = Counter(json.loads(line)["hospital"] for line in lines)
        assert found == {"Hospital North": 4, "Hospital South": 2}
        run("consumer sample north --samples 2 --seed 9 --threads 1 --out validation")
        run(f"consumer train mixed --validation validation --out segmenter.onnx {SMALL}")

        # The images of the hospital are gone; the ledger is enough to withdraw.
        for folder in ("images", "models", "candidates", "audit"):
            shutil.rmtree(published / "south" / folder)
        withdraw = (
            "hospital-node withdraw 1 --node south --reason {reason} --repository repository"
            " --key keys/{who}.key"
        )
        run(withdraw, reason="a patient took back consent", who="south-a")
        run(withdraw, reason="a patient took back consent", who="south-b")
        run("sharekit repository refresh repository --key keys/online.key")
        capsys.readouterr()
        run("consumer pull {address} --hospital north --hospital south", expected=7, address=address)
        told = out(capsys)
        assert "a patient took back consent" in told
        assert str(published / "mixed") in told
        run("consumer sample south --samples 1 --seed 1 --out again", expected=4)
        run("consumer sample south-bundle --key keys/south.pub --samples 1 --seed 1 --out again", expected=4)
        run(f"consumer train mixed --validation validation --out again.onnx {SMALL}", expected=4)
        assert "a patient took back consent" in capsys.readouterr().err
        run("consumer sample north --samples 1 --seed 1 --threads 1 --out still")
    run("hospital-node releases --node south --format json")
    (release,) = json.loads(_documents(capsys.readouterr().out)[-1])["releases"]
    assert (release["state"], release["events"][-1]["reason"]) == ("withdrawn", "a patient took back consent")
    run("sharekit repository page repository")
    page = (published / "repository" / "index.html").read_text()
    assert "a patient took back consent" in page
    assert "<script" not in page


def _documents(text: str) -> list[str]:
    """The JSON documents that commands have printed, one after the other."""
    decoder, found, place = json.JSONDecoder(), [], 0
    while place < len(text):
        start = text.find("{", place)
        if start < 0:
            break
        try:
            _, place = decoder.raw_decode(text, start)
            found.append(text[start:place])
        except ValueError:
            place = start + 1
    return found
