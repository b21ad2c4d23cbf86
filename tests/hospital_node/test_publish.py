"""Publish and withdraw: two people sign, the ledger remembers, and neither needs a network nor images."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from hospital_node.audit.audit_node import audit_node
from hospital_node.audit.audit_settings import AuditSettings
from hospital_node.cli import main
from hospital_node.ledger.releases import ReleaseEvent
from hospital_node.ledger.states import GeneratorState
from hospital_node.node.node import Node
from hospital_node.release.approve import give_approval, propose
from hospital_node.release.export import export_bundle
from hospital_node.release.publish import Description, publish, withdraw
from hospital_node.release.recipients import Recipient, add_recipient
from hospital_node.release.release_policy import Approver, Policy, load_policy, save_policy
from sharekit.errors import InputError, NodeStateError, PolicyError, UsageError, VerificationError
from sharekit.repository import steward
from sharekit.repository.metadata_folder import MetadataFolder
from sharekit.repository.release_record import CUSTOM, WITHDRAWN, ReleaseRecord
from sharekit.signing.keys import SigningKey, generate
from tests.hospital_node.trained_node import trained_node

ROOTS = [generate() for _ in range(3)]
PEOPLE = [generate() for _ in range(2)]
ONLINE = generate()
SAID = Description("colonoscopy", "CC-BY-4.0")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A node with one exported release, `bundle`, and a repository that knows the hospital."""
    root = tmp_path_factory.mktemp("template")
    node = trained_node(root / "node", images=2)
    approver: SigningKey = generate()
    save_policy(
        node.policy_path,
        Policy((Approver("Officer", approver.public.pem().decode()),), release_linkable=True),
    )
    policy = load_policy(node.policy_path)
    audit_node(node, policy.limits, AuditSettings(samples=16))
    give_approval(node, policy, propose(node, policy), approver, "Officer")
    export_bundle(node, root / "bundle", generate())
    node.ledger.close()
    steward.init(root / "repository", [key.public for key in ROOTS], ROOTS[:2], ONLINE)
    people = [key.public for key in PEOPLE]
    steward.add_hospital(root / "repository", "test", "Test hospital", people, ROOTS[:2])
    return root


@pytest.fixture
def place(template: Path, tmp_path: Path) -> Path:
    for name in ("node", "bundle", "repository"):
        shutil.copytree(template / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def node(place: Path) -> Node:
    return Node.open(place / "node")


def offered(place: Path) -> dict[str, ReleaseRecord]:
    metadata = MetadataFolder(place / "repository").newest("test")
    targets = {} if metadata is None else metadata.signed.targets
    return {
        path: ReleaseRecord.from_json(target.custom[CUSTOM])
        for path, target in targets.items()
        if path.endswith(".zip")
    }


def both(node: Node, place: Path, **options: object) -> None:
    publish(node, place / "bundle", place / "repository", PEOPLE[:1], SAID, **options)
    assert publish(node, place / "bundle", place / "repository", PEOPLE[1:]).staged.complete


def test_the_second_person_completes_what_the_first_began(node: Node, place: Path) -> None:
    first = publish(node, place / "bundle", place / "repository", PEOPLE[:1], SAID)
    assert (first.staged.complete, first.staged.signatures) == (False, 1)
    assert offered(place) == {}
    assert node.ledger.releases.get(1).state is ReleaseEvent.EXPORTED
    second = publish(node, place / "bundle", place / "repository", PEOPLE[1:])
    assert (second.staged.complete, second.staged.signatures) == (True, 2)
    assert second.record == first.record
    (record,) = offered(place).values()
    assert (record.images, record.generators, record.modality) == (2, 2, "colonoscopy")
    assert node.ledger.releases.get(1).state is ReleaseEvent.PUBLISHED


def test_one_person_signing_twice_is_one_person(node: Node, place: Path) -> None:
    for _ in range(2):
        found = publish(node, place / "bundle", place / "repository", PEOPLE[:1], SAID)
        assert found.staged.signatures == 1
    assert offered(place) == {}


def test_a_second_person_who_says_something_else_is_stopped(node: Node, place: Path) -> None:
    publish(node, place / "bundle", place / "repository", PEOPLE[:1], SAID)
    with pytest.raises(InputError, match="licence"):
        publish(node, place / "bundle", place / "repository", PEOPLE[1:], Description(licence="other"))


def test_a_key_that_the_steward_did_not_admit_signs_nothing(node: Node, place: Path) -> None:
    with pytest.raises(VerificationError, match="signs for test"):
        publish(node, place / "bundle", place / "repository", [generate()], SAID)
    assert not (place / "repository" / "staged").exists()


def test_the_first_person_says_modality_and_licence(node: Node, place: Path) -> None:
    with pytest.raises(UsageError, match="modality"):
        publish(node, place / "bundle", place / "repository", PEOPLE[:1])


def test_a_changed_or_foreign_bundle_is_not_published(node: Node, place: Path) -> None:
    (place / "bundle" / "CARD.md").write_text("# Another card\n")
    with pytest.raises(VerificationError):
        publish(node, place / "bundle", place / "repository", PEOPLE, SAID)


def test_a_repository_that_does_not_know_the_hospital_says_what_to_do(node: Node, place: Path) -> None:
    steward.init(place / "other", [key.public for key in ROOTS], ROOTS[:2], ONLINE)
    with pytest.raises(InputError, match="add-hospital"):
        publish(node, place / "bundle", place / "other", PEOPLE, SAID)
    with pytest.raises(InputError, match=r"1\.root\.json"):
        publish(node, place / "bundle", place / "bundle", PEOPLE, SAID)


def test_equal_bundles_as_folder_and_as_zip_are_one_target(node: Node, place: Path) -> None:
    both(node, place)
    (path,) = (place / "repository" / "targets" / "test").glob("*.zip")
    assert publish(node, path, place / "repository", PEOPLE[:1]).staged.version == 1


def test_recipients_stand_in_the_releases_record(node: Node, place: Path) -> None:
    with pytest.raises(InputError, match="recipient add"):
        both(node, place, recipients=["University"])
    add_recipient(node, Recipient("University", "contract 12", "2026-01-31"))
    both(node, place, recipients=["University"])
    release = node.ledger.releases.get(1)
    assert (release.state, release.recipients) == (ReleaseEvent.PUBLISHED, ("University",))
    assert release.of(ReleaseEvent.PUBLISHED)[0].content["recipients"] == [
        {"name": "University", "agreement": "contract 12", "date": "2026-01-31"}
    ]


def test_the_contact_sheet_is_a_signed_target_of_synthetic_samples(node: Node, place: Path) -> None:
    both(node, place)
    metadata = MetadataFolder(place / "repository").newest("test")
    assert metadata is not None
    sheet = metadata.signed.targets["test/release-1.png"]
    data = MetadataFolder(place / "repository").target_path(sheet).read_bytes()
    sheet.verify_length_and_hashes(data)
    assert data.startswith(b"\x89PNG")


def test_a_withdrawal_needs_the_ledger_alone(place: Path) -> None:
    node = Node.open(place / "node")
    both(node, place)
    node.ledger.close()
    for name in ("images", "models", "candidates", "audit", "approvals", "reports"):
        shutil.rmtree(place / "node" / name)
    node = Node.open(place / "node")
    for person in PEOPLE:
        done = withdraw(node, 1, "wrong masks", repository=place / "repository", keys=[person])
    assert done.staged is not None
    assert done.staged.complete
    assert {record.state for record in node.ledger.generators.iterate()} == {GeneratorState.WITHDRAWN}
    assert node.ledger.releases.get(1).state is ReleaseEvent.WITHDRAWN
    metadata = MetadataFolder(place / "repository").newest("test")
    assert metadata is not None
    assert metadata.signed.targets == {}
    (gone,) = metadata.signed.unrecognized_fields[WITHDRAWN].values()
    assert (gone["reason"], gone["by"]) == ("wrong masks", "test")


def test_the_history_keeps_publication_and_withdrawal(node: Node, place: Path) -> None:
    both(node, place)
    withdraw(node, 1, "wrong masks")
    entries = [json.loads(link.entry) for link in node.ledger.history.all()]
    actions = [entry["action"] for entry in entries]
    assert actions[-3:] == ["publication", "publication", "withdrawal"]
    assert entries[-2]["facts"]["complete"]
    assert entries[-1]["facts"]["reason"] == "wrong masks"


def test_a_withdrawn_release_is_not_published(node: Node, place: Path) -> None:
    withdraw(node, 1, "wrong masks")
    with pytest.raises(PolicyError, match="wrong masks"):
        publish(node, place / "bundle", place / "repository", PEOPLE, SAID)


def test_generators_may_be_kept_when_only_the_release_is_withdrawn(node: Node) -> None:
    assert withdraw(node, 1, "the card was wrong", keep_generators=True).generators == ()
    assert {record.state for record in node.ledger.generators.iterate()} == {GeneratorState.RELEASED}


def test_an_unknown_release_is_refused(node: Node) -> None:
    with pytest.raises(InputError, match="release 7"):
        withdraw(node, 7, "no reason")


def test_releases_are_listed_with_their_state(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    node = ("--node", str(place / "node"))
    assert main(["releases", *node]) == 0
    assert "exported" in capsys.readouterr().out
    assert main(["withdraw", "1", *node, "--reason", "wrong masks"]) == 0
    capsys.readouterr()
    assert main(["releases", *node]) == 0
    assert "wrong masks" in capsys.readouterr().out


def test_a_release_of_an_earlier_version_is_named_and_not_published(node: Node, place: Path) -> None:
    """Earlier ledgers knew neither key nor digest of a release."""
    with closing(sqlite3.connect(place / "node" / "ledger.sqlite")) as database:
        database.executescript(
            "DROP TRIGGER release_events_unchanged; UPDATE release_events SET content = '{}';"
        )
    with pytest.raises(NodeStateError, match="export again"):
        publish(node, place / "bundle", place / "repository", PEOPLE, SAID)


def test_the_steward_takes_a_hospitals_medium_once_two_have_signed(node: Node, place: Path) -> None:
    stick = place / "stick"
    shutil.copytree(place / "repository" / "metadata", stick / "metadata")
    publish(node, place / "bundle", stick, PEOPLE[:1], SAID)
    assert "test" not in steward.refresh(place / "repository", ONLINE, source=stick).versions
    publish(node, place / "bundle", stick, PEOPLE[1:])
    assert steward.refresh(place / "repository", ONLINE, source=stick).versions["test"] == 1
    assert len(list((place / "repository" / "targets" / "test").iterdir())) == 2


def test_a_medium_with_a_changed_file_is_refused(node: Node, place: Path) -> None:
    stick = place / "stick"
    shutil.copytree(place / "repository" / "metadata", stick / "metadata")
    publish(node, place / "bundle", stick, PEOPLE, SAID)
    (zipped,) = (stick / "targets" / "test").glob("*.zip")
    zipped.write_bytes(b"\0" + zipped.read_bytes()[1:])
    found = steward.refresh(place / "repository", ONLINE, source=stick)
    assert "test" in found.refused
    assert not (place / "repository" / "metadata" / "1.test.json").exists()
