"""Ledgers and nodes of earlier releases: every fact is kept, whenever the upgrade is killed."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from hospital_node.audit.audit_node import audit_node
from hospital_node.audit.audit_settings import AuditSettings
from hospital_node.cli import main
from hospital_node.ledger import ledger_tables
from hospital_node.ledger.ledger import Ledger
from hospital_node.ledger.states import GeneratorState, ImageState
from hospital_node.node import upgrade as node_upgrade
from hospital_node.node.node import Node
from hospital_node.release.approve import approve
from hospital_node.release.export import export_bundle
from hospital_node.release.release_policy import Approver, load_policy, save_policy
from sharekit.bundle.bundle import verify_bundle
from sharekit.errors import NodeStateError, PolicyError
from sharekit.signing.keys import generate
from tests.hospital_node.golden import write_ledger, write_node

G = GeneratorState
SETTINGS = '{"sha256": "0123456789ab"}'
DIED = "crashed, killed, or out of memory"
GENERATORS = [
    (3, "a3" * 16, G.PLANNED, "quick", SETTINGS, 0, "interrupted"),
    (4, "a4" * 16, G.TRAINING, "quick", SETTINGS, 0, "training"),
    (5, "a5" * 16, G.TRAINED, "quick", SETTINGS, 0, ""),
    (6, None, G.FAILED, "", "", 0, "InputError: expected a PNG written by intake"),
    (7, "a7" * 16, G.QUARANTINED, "quick", SETTINGS, 3, f"its worker died 3 times: {DIED}"),
    (8, "a8" * 16, G.AUDITED, "quick", SETTINGS, 0, "linkable: controlled access"),
    (9, "a9" * 16, G.WITHHELD, "quick", SETTINGS, 0, "near copy: the nearest sample lies at 0.100 of"),
    (10, "aa" * 16, G.RELEASED, "quick", SETTINGS, 0, "release 1"),
]
"""Image, and what the dump says of its generator."""


def rows(path: Path, query: str) -> list[tuple]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute(query).fetchall()


@pytest.fixture(params=[1, 2])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return write_ledger(request.param, tmp_path / "ledger.sqlite")


def test_every_image_in_training_or_beyond_has_a_generator_with_what_was_known_of_it(old: Path) -> None:
    dates = dict(rows(old, "SELECT id, updated FROM images"))
    begun = dict(rows(old, "SELECT id, min(time) FROM events WHERE after = 'training' GROUP BY id"))
    found = Ledger(old).generators.records()
    assert len(found) == len(GENERATORS)
    for record, (number, generator, state, profile, settings, attempts, reason) in zip(
        found, GENERATORS, strict=True
    ):
        image = f"{number:032x}"
        assert record.images == (image,)
        assert generator in (record.id, None)
        assert (record.state, record.profile, record.settings) == (state, profile, settings)
        assert (record.attempts, record.reason[: len(reason)]) == (attempts, reason)
        assert (record.created, record.updated) == (begun.get(image, dates[image]), dates[image])


def test_a_generator_that_had_no_identifier_does_not_get_its_images(old: Path) -> None:
    (failed,) = Ledger(old).generators.iterate(G.FAILED)
    assert failed.id != failed.images[0]
    assert len(failed.id) == 32


def test_every_image_keeps_its_facts(old: Path) -> None:
    query = (
        "SELECT id, source_image, source_masks, height, width, image_channels, mask_classes, updated,"
        " data_dir, content_key FROM images ORDER BY sequence"
    )
    before = rows(old, query)
    ledger = Ledger(old)
    counts = ledger.counts()
    ledger.close()
    assert rows(old, query) == before
    held_out = counts[ImageState.HELD_OUT]
    assert counts[ImageState.REFUSED] == 1
    assert counts[ImageState.INGESTED] == len(before) - 1 - held_out
    (refused,) = Ledger(old).records(ImageState.REFUSED)
    assert "found none" in refused.reason


def test_events_stay_and_each_generator_says_where_it_comes_from(old: Path) -> None:
    query = "SELECT * FROM events ORDER BY sequence"
    before = rows(old, query)
    Ledger(old).close()
    after = rows(old, query)
    assert after[: len(before)] == before
    assert len(after) == len(before) + len(GENERATORS)
    ledger = Ledger(old)
    assert [event.reason for event in ledger.events("a5" * 16)] == [f"brought over from image {5:032x}"]
    assert [event.after for event in ledger.events(f"{5:032x}")][-1] is G.TRAINED
    with closing(sqlite3.connect(old)) as database, pytest.raises(sqlite3.IntegrityError):
        database.execute("DELETE FROM events")


def test_the_release_counter_and_spent_evaluations_are_kept(tmp_path: Path) -> None:
    ledger = Ledger(write_ledger(2, tmp_path / "ledger.sqlite"))
    assert (ledger.evaluations.count(), ledger.evaluations.report("5" * 64)) == (2, '{"report": 1}')
    assert ledger.next_release() == 2
    first = Ledger(write_ledger(1, tmp_path / "first.sqlite"))
    assert (first.evaluations.count(), first.next_release()) == (0, 2)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_an_upgraded_ledger_has_the_tables_of_a_new_one(version: int, tmp_path: Path) -> None:
    old = write_ledger(version, tmp_path / "ledger.sqlite")
    Ledger(old).close()
    Ledger.create(tmp_path / "new.sqlite")
    query = "SELECT type, name, sql FROM sqlite_master ORDER BY name"
    assert rows(old, query) == rows(tmp_path / "new.sqlite", query)


@pytest.mark.parametrize(("version", "expected"), [(2, {1: 1}), (3, {1: 1})])
def test_releases_of_earlier_ledgers_are_listed_with_the_generators_that_left_last_in_them(
    tmp_path: Path, version: int, expected: dict[int, int]
) -> None:
    ledger = Ledger(write_ledger(version, tmp_path / "ledger.sqlite"))
    found = ledger.releases.all()
    assert {release.number: len(release.generators) for release in found} == expected
    released = {record.id for record in ledger.generators.iterate(G.RELEASED)}
    assert {name for release in found for name in release.generators} == released


def test_reading_an_old_ledger_shows_it_upgraded_and_changes_nothing(old: Path) -> None:
    data = old.read_bytes()
    reader = Ledger(old, read_only=True)
    seen = reader.records(), reader.generators.records()
    reader.close()
    assert old.read_bytes() == data
    writer = Ledger(old)
    assert (writer.records(), writer.generators.records()) == seen


def test_an_upgrade_that_is_cut_off_leaves_the_old_ledger(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut_off(*_: object) -> None:
        raise RuntimeError

    before = rows(old, "SELECT * FROM images")
    with monkeypatch.context() as patch:
        patch.setattr(ledger_tables, "logged_settings", cut_off)
        with pytest.raises(RuntimeError):
            Ledger(old)
    assert rows(old, "SELECT * FROM images") == before
    assert len(Ledger(old).generators.records()) == len(GENERATORS)


def facts(path: Path) -> list[list[tuple]]:
    """Everything that schema 3 holds."""
    images = (
        "SELECT sequence, id, source_image, source_masks, state, reason, height, width, image_channels,"
        " mask_classes, updated, data_dir, content_key FROM images ORDER BY sequence"
    )
    tables = ("generators", "memberships", "evaluations", "publications", "events", "counters")
    return [rows(path, query) for query in (images, *(f"SELECT * FROM {one}" for one in tables))]  # noqa: S608


def test_a_ledger_of_schema_3_keeps_every_fact_and_its_patients_are_unknown(tmp_path: Path) -> None:
    old = write_ledger(3, tmp_path / "ledger.sqlite")
    before = facts(old)
    ledger = Ledger(old)
    found = ledger.records()
    assert {record.unit for record in found} == {""}
    ledger.set_unit(found[1].id, "ab" * 32)
    assert ledger.of_unit("ab" * 32) == [ledger.get(found[1].id)]
    ledger.close()
    assert facts(old)[1:] == before[1:]
    assert len(facts(old)[0]) == len(before[0]) == 6


def test_an_upgrade_of_schema_3_that_is_cut_off_is_finished_by_the_next_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = write_ledger(3, tmp_path / "ledger.sqlite")
    before = facts(old)
    tables = rows(old, "SELECT sql FROM sqlite_master ORDER BY name")
    with monkeypatch.context() as patch:
        patch.setattr(ledger_tables, "SCHEMA_VERSION", "not a version")
        with pytest.raises(NodeStateError):
            Ledger(old)
    assert (facts(old), rows(old, "SELECT sql FROM sqlite_master ORDER BY name")) == (before, tables)
    Ledger(old).close()
    assert facts(old) == before


# -- a whole node


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_node(tmp_path / "node")


def files_of(root: Path) -> dict[str, str]:
    """Digests of everything that a generator's identifier names."""
    folders = ("models", "candidates", "audit")
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in folders
        for path in sorted((root / folder).rglob("*"))
        if path.is_file()
    }


def named_by_generators(root: Path, files: dict[str, str]) -> dict[str, str]:
    """What `files_of` becomes: every image's identifier replaced by its generator's."""
    owners = dict(rows(root / "ledger.sqlite", "SELECT image, generator FROM memberships"))
    assert len(owners) == 3
    renamed = {}
    for name, digest in files.items():
        for image, generator in owners.items():
            name = name.replace(image, generator)
        renamed[name] = digest
    return renamed


def test_a_generators_files_move_under_its_own_identifier(root: Path) -> None:
    before = files_of(root)
    node = Node.open(root)
    assert files_of(root) == named_by_generators(root, before)
    assert len(before) == 5
    for record in node.ledger.generators.iterate(G.AUDITED):
        assert node.candidate_path(record.id).exists()
        assert node.generator_path(record.id).exists()
    assert json.loads((root / "node.json").read_text())["schema_version"] == 2


@pytest.mark.parametrize("moves", range(6))
def test_a_kill_between_two_moves_is_made_up_for_at_the_next_open(
    root: Path, moves: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, left, rename = files_of(root), [moves], Path.rename

    def killed(path: Path, target: Path) -> Path:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return rename(path, target)

    def killed_at_the_end() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        patch.setattr(node_upgrade.os, "sync", killed_at_the_end)
        with pytest.raises(KeyboardInterrupt):
            Node.open(root)
    assert json.loads((root / "node.json").read_text())["schema_version"] == 1
    Node.open(root)
    assert files_of(root) == named_by_generators(root, before)


def test_what_an_earlier_release_audited_leaves_after_another_audit_and_approval(
    root: Path, tmp_path: Path
) -> None:
    key = generate()
    node = Node.open(root)
    with pytest.raises(PolicyError, match="hospital-node audit --again"):
        export_bundle(node, tmp_path / "bundle", key)
    approver = Approver("Officer", key.public.pem().decode())
    policy = load_policy(node.policy_path).with_approver(approver).with_setting("release_linkable=true")
    save_policy(node.policy_path, policy)
    audit_node(node, policy.limits, AuditSettings(samples=16, again=True))
    approve(node, key, approver.name)
    result = export_bundle(node, tmp_path / "bundle", key)
    assert result.released == ("38ea44e76f05d39c3d3bfad123f20404",)
    assert verify_bundle(tmp_path / "bundle", [key.public]).verdict == "authentic"
    (image,) = Node.open(root).ledger.generators.get(result.released[0]).images
    assert image == f"{1:032x}"


def test_status_reads_an_old_node_and_changes_nothing(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    assert main(["status", "--node", str(root), "--format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["generators"]["audited"], told["generators"]["planned"]) == (1, 1)
    assert {path: path.read_bytes() for path in before} == before


def test_an_old_node_opened_for_reading_gives_no_generators_files(root: Path) -> None:
    node = Node.open(root, read_only=True)
    (record,) = node.ledger.generators.iterate(G.AUDITED)
    for place in (node.model_dir, node.generator_path, node.candidate_path, node.audit_path):
        with pytest.raises(NodeStateError, match="hospital-node report"):
            place(record.id)


def test_an_old_node_is_not_upgraded_while_another_process_writes_it(root: Path) -> None:
    before = files_of(root)
    with Node.open(root, read_only=True).write_lock(), pytest.raises(NodeStateError, match="at work on it"):
        Node.open(root)
    assert files_of(root) == before
