"""The steward's work: make a repository, admit hospitals, keep snapshot and timestamp fresh, withdraw.

Root and the list of hospitals need two of the three offline keys. Snapshot and timestamp have one key that
lies on the steward's machine. The steward never holds a hospital's key and cannot change a release.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    Targets,
    Timestamp,
)

from sharekit.errors import InputError, SharekitError, UsageError, VerificationError
from sharekit.repository.metadata_folder import (
    METADATA,
    TARGETS,
    KeySigner,
    MetadataFolder,
    Staged,
    is_whole,
    tuf_key,
)
from sharekit.repository.offers import offers_of, release_in
from sharekit.repository.release_record import (
    ENCRYPTED,
    WITHDRAWN,
    Withdrawal,
    bundle_path,
    without_encryption,
)
from sharekit.signing.keys import PublicKey, Signer
from sharekit.storage import files, schema
from sharekit.trust.trust_store import checked_name

ROOT_KEYS, ROOT_THRESHOLD = 3, 2
HOSPITAL_THRESHOLD = 2
"""Two-person release."""
ROOT_DAYS = TARGETS_DAYS = 365
SNAPSHOT_DAYS = 7
TIMESTAMP_DAYS = 1
CREATED = "x-sharekit-created"
"""Field of the timestamp: when it was signed. A client whose clock is earlier has a wrong clock."""
_TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True)
class Made:
    """A new repository."""

    folder: Path
    root_fingerprint: str
    """SHA-256 of 1.root.json, which consumers confirm over another way than the repository."""

    def to_json(self) -> dict[str, str]:
        return {"repository": str(self.folder), "root_fingerprint": self.root_fingerprint}


@dataclass(frozen=True)
class Refreshed:
    """What a refresh put into the new snapshot."""

    snapshot: int  # version
    timestamp: int  # version
    expires: datetime
    versions: dict[str, int]
    """Version of each role in the snapshot."""
    refused: dict[str, str]
    """Hospital to the reason why its new metadata was left out."""

    def to_json(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "expires": self.expires.strftime(_TIME)}


def init(folder: Path, root_keys: Sequence[PublicKey], signers: Sequence[Signer], online: Signer) -> Made:
    """Make a repository.

    Args:
        folder: a new folder.
        root_keys: at least three offline keys.
        signers: at least two of them, to sign now.
        online: the key of snapshot and timestamp.

    Raises:
        UsageError: too few keys, or a key twice.
        InputError: the folder exists.
    """
    publics = {key.fingerprint: key for key in root_keys}
    signing = {key.public.fingerprint for key in signers} & publics.keys()
    if len(publics) < ROOT_KEYS or len(signing) < ROOT_THRESHOLD or online.public.fingerprint in publics:
        raise UsageError(
            "--root-key",
            expected=f"{ROOT_KEYS} offline keys, {ROOT_THRESHOLD} of them private, and another online key",
            found=f"{len(publics)} keys, {len(signing)} of them private",
            next_step="make the keys with `sharekit keys new`; for the third, its .pub file is enough",
        )
    now = _now()
    root = Root(expires=now + timedelta(days=ROOT_DAYS), consistent_snapshot=True)
    for public in publics.values():
        root.add_key(tuf_key(public), "root")
        root.add_key(tuf_key(public), "targets")
    root.roles["root"].threshold = root.roles["targets"].threshold = ROOT_THRESHOLD
    for role in ("snapshot", "timestamp"):
        root.add_key(tuf_key(online.public), role)
    targets = Targets(expires=now + timedelta(days=TARGETS_DAYS), delegations=Delegations(keys={}, roles={}))
    with files.new_directory(folder) as new:
        (new / METADATA).mkdir()
        (new / TARGETS).mkdir()
        for name, signed in (("1.root", root), ("1.targets", targets)):
            metadata: Metadata[Any] = Metadata(signed)
            for signer in signers:
                metadata.sign(KeySigner(signer), append=True)
            files.write_bytes(new / METADATA / f"{name}.json", metadata.to_bytes())
        refresh(new, online)
    return Made(folder, root_fingerprint(folder))


def root_fingerprint(folder: Path) -> str:
    """SHA-256 of the first root metadata."""
    data = files.read_bytes(folder / METADATA / "1.root.json", max_bytes=files.MAX_JSON_BYTES)
    return hashlib.sha256(data).hexdigest()


def add_hospital(
    folder: Path, name: str, label: str, publics: Sequence[PublicKey], keys: Sequence[Signer]
) -> Staged:
    """Delegate `NAME/*` to a hospital, or give it other keys.

    Args:
        name: the hospital's short name.
        label: the hospital's name, which every bundle of it carries.
        publics: keys of its people; two of them sign each release.
        keys: of the repository's root.

    Raises:
        UsageError: a name that cannot be one, or fewer than two keys.
    """
    checked_name(name)
    if not schema.is_label(label):
        raise UsageError(
            "--name", expected="the hospital's name", found=repr(label[:50]), next_step="give it"
        )
    if len({key.fingerprint for key in publics}) < HOSPITAL_THRESHOLD:
        raise UsageError(
            "--hospital-key",
            expected=f"the public keys of at least {HOSPITAL_THRESHOLD} people",
            found=f"{len({key.fingerprint for key in publics})}",
            next_step="name each with --hospital-key PUB",
        )

    def edit(targets: Targets) -> None:
        delegations = targets.delegations
        if delegations is None or delegations.roles is None:
            raise VerificationError(
                folder, expected="named delegations", found="none", next_step="make a new repository"
            )
        if name in delegations.roles:
            for keyid in list(delegations.roles[name].keyids):
                targets.revoke_key(keyid, name)
        delegations.roles[name] = DelegatedRole(
            name,
            [],
            HOSPITAL_THRESHOLD,
            terminating=True,
            paths=[f"{name}/*"],
            unrecognized_fields={"x-sharekit-hospital": label},
        )
        for public in publics:
            targets.add_key(tuf_key(public), name)

    return _change_targets(folder, edit, keys)


def withdraw(folder: Path, name: str, release: int, reason: str, keys: Sequence[Signer]) -> Staged:
    """Withdraw a hospital's release in the hospital's stead.

    Raises:
        InputError: the repository has no such release.
    """
    store = MetadataFolder(folder)
    metadata = store.newest(name) if name in store.hospitals() else None
    offer = None if metadata is None else release_in(name, metadata.signed, release)
    if offer is None:
        raise InputError(
            f"{name}, release {release}",
            expected="a release that the repository offers",
            found="none",
            next_step="see `consumer catalogue REPOSITORY`",
        )
    path, manifest = bundle_path(name, release), offer.record.manifest_sha256

    def edit(targets: Targets) -> None:
        withdrawn = targets.unrecognized_fields.setdefault(WITHDRAWN, {})
        if withdrawn.get(path, {}).get("reason") != reason:
            date = _now().strftime(_TIME)
            withdrawn[path] = Withdrawal(release, manifest, reason, date, "steward").to_json()

    return _change_targets(folder, edit, keys)


def rotate(
    folder: Path, root_keys: Sequence[PublicKey], online: PublicKey | None, keys: Sequence[Signer]
) -> Staged:
    """Replace the root keys, the online key, or both; holders of old and new root keys sign.

    A new online key also undoes what a thief of the old one has signed: clients forget his snapshot and
    timestamp, whatever versions they had.

    Args:
        root_keys: all root keys from now on; empty keeps them.
        online: the new key of snapshot and timestamp; None keeps it.
        keys: of the old and the new root.
    """
    store = MetadataFolder(folder)
    waiting = store.staged("root")
    current = store.root_metadata()
    root = Root.from_dict(current.to_dict())
    if root_keys:
        for role in ("root", "targets"):
            for keyid in list(root.roles[role].keyids):
                root.revoke_key(keyid, role)
            for public in root_keys:
                root.add_key(tuf_key(public), role)
    if online is not None:
        for role in ("snapshot", "timestamp"):
            for keyid in list(root.roles[role].keyids):
                root.revoke_key(keyid, role)
            root.add_key(tuf_key(online), role)
    root.version += 1
    root.expires = waiting.signed.expires if waiting else _now() + timedelta(days=ROOT_DAYS)
    metadata = waiting if waiting is not None and waiting.signed == root else Metadata(root)
    return store.sign("root", metadata, keys)


def sign(folder: Path, keys: Sequence[Signer]) -> list[Staged]:
    """Add signatures to everything of the steward's that waits for some.

    Raises:
        InputError: nothing waits.
    """
    store = MetadataFolder(folder)
    waiting = {role: found for role in ("root", "targets") if (found := store.staged(role)) is not None}
    if not waiting:
        raise InputError(
            folder,
            expected="a change that waits for signatures",
            found="none",
            next_step="make a change first, such as `sharekit repository add-hospital`",
        )
    return [store.sign(role, metadata, keys) for role, metadata in waiting.items()]


def refresh(
    folder: Path,
    online: Signer,
    *,
    source: Path | None = None,
    days: int = TIMESTAMP_DAYS,
    now: datetime | None = None,
) -> Refreshed:
    """Take in what hospitals have signed, and write a new snapshot and timestamp.

    Args:
        source: a hospital's medium with its signed metadata and targets; None takes what lies in the folder.
        days: days until the new timestamp expires; without a refresh, clients then refuse the repository.

    Raises:
        VerificationError: the key is not the repository's online key.
    """
    now = now or _now()
    store = MetadataFolder(folder)
    root = store.root_metadata()
    if tuf_key(online.public).keyid not in root.roles["timestamp"].keyids:
        raise VerificationError(
            "--key",
            expected="the repository's online key",
            found=online.public.fingerprint,
            next_step="take the online key, or change it with `sharekit repository rotate`",
        )
    refused = _import(store, MetadataFolder(source), now) if source is not None else {}
    old = store.snapshot()
    meta = {} if old is None else dict(old.meta)
    targets = store.targets()
    meta["targets.json"] = meta_file(store.path("targets", targets.version), targets.version)
    for name in store.hospitals():
        metadata = store.newest(name)
        if metadata is None:
            continue
        try:
            _check_hospital(store, store, name, metadata, now)
        except SharekitError as error:
            refused[name] = f"{error.found}, where {error.expected} is needed"
            continue
        meta[f"{name}.json"] = meta_file(store.path(name, metadata.signed.version), metadata.signed.version)
    snapshot = Snapshot(
        version=1 if old is None else old.version + 1,
        expires=now + timedelta(days=max(SNAPSHOT_DAYS, days)),
        meta=meta,
    )
    path = store.path("snapshot", snapshot.version)
    write_online(path, snapshot, online)
    before = store.timestamp()
    timestamp = Timestamp(
        version=1 if before is None else before.version + 1,
        expires=now + timedelta(days=days),
        snapshot_meta=meta_file(path, snapshot.version),
        unrecognized_fields={CREATED: now.strftime(_TIME)},
    )
    write_online(folder / METADATA / "timestamp.json", timestamp, online)
    _remove_withdrawn(store)
    versions = {name.removesuffix(".json"): one.version for name, one in meta.items()}
    return Refreshed(snapshot.version, timestamp.version, timestamp.expires, versions, refused)


def _change_targets(folder: Path, edit: Any, keys: Sequence[Signer]) -> Staged:
    now = _now()
    lifetime = timedelta(days=TARGETS_DAYS)
    store = MetadataFolder(folder)
    return store.change("targets", lambda: Targets(expires=now), edit, keys, lifetime, now)


def _import(store: MetadataFolder, source: MetadataFolder, now: datetime) -> dict[str, str]:
    """Copy the newer metadata of hospitals, with its targets, from their medium; why some was refused."""
    refused = {}
    for name in store.hospitals():
        metadata, current = source.newest(name), store.newest(name)
        have = 0 if current is None else current.signed.version
        if metadata is None or metadata.signed.version < have:
            continue
        if metadata.signed.version == have:
            if current is not None and metadata.signed != current.signed:
                refused[name] = (
                    f"version {have} differs from the version {have} here: publish again on a fresh copy"
                )
            continue
        try:
            _check_hospital(store, source, name, metadata, now)
            for target in metadata.signed.targets.values():
                store.add_target(target, source.target_path(target))
        except (SharekitError, OSError) as error:
            refused[name] = f"{getattr(error, 'found', error)}"
            continue
        store.store(name, metadata)
    return refused


def _check_hospital(
    store: MetadataFolder, source: MetadataFolder, name: str, metadata: Metadata[Any], now: datetime
) -> None:
    """Refuse a hospital's metadata that clients would refuse, or that offers what is not its own.

    Raises:
        VerificationError: too few signatures, expired, malformed, or a target that is missing or not its own.
    """

    def require(holds: bool, expected: str, found: str) -> None:
        if not holds:
            raise VerificationError(
                name, expected=expected, found=found, next_step="let the hospital publish again"
            )

    valid, threshold, enough = store.verified(name, metadata)
    require(enough, f"{threshold} signatures", f"{valid}")
    targets: Targets = metadata.signed
    require(not targets.is_expired(now), "metadata that has not expired", f"expired on {targets.expires}")
    top = store.targets()
    role = top.get_delegated_role(name)
    checked = _checked_before(store, name)
    for path, target in targets.targets.items():
        own = isinstance(role, DelegatedRole) and role.is_delegated_path(path)
        require(own, f"paths below {name}/", path)
        if path in checked or without_encryption(path) in top.unrecognized_fields.get(WITHDRAWN, {}):
            continue
        file = source.target_path(target)
        require(file.is_file() and is_whole(target, file), f"the signed file of {path}", "none, or another")
    offers_of(name, targets)


def _checked_before(store: MetadataFolder, name: str) -> set[str]:
    """Paths of the targets that an earlier refresh has checked."""
    snapshot = store.snapshot()
    known = None if snapshot is None else snapshot.meta.get(f"{name}.json")
    return set() if known is None else set(store.read(name, known.version).signed.targets)


def _remove_withdrawn(store: MetadataFolder) -> None:
    """Remove the files of withdrawn releases, so that nobody downloads them any more."""
    withdrawn = set(store.targets().unrecognized_fields.get(WITHDRAWN, {}))
    kept: set[Path] = set()
    for name in store.hospitals():
        metadata = store.newest(name)
        if metadata is not None:
            withdrawn |= set(metadata.signed.unrecognized_fields.get(WITHDRAWN, {}))
            kept |= {
                store.target_path(target)
                for path, target in metadata.signed.targets.items()
                if without_encryption(path) not in withdrawn
            }
    for path in withdrawn:
        folder, _, file = path.rpartition("/")
        for ending in ("", ENCRYPTED):
            for found in (store.root / TARGETS / folder).glob(f"*.{file}{ending}"):
                if found not in kept:
                    found.unlink()


def meta_file(path: Path, version: int) -> MetaFile:
    """A metadata file as snapshot and timestamp name it: version, length and digest."""
    return MetaFile.from_data(version, path.read_bytes(), ["sha256"])


def write_online(path: Path, signed: Snapshot | Timestamp, online: Signer) -> None:
    """Sign a snapshot or timestamp with the online key, and write it."""
    metadata: Metadata[Any] = Metadata(signed)
    metadata.sign(KeySigner(online))
    files.write_bytes(path, metadata.to_bytes())


def renew_targets(folder: Path, keys: Sequence[Signer]) -> list[Staged]:
    """Sign the list of hospitals anew, unchanged: before it expires, or after the root keys were replaced."""
    store = MetadataFolder(folder)
    waiting = store.staged("targets")
    if waiting is None:
        targets = store.targets()
        targets.version += 1
        targets.expires = _now() + timedelta(days=TARGETS_DAYS)
        waiting = Metadata(targets)
    return [store.sign("targets", waiting, keys)]


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
