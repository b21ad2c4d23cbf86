"""The history: what it keeps, and that nobody changes, removes or cuts it off unnoticed."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from hospital_node.cli import main
from hospital_node.ledger.states import GeneratorState
from hospital_node.node import history
from hospital_node.node.history import HEAD, Action, Entry
from hospital_node.node.node import Node
from sharekit.errors import NodeStateError
from tests.hospital_node.trained_node import trained_node


@pytest.fixture
def node(tmp_path: Path) -> Node:
    node = Node.create(tmp_path / "node", "Test hospital")
    for number in range(1, 5):
        history.record(node, Action.INTAKE, "somebody", ingested=number)
    return node


def tamper(node: Node, statement: str) -> None:
    """What somebody can do who writes the ledger's file but cannot read the node's secret."""
    with closing(sqlite3.connect(node.root / "ledger.sqlite")) as database:
        for trigger in ("history_unchanged", "history_kept"):
            database.execute(f"DROP TRIGGER IF EXISTS {trigger}")
        database.execute(statement)
        database.commit()


def test_entries_come_back_in_order_with_who_and_what(node: Node) -> None:
    found = list(history.entries(node))
    assert [number for number, _ in found] == [1, 2, 3, 4]
    assert next((one.action, one.by, one.facts) for _, one in found) == (
        Action.INTAKE,
        "somebody",
        {"ingested": 1},
    )
    assert history.verify(node) == 4


def test_an_entry_survives_json() -> None:
    entry = Entry("2026-01-02T03:04:05.678+00:00", Action.ERASURE, "Dr. Okafor (ab)", {"releases": [1, 2]})
    assert Entry.from_json(json.loads(json.dumps(entry.to_json()))) == entry


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        (
            "UPDATE history SET entry = replace(entry, 'body', 'one') WHERE number = 2",
            "a changed entry",
        ),
        ("UPDATE history SET mac = replace(mac, substr(mac, 1, 1), 'x') WHERE number = 3", "a changed entry"),
        ("DELETE FROM history WHERE number = 2", "the next one is entry 3"),
        ("DELETE FROM history WHERE number = 4", "as history.head says, found 3"),
        ("DELETE FROM history", "as history.head says, found 0"),
    ],
)
def test_a_change_a_gap_and_a_cut_are_found(node: Node, statement: str, found: str) -> None:
    tamper(node, statement)
    with pytest.raises(NodeStateError, match=found):
        history.verify(node)


def test_a_removed_or_forged_end_is_found(node: Node) -> None:
    path = node.root / HEAD
    head = json.loads(path.read_text())
    path.write_text(json.dumps({**head, "number": 3}))
    with pytest.raises(NodeStateError, match="the node's own seal"):
        history.verify(node)
    path.unlink()
    with pytest.raises(NodeStateError, match="no such file"):
        history.verify(node)


def test_an_older_backup_does_not_hold_what_a_release_carries(node: Node, tmp_path: Path) -> None:
    node.ledger.close()
    shutil.copytree(node.root, tmp_path / "backup")
    node = Node.open(node.root)
    history.record(node, Action.EXPORT, release=1)
    carried = {"bundle": history.head(node)}
    assert history.verify(node, carried) == 5
    old = Node.open(tmp_path / "backup")
    assert history.verify(old) == 4
    with pytest.raises(NodeStateError, match="that bundle was released with, found 4 entries"):
        history.verify(old, carried)
    # Another history of the same length is another one.
    history.record(old, Action.EXPORT, release=1)
    with pytest.raises(NodeStateError, match="another history"):
        history.verify(old, carried)


def test_a_kill_between_entry_and_end_is_no_alarm(node: Node) -> None:
    before = (node.root / HEAD).read_bytes()
    history.record(node, Action.AUDIT, audited=1)
    (node.root / HEAD).write_bytes(before)
    assert history.verify(node) == 5
    history.record(node, Action.AUDIT, audited=1)
    tamper(node, "DELETE FROM history WHERE number = 6")
    with pytest.raises(NodeStateError, match="at least 6 entries"):
        history.verify(node)


def test_several_processes_append_to_one_chain(node: Node) -> None:
    def work() -> None:
        own = Node.open(node.root)
        for number in range(5):
            history.record(own, Action.APPROVAL, "somebody", number=number)
        own.ledger.close()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert history.verify(node) == 19
    assert json.loads((node.root / HEAD).read_text())["number"] == 19


def test_the_ledger_itself_refuses_a_change(node: Node) -> None:
    with closing(sqlite3.connect(node.root / "ledger.sqlite")) as database:
        for statement in ("UPDATE history SET entry = ''", "DELETE FROM history"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                database.execute(statement)


def test_the_command_shows_and_verifies(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["history", "--node", str(node.root)]
    assert main(command) == 0
    assert "ingested 4" in capsys.readouterr().out
    assert main([*command, "--verify", "--format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["verified"], told["head"]["number"], len(told["entries"])) == (True, 4, 4)
    tamper(node, "DELETE FROM history WHERE number = 1")
    assert main([*command, "--verify"]) == 8
    assert "entry 1" in capsys.readouterr().err


def test_a_second_audit_never_forgets_a_release(tmp_path: Path) -> None:
    node = trained_node(tmp_path / "node", images=1)
    (record,) = node.ledger.generators.records()
    for state, reason in (
        (GeneratorState.AUDITED, ""),
        (GeneratorState.RELEASED, "release 3"),
        (GeneratorState.WITHHELD, "near copy"),
        (GeneratorState.AUDITED, ""),
        (GeneratorState.RELEASED, "release 5"),
        (GeneratorState.AUDITED, "k-group"),
    ):
        node.ledger.generators.transition(record.id, state, reason)
    assert node.ledger.generators.get(record.id).releases == (3, 5)
    node.ledger.close()
    assert Node.open(node.root).ledger.generators.records()[0].releases == (3, 5)
