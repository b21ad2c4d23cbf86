"""An erasure leaves neither a name nor a pixel in the node, and the history says which releases held it."""

from __future__ import annotations

import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image

from hospital_node.audit.audit_node import audit_node
from hospital_node.audit.audit_settings import AuditSettings
from hospital_node.cli import main
from hospital_node.intake.ingest import ingest
from hospital_node.intake.intake_rules import IntakeRules
from hospital_node.ledger import database
from hospital_node.ledger.states import ImageRecord, ImageState
from hospital_node.node import history
from hospital_node.node.erasure import erase
from hospital_node.node.fingerprints import fingerprint_of
from hospital_node.node.history import Action
from hospital_node.node.node import Node
from hospital_node.node.units import patient_unit
from hospital_node.release.approve import approve
from hospital_node.release.export import export_bundle
from hospital_node.release.release_policy import Approver, Policy, save_policy
from hospital_node.report.node_report import write_report
from sharekit.errors import NodeStateError
from tests.hospital_node.test_units import groups, write_data
from tests.hospital_node.trained_node import APPROVER_NAME, add_image, make_keys, train

NAME = "patient-mueller-001"
KEYS = make_keys()


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """Three images, a generator of each, and one of the first two together; the first patient is known."""
    node = Node.create(tmp_path / "node", "Test hospital")
    first, second, third = (add_image(node, number) for number in (1, 2, 3))
    node.ledger.set_unit(first, patient_unit(node, "Mueller"))
    for number, images in enumerate(([first], [second], [third], [first, second])):
        train(node, images, seed=number)
    # Intake refused other files because of the first one, and names it.
    reason = f"images/twin.png: expected a new picture, found a copy of images/{NAME}.png. Next: leave it"
    node.ledger.add(ImageRecord("f" * 32, "images/twin.png", (), ImageState.REFUSED, reason))
    return node


def release(node: Node, out: Path) -> None:
    approver = Approver(APPROVER_NAME, KEYS.approver.public.pem().decode())
    policy = Policy((approver,), release_linkable=True)
    save_policy(node.policy_path, policy)
    audit_node(node, policy.limits, AuditSettings(samples=16))
    approve(node, KEYS.approver)
    export_bundle(node, out, KEYS.release)


def traces(root: Path, needles: list[bytes]) -> list[str]:
    """Files of the node whose name or bytes hold one of these."""
    return [
        str(path.relative_to(root))
        for path in sorted(root.rglob("*"))
        if any(needle in str(path).encode() for needle in needles)
        or (path.is_file() and any(needle in path.read_bytes() for needle in needles))
    ]


def needles_of(node: Node, image: str) -> list[bytes]:
    """Name, stored files and fingerprint of an image, and its generators' weights."""
    files = [path.read_bytes() for path in node.image_dir(image).iterdir()]
    weights = [
        node.generator_path(one.id).read_bytes()[-64:] for one in node.ledger.generators.of_image(image)
    ]
    pixels = [data[len(data) // 2 :][:24] for data in files]
    key = node.ledger.get(image).content_key.encode()
    return [NAME.encode(), image.encode(), key, *pixels, *weights, fingerprint_of(node, image).digest]


def test_nothing_of_an_erased_image_is_left_in_the_nodes_folder(node: Node, tmp_path: Path) -> None:
    release(node, tmp_path / "bundle")
    write_report(node)
    image = node.ledger.get(f"{1:032x}")
    needles = needles_of(node, image.id)
    assert len(traces(node.root, needles)) > 5
    done = erase(node, [image])
    assert (done.images, len(done.generators), done.releases, len(done.released)) == (1, 2, (1,), 2)
    node.ledger.close()
    assert traces(node.root, needles) == []
    after = Node.open(node.root)
    assert len(after.ledger.records(ImageState.INGESTED)) == 2
    assert len(after.ledger.generators.records()) == 2
    (twin,) = after.ledger.records(ImageState.REFUSED)
    assert "a copy of an erased image" in twin.reason


def test_the_history_says_which_releases_held_it_and_stays_whole(node: Node, tmp_path: Path) -> None:
    release(node, tmp_path / "bundle")
    before = history.verify(node)
    done = erase(node, [node.ledger.get(f"{1:032x}")])
    assert history.verify(node) == before + 1
    *_, (_, entry) = history.entries(node)
    assert (entry.action, entry.facts) == (Action.ERASURE, done.to_json())
    assert entry.facts["releases"] == [1]
    text = json.dumps(entry.to_json())
    assert NAME not in text
    assert f"{1:032x}" not in text


def test_what_is_left_can_be_released_again(node: Node, tmp_path: Path, capsys) -> None:
    release(node, tmp_path / "first")
    erased = ("erase", f"{1:032x}", "--node", str(node.root), "--yes")
    withdrawn = ("withdraw", "1", "--node", str(node.root), "--reason", "consent", "--keep-generators")
    assert main([*withdrawn]) == main([*erased]) == 0
    assert "release 1 holds what learnt from them; it is withdrawn already" in capsys.readouterr().out
    audit_node(node, Policy().limits, AuditSettings(samples=16, again=True))
    approve(node, KEYS.approver)
    result = export_bundle(node, tmp_path / "second", KEYS.release)
    assert (len(result.released), result.images) == (2, 2)


@pytest.mark.parametrize("point", ["files", "ledger", "last"])
def test_a_kill_is_finished_by_the_next_command(node: Node, point: str, capsys) -> None:
    image = node.ledger.get(f"{1:032x}")
    needles = needles_of(node, image.id)
    script = f"""
import os, signal, sys
from pathlib import Path
from hospital_node.ledger.erasures import Erasures
from hospital_node.node import left_files
from hospital_node.node.erasure import erase
from hospital_node.node.node import Node
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
if {point!r} == "files": left_files._remove = die
if {point!r} == "ledger": Erasures.finish = die
if {point!r} == "last": Erasures._rewrite = die
node = Node.open(Path({str(node.root)!r}))
erase(node, [node.ledger.get({image.id!r})])
"""
    node.ledger.close()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    killed = subprocess.run([sys.executable, "-c", script], env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert main(["policy", "--node", str(node.root)]) == 0
    capsys.readouterr()
    assert traces(node.root, needles) == []
    after = Node.open(node.root)
    assert after.ledger.erasures.pending() == frozenset()
    assert history.verify(after) == 1


def test_a_reader_of_the_ledger_is_waited_for(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    node.ledger.close()
    monkeypatch.setattr(database, "BUSY_TIMEOUT", 0.05)
    node = Node.open(node.root)
    with closing(sqlite3.connect(node.root / "ledger.sqlite", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM images").fetchone()
        with pytest.raises(NodeStateError):
            erase(node, [node.ledger.get(f"{1:032x}")])
    assert node.ledger.erasures.pending()
    node.ledger.close()
    assert Node.open(node.root).ledger.erasures.pending() == frozenset()


def test_a_patient_goes_with_copies_of_unknown_patients_and_nobody_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_data(tmp_path / "data", {"a": 1, "b": 2, "c": 3, "d": 1})
    copy = write_data(tmp_path / "other", {"copy": 1})
    # Copies of one picture: one of an unknown patient, one that is listed under another patient.
    for path, turn in ((copy / "images/copy.png", "FLIP_LEFT_RIGHT"), (data / "images/d.png", "ROTATE_180")):
        with Image.open(path) as image:
            turned = image.transpose(Image.Transpose[turn])
        turned.save(path)
    root = tmp_path / "node"
    node = Node.create(root, "Test hospital")
    ingest(copy, node)
    listed = {"a": "Mueller", "b": "Mueller", "c": "Nowak", "d": "Nowak"}
    ingest(data, node, rules=IntakeRules(groups=groups(tmp_path, listed)))
    node.ledger.close()
    command = ["--node", str(root), "--patient", "Mueller", "--format", "json"]
    assert main(["where", *command]) == 0
    found = json.loads(capsys.readouterr().out)["images"]
    assert sorted(image["source_image"] for image in found) == [
        "images/a.png",
        "images/b.png",
        "images/copy.png",
    ]
    assert main(["erase", *command, "--yes"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 3
    assert main(["where", *command]) == 3
    left = Node.open(root).ledger.records(ImageState.INGESTED)
    assert [image.source_image for image in left] == ["images/c.png", "images/d.png"]


@pytest.mark.parametrize("name", [f"{2:032x}", "images/patient-mueller-002.png", "patient-mueller-002"])
def test_an_image_is_found_by_any_of_its_names(node: Node, name: str, capsys) -> None:
    node.ledger.close()
    command = ["erase", "--yes", "--node", str(node.root)]
    assert main([*command, name]) == 0
    assert "1 image, 2 generators" in capsys.readouterr().out
    assert main([*command, name]) == 3
    assert main(command) == 2


def test_an_erasure_shows_all_that_goes_and_erases_nothing_without_a_yes(
    node: Node, tmp_path: Path, capsys, monkeypatch
) -> None:
    release(node, tmp_path / "bundle")
    image = f"{1:032x}"
    alone, shared = (one.id for one in node.ledger.generators.of_image(image))
    node.ledger.close()
    command = ["erase", image, "--node", str(node.root)]
    # Nobody is at a terminal.
    assert main(command) == 2
    assert "hospital-node where" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin", _Terminal("no\n"))
    assert main(command) == 5
    shown = capsys.readouterr().err
    assert f"image {image}: images/patient-mueller-001.png" in shown
    assert f"generator {alone}: released; release 1 holds it" in shown
    assert f"generator {shared}: released; it also learnt from 1 other image; release 1 holds it" in shown
    assert len(Node.open(node.root).ledger.generators.of_image(image)) == 2
    monkeypatch.setattr("sys.stdin", _Terminal("yes\n"))
    assert main(command) == 0
    assert not Node.open(node.root).ledger.generators.of_image(image)


class _Terminal(io.StringIO):
    """What a person types."""

    def isatty(self) -> bool:
        return True


def test_a_corrected_mask_and_a_lost_picture_are_told_with_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_data(tmp_path / "data", {"a": 1, "b": 2, "c": 3})
    node = Node.create(tmp_path / "node", "Test hospital")
    ingest(data, node)
    records = {record.source_image: record for record in node.ledger.records()}
    (data / "masks" / "a.png").write_bytes((data / "masks" / "b.png").read_bytes())
    for kind in ("images", "masks"):
        (data / kind / "c.png").unlink()
    told = [warning.message for warning in ingest(data, node).warnings]
    for name in ("images/a.png", "images/c.png"):
        command = f"hospital-node erase --node {node.root} {records[name].id}"
        assert any(message.endswith(command) for message in told), told
