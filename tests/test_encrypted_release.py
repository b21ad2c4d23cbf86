"""A release that is encrypted for its recipients: two people publish it, recipients alone read it."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

import consumer
import consumer.cli
import hospital_node.cli
from consumer.repositories.pull_releases import Pulled, pull
from hospital_node.node.node import Node
from hospital_node.release.publish import publish, withdraw
from hospital_node.release.recipients import Recipient, add_recipient, recipients
from sharekit.errors import InputError, UsageError, VerificationError
from sharekit.repository import steward
from sharekit.repository.metadata_folder import MetadataFolder
from sharekit.repository.repository_page import write_page
from sharekit.signing import encryption
from sharekit.signing.keys import PublicKey
from sharekit.trust.trust_store import TrustedHospital, TrustedKey, TrustStore
from tests.hospital_node.test_publish import ONLINE, PEOPLE, SAID, template  # noqa: F401
from tests.repository_world import now

DAY = timedelta(days=1)


@pytest.fixture
def place(
    template: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A node with an exported bundle, a repository, a registered recipient, and a consumer who trusts."""
    monkeypatch.setenv("SHAREKIT_HOME", str(tmp_path / "home"))
    for name in ("node", "bundle", "repository"):
        shutil.copytree(template / name, tmp_path / name)
    for name in ("university", "stranger"):
        encryption.write_identity(tmp_path / name)
    node = Node.open(tmp_path / "node")
    key = encryption.read_recipient(str(tmp_path / "university.recipient"))
    add_recipient(node, Recipient("University", "contract 12", "2026-01-31", key))
    pem = node.ledger.releases.get(1).exported["public_key"].encode()
    (tmp_path / "release.pub").write_bytes(pem)
    trusted = TrustedKey(PublicKey.from_pem(pem), now() - DAY, now() + DAY, "fingerprint given")
    TrustStore().save(TrustedHospital("test", (trusted,)))
    node.ledger.close()
    return tmp_path


def published(place: Path) -> Node:
    node, store = Node.open(place / "node"), place / "repository"
    publish(node, place / "bundle", store, PEOPLE[:1], SAID, encrypt=["University"])
    assert publish(node, place / "bundle", store, PEOPLE[1:]).staged.complete
    steward.refresh(store, ONLINE)
    return node


def pulled(place: Path, *identities: str) -> Pulled:
    files = [place / f"{name}.identity" for name in identities]
    return pull(
        str(place / "repository"),
        ["test"],
        root=str(place / "repository" / "metadata" / "1.root.json"),
        identities=files,
    )


def test_recipients_alone_read_an_encrypted_release(place: Path) -> None:
    node = published(place)
    with pytest.raises(UsageError, match="--identity"):
        pulled(place)
    with pytest.raises(InputError, match="other recipients"):
        pulled(place, "stranger")
    bundle = pulled(place, "university").bundles["test"]
    assert bundle.verdict == "authentic and current"
    assert len(list(consumer.open_bundle("test").sample(1))) == 1
    assert pulled(place).bundles["test"].path == bundle.path  # decrypted before
    assert node.ledger.releases.get(1).recipients == ("University",)
    (file,) = (place / "repository" / "targets" / "test").iterdir()  # no contact sheet
    assert file.name.endswith(".release-1.zip.age")
    assert b"manifest.json" not in file.read_bytes()
    assert "encrypted for its recipients" in write_page(place / "repository").read_text()


@pytest.mark.parametrize("who", ["hospital", "steward"])
def test_an_encrypted_release_is_withdrawn_like_any_other(place: Path, who: str) -> None:
    node = published(place)
    path = pulled(place, "university").bundles["test"].path
    if who == "hospital":
        withdraw(node, 1, "wrong masks", repository=place / "repository", keys=PEOPLE)
    else:
        from tests.hospital_node.test_publish import ROOTS

        steward.withdraw(place / "repository", "test", 1, "wrong masks", ROOTS[:2])
    steward.refresh(place / "repository", ONLINE)
    with pytest.raises(VerificationError, match="wrong masks"):
        pulled(place, "university")
    with pytest.raises(VerificationError, match="wrong masks"):
        consumer.open_bundle(path, "test")
    assert list((place / "repository" / "targets" / "test").iterdir()) == []


def test_the_second_person_signs_only_what_the_encrypted_file_holds(place: Path) -> None:
    node, store = Node.open(place / "node"), place / "repository"
    publish(node, place / "bundle", store, PEOPLE[:1], SAID, encrypt=["University"])
    staged = MetadataFolder(store).staged("test")
    assert staged is not None
    (target,) = staged.signed.targets.values()
    there = MetadataFolder(store).target_path(target)
    data = there.read_bytes()
    there.unlink()
    with pytest.raises(InputError, match="copy the folder targets/"):
        publish(node, place / "bundle", store, PEOPLE[1:])
    # The first person encrypted something else than the bundle.
    (place / "other").write_bytes(b"something else")
    own = encryption.read_recipient(str(node.secrets_dir / "reader.recipient"))
    encryption.encrypt(place / "other", there, [own])
    target.length, target.hashes = len(there.read_bytes()), {"sha256": _sha256(there)}
    lie = MetadataFolder(store).target_path(target)
    there.rename(lie)
    MetadataFolder(store).store("test", staged)
    with pytest.raises(VerificationError, match="another content"):
        publish(node, place / "bundle", store, PEOPLE[1:])
    assert data != lie.read_bytes()


def test_a_recipient_without_a_key_is_named(place: Path) -> None:
    node = Node.open(place / "node")
    add_recipient(node, Recipient("Clinic", "contract 13", "2026-02-01"))
    with pytest.raises(UsageError, match="--encryption-key"):
        publish(node, place / "bundle", place / "repository", PEOPLE[:1], SAID, encrypt=["Clinic"])
    assert Recipient.from_json(recipients(node)[0].to_json()) == recipients(node)[0]


def test_an_exported_bundle_is_handed_over_encrypted(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = encryption.read_recipient(str(place / "university.recipient"))
    node = ("--node", str(place / "node"))
    added = ("--name", "Clinic", "--agreement", "13", "--date", "2026-01-31", "--encryption-key", key)
    assert hospital_node.cli.main(["recipient", "add", *node, *added]) == 0
    assert key in capsys.readouterr().out
    encryption.encrypt(place / "bundle" / "CARD.md", place / "card.age", [key])
    arguments = ["--identity", str(place / "university.identity"), "--key", str(place / "release.pub")]
    # What is inside must be the hospital's bundle.
    assert consumer.cli.main(["decrypt", str(place / "card.age"), *arguments, "--out", f"{place}/x.zip"]) == 4
    assert not (place / "x.zip").exists()
    bundle = published_copy(place)
    command = ["decrypt", str(bundle), *arguments, "--out", str(place / "mine.zip"), "--format", "json"]
    capsys.readouterr()
    assert consumer.cli.main(command) == 0
    assert json.loads(capsys.readouterr().out)["release"] == 1
    assert len(list(consumer.open_bundle(place / "mine.zip", place / "release.pub").sample(1))) == 1


def published_copy(place: Path) -> Path:
    """The exported bundle, encrypted next to it as `export --encrypt-for` does."""
    from hospital_node.release.encrypted_copy import encrypted_export, encrypted_path
    from hospital_node.release.recipients import named
    from sharekit.bundle.bundle import verify_bundle

    node = Node.open(place / "node")
    bundle = verify_bundle(place / "bundle", [PublicKey.load(place / "release.pub")])
    out = encrypted_path(place / "bundle")
    assert out == place / "bundle.zip.age"
    return encrypted_export(node, bundle, out, named(node, ["University"]))


def _sha256(path: Path) -> str:
    from sharekit.storage.files import sha256_of

    return sha256_of(path)
