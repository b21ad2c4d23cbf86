"""Publish a release in a repository, or withdraw it: two people of the hospital sign, without a network.

`--repository` names a folder: the repository itself, or a copy of its metadata on a medium that travels. The
steward's `sharekit repository refresh` then makes the change visible.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tuf.api.metadata import TargetFile, Targets

from hospital_node.ledger.releases import ReleaseEvent, ReleaseHistory
from hospital_node.ledger.states import GeneratorState
from hospital_node.node.history import Action, record
from hospital_node.node.node import Node
from hospital_node.release.contact_sheet import contact_sheet
from hospital_node.release.encrypted_copy import encrypt_for, require_same, zipped
from hospital_node.release.recipients import Recipient, named
from sharekit.bundle.bundle import VerifiedBundle, read_claims, verify_bundle
from sharekit.errors import InputError, NodeStateError, PolicyError, UsageError
from sharekit.program.umask import users_umask
from sharekit.repository.metadata_folder import MetadataFolder, Staged, is_whole
from sharekit.repository.offers import offers_of
from sharekit.repository.release_record import (
    CUSTOM,
    WITHDRAWN,
    ReleaseRecord,
    Withdrawal,
    bundle_path,
    encrypted_path,
    sheet_path,
)
from sharekit.signing.encryption import FORMAT
from sharekit.signing.keys import PublicKey, Signer
from sharekit.storage import schema
from sharekit.storage.files import sha256_of

LIFETIME = timedelta(days=365)
"""Time until a hospital's metadata expires; each publication renews it."""
_TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True)
class Published:
    """A release that this command signed for a repository."""

    name: str
    """The hospital's short name in the repository."""
    record: ReleaseRecord
    staged: Staged
    recipients: tuple[Recipient, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "hospital": self.name,
            "release": self.record.to_json(),
            "metadata": self.staged.to_json(),
            "recipients": [one.to_json() for one in self.recipients],
        }


@dataclass(frozen=True)
class Withdrawn:
    """A release that was withdrawn."""

    release: ReleaseHistory
    generators: tuple[str, ...]
    """Generators that never leave again."""
    also_in: tuple[int, ...]
    """Other releases, not withdrawn, that hold some of the same generators."""
    staged: Staged | None
    """The repository's metadata; None if no repository was named."""

    def to_json(self) -> dict[str, Any]:
        return {
            "release": self.release.to_json(),
            "generators": list(self.generators),
            "also_in": list(self.also_in),
            "metadata": None if self.staged is None else self.staged.to_json(),
        }


@dataclass(frozen=True)
class Description:
    """What a person says of a release; None keeps what the first signer said."""

    modality: str | None = None
    licence: str | None = None

    def check(self) -> None:
        """Refuse what is no line of text.

        Raises:
            UsageError: naming the option.
        """
        for option, text in (("--modality", self.modality), ("--licence", self.licence)):
            if text is not None and not schema.is_label(text):
                raise UsageError(
                    option, expected="one line of text", found=f"{text!r:.60}", next_step="correct it"
                )


def publish(
    node: Node,
    path: Path,
    repository: Path,
    keys: Sequence[Signer],
    description: Description = Description(),
    recipients: Sequence[str] = (),
    encrypt: Sequence[str] = (),
) -> Published:
    """Sign that a release is offered in a repository; the same call with another person's key countersigns.

    Args:
        path: the bundle, as `export` wrote it.
        repository: the repository's folder, or a copy of its metadata.
        keys: of one or two people whom the repository lets sign for this hospital.
        recipients: names from the node's register, for the release's record.
        encrypt: recipients who alone can read the bundle; empty publishes it for everybody. The first person
            who signs chooses.

    Raises:
        InputError: the bundle is not a release of this node, or the repository does not know the hospital.
        PolicyError: the release was withdrawn.
        VerificationError: the bundle has changed since its export, or a key may not sign.
    """
    description.check()
    receiving = tuple(named(node, dict.fromkeys([*recipients, *encrypt])))
    with node.write_lock(), users_umask():
        history, bundle = _own_release(node, path)
        store = MetadataFolder(repository)
        name = _name_in(store, node.hospital)
        with tempfile.TemporaryDirectory() as folder:
            file, path_in = zipped(bundle, Path(folder)), bundle_path(name, history.number)
            target, sheet = _signed_before(node, store, name, history.number, file), None
            signed_before = target is not None
            if target is None:
                if encrypt:
                    chosen = named(node, encrypt)
                    file = encrypt_for(node, file, Path(folder, "encrypted"), chosen)
                    path_in = encrypted_path(name, history.number)
                target = TargetFile.from_file(path_in, str(file), ["sha256"])
                offer, sheet = _described(store, name, history, bundle, target, description)
            else:
                offer = ReleaseRecord.from_json(target.custom[CUSTOM])
                _require_same(offer, description, bool(encrypt))
            if offer.encryption is None or not signed_before:
                store.add_target(target, file)

        def edit(targets: Targets) -> None:
            if not signed_before:
                targets.targets[target.path] = target
                if sheet is not None:
                    targets.targets[sheet.path] = sheet

        now = datetime.now(UTC)
        staged = store.change(name, lambda: Targets(expires=now), edit, keys, LIFETIME, now)
        published = {
            "repository": str(repository),
            "name": name,
            "version": staged.version,
            "complete": staged.complete,
            "recipients": [one.to_json() for one in receiving],
            "encrypted": offer.encryption is not None,
            "signed_by": [key.public.fingerprint for key in keys],
        }
        node.ledger.releases.append(history.number, ReleaseEvent.PUBLISHED, published)
        record(
            node,
            Action.PUBLICATION,
            release=history.number,
            complete=staged.complete,
            recipients=len(receiving),
            signed_by=[key.public.fingerprint for key in keys],
        )
    return Published(name, offer, staged, receiving)


def withdraw(
    node: Node,
    number: int,
    reason: str,
    *,
    repository: Path | None = None,
    keys: Sequence[Signer] = (),
    keep_generators: bool = False,
) -> Withdrawn:
    """Withdraw a release: its generators never leave again, and the repository says so.

    It needs the node's ledger alone: images, generators and audits may be gone.

    Args:
        number: the release.
        reason: one line that every consumer reads.
        repository: as in `publish`; None withdraws inside the node only.
        keys: as in `publish`.
        keep_generators: let the generators leave in later releases.

    Raises:
        InputError: the node has no such release.
        UsageError: the reason is no line of text.
    """
    if not schema.is_label(reason):
        raise UsageError(
            "--reason", expected="one line of text", found=f"{reason!r:.60}", next_step="give one"
        )
    with node.write_lock(), users_umask():
        ledger = node.ledger
        history = ledger.releases.get(number)
        before = history.of(ReleaseEvent.WITHDRAWN)
        if not before or before[-1].content["reason"] != reason:
            ledger.releases.append(number, ReleaseEvent.WITHDRAWN, {"reason": reason})
            record(
                node,
                Action.WITHDRAWAL,
                release=number,
                reason=reason,
                signed_by=[key.public.fingerprint for key in keys],
            )
            history = ledger.releases.get(number)
        gone = [] if keep_generators else _withdraw_generators(node, history, reason)
        also_in = tuple(
            other.number
            for other in ledger.releases.all()
            if other.state is not ReleaseEvent.WITHDRAWN and set(other.generators) & set(gone)
        )
        staged = None if repository is None else _withdraw_in(MetadataFolder(repository), node, history, keys)
    return Withdrawn(history, tuple(gone), also_in, staged)


def _own_release(node: Node, path: Path) -> tuple[ReleaseHistory, VerifiedBundle]:
    claims, _ = read_claims(path)
    history = node.ledger.releases.get(claims.release)
    if history.state is ReleaseEvent.WITHDRAWN:
        reason = history.of(ReleaseEvent.WITHDRAWN)[-1].content["reason"]
        raise PolicyError(
            path,
            expected="a release that stands",
            found=f"withdrawn: {reason}",
            next_step="export a new release",
        )
    pem = history.exported.get("public_key")
    if pem is None:
        raise NodeStateError(
            path,
            expected="a release whose key and digest the ledger holds",
            found="one that an earlier version of the node exported",
            next_step="export again with `hospital-node export`, and publish that bundle",
        )
    bundle = verify_bundle(path, [PublicKey.from_pem(pem.encode())])
    if bundle.manifest_sha256 != history.exported["manifest_sha256"] or claims.hospital != node.hospital:
        raise InputError(
            path,
            expected=f"release {claims.release} as this node exported it",
            found="another bundle with that number",
            next_step="name the bundle that `hospital-node export` wrote",
        )
    return history, bundle


def _name_in(store: MetadataFolder, hospital: str) -> str:
    """The hospital's short name in a repository."""
    known = store.hospitals()
    for name, label in known.items():
        if label == hospital:
            return name
    raise InputError(
        store.root,
        expected=f"a repository that knows {hospital}",
        found=f"one that knows {', '.join(known.values()) or 'no hospital'}",
        next_step="let its steward give `sharekit repository add-hospital`, then copy its metadata again",
    )


def _signed_before(
    node: Node, store: MetadataFolder, name: str, number: int, file: Path
) -> TargetFile | None:
    """The release in the metadata that waits for a signature, or in the complete one, if it is this file.

    Raises:
        InputError: its encrypted file is not at hand.
        VerificationError: its encrypted file holds another bundle.
    """
    metadata = store.staged(name) or store.newest(name)
    targets = {} if metadata is None else metadata.signed.targets
    plain, encrypted = targets.get(bundle_path(name, number)), targets.get(encrypted_path(name, number))
    if encrypted is None:
        return plain if plain is not None and plain.hashes.get("sha256") == sha256_of(file) else None
    there = store.target_path(encrypted)
    if not (there.is_file() and is_whole(encrypted, there)):
        raise InputError(
            there,
            expected="the encrypted bundle that the first person signed",
            found="another file, or none",
            next_step="copy the folder targets/ of the medium or repository too",
        )
    require_same(node, there, file)
    return encrypted


def _described(
    store: MetadataFolder,
    name: str,
    history: ReleaseHistory,
    bundle: VerifiedBundle,
    target: TargetFile,
    description: Description,
) -> tuple[ReleaseRecord, TargetFile | None]:
    """Put the record into the target, and the contact sheet into the repository."""
    if description.modality is None or description.licence is None:
        raise UsageError(
            "--modality, --licence",
            expected="both, from the first person who signs",
            found="nothing",
            next_step='give, for example, --modality colonoscopy --licence "CC-BY-4.0"',
        )
    encrypted = target.path == encrypted_path(name, history.number)
    # Samples of an encrypted bundle are for its recipients too.
    sheet = None if encrypted else _store_sheet(store, sheet_path(name, history.number), bundle)
    claims = bundle.manifest
    layouts = (entry.spec.layout for entry in claims.generators)
    words = (
        f"{'rgb' if one.image_channels == 3 else 'grey'}: {', '.join(one.mask_classes)}" for one in layouts
    )
    record = ReleaseRecord(
        claims.hospital,
        claims.release,
        claims.created.strftime(_TIME),
        claims.expires.strftime(_TIME),
        bundle.manifest_sha256,
        bundle.fingerprint,
        description.modality,
        description.licence,
        tuple(dict.fromkeys(words)),
        len(claims.generators),
        int(history.exported["images"]),
        tuple(dict.fromkeys(entry.verdict for entry in claims.generators)),
        None if sheet is None else sheet.path,
        FORMAT if encrypted else None,
    )
    target.unrecognized_fields["custom"] = {CUSTOM: record.to_json()}
    return record, sheet


def _store_sheet(store: MetadataFolder, path: str, bundle: VerifiedBundle) -> TargetFile:
    picture = contact_sheet(bundle)
    sheet = TargetFile.from_data(path, picture, ["sha256"])
    file = store.target_path(sheet)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(picture)
    return sheet


def _require_same(record: ReleaseRecord, description: Description, encrypt: bool) -> None:
    """Refuse a second signature on another description than the first person's, or on a plain file."""
    if encrypt and record.encryption is None:
        raise InputError(
            "--encrypt-for",
            expected="the bundle in clear, as the first person signed it",
            found="recipients to encrypt for",
            next_step="leave the option out to sign that, or export a new release",
        )
    for option, wanted, found in (
        ("--modality", description.modality, record.modality),
        ("--licence", description.licence, record.licence),
    ):
        if wanted not in (None, found):
            raise InputError(
                option,
                expected=f"{found!r}, as the first person signed it",
                found=repr(wanted),
                next_step="leave the option out to sign that, or export a new release",
            )


def _withdraw_generators(node: Node, history: ReleaseHistory, reason: str) -> list[str]:
    # An erasure removes generators from the ledger for good.
    known = {record.id for record in node.ledger.generators.iterate()}
    gone = [identifier for identifier in history.generators if identifier in known]
    for identifier in gone:
        if node.ledger.generators.get(identifier).state is not GeneratorState.WITHDRAWN:
            words = f"release {history.number} was withdrawn: {reason}"
            node.ledger.generators.transition(identifier, GeneratorState.WITHDRAWN, words)
    return gone


def _withdraw_in(
    store: MetadataFolder, node: Node, history: ReleaseHistory, keys: Sequence[Signer]
) -> Staged:
    name = _name_in(store, node.hospital)
    metadata = store.newest(name)
    offers = [] if metadata is None else offers_of(name, metadata.signed)
    offered = {offer.record.release: offer.record.manifest_sha256 for offer in offers}
    manifest = history.exported.get("manifest_sha256") or offered.get(history.number)
    if manifest is None:
        raise InputError(
            f"release {history.number}",
            expected="a release that the repository offers, or one whose digest the ledger holds",
            found="neither",
            next_step="leave out --repository to withdraw it inside the node",
        )
    happened = history.of(ReleaseEvent.WITHDRAWN)[-1]
    date = datetime.fromisoformat(happened.time).strftime(_TIME)
    withdrawal = Withdrawal(history.number, manifest, happened.content["reason"], date, name)

    def edit(targets: Targets) -> None:
        for path_of in (bundle_path, encrypted_path, sheet_path):
            targets.targets.pop(path_of(name, history.number), None)
        withdrawn = targets.unrecognized_fields.setdefault(WITHDRAWN, {})
        withdrawn[bundle_path(name, history.number)] = withdrawal.to_json()

    now = datetime.now(UTC)
    return store.change(name, lambda: Targets(expires=now), edit, keys, LIFETIME, now)
