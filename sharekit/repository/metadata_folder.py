"""A repository's folder: TUF metadata and targets as files, and metadata that still waits for signatures.

    metadata/N.root.json, N.targets.json, N.<hospital>.json, N.snapshot.json, timestamp.json
    targets/<hospital>/<sha256>.release-N.zip
    staged/<role>.json          metadata with fewer signatures than its threshold; no client reads it

A change of root, targets or a hospital's metadata is staged until enough people have signed it: whoever makes
the same change again, with another key, adds a signature. The last one moves the file to metadata/.
"""

from __future__ import annotations

import copy
import dataclasses
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from cryptography.hazmat.primitives.serialization import load_der_public_key
from securesystemslib.signer import Signature, SSlibKey
from securesystemslib.signer import Signer as TufSigner
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Key, Metadata, Root, Snapshot, TargetFile, Targets, Timestamp

from sharekit.errors import InputError, VerificationError
from sharekit.signing.keys import PublicKey, Signer
from sharekit.storage import files

METADATA, TARGETS, STAGED = "metadata", "targets", "staged"
MAX_METADATA_BYTES = 5_000_000
"""The largest targets metadata that a client reads by python-tuf's defaults."""
CHUNK = 2**20  # bytes

Kind = TypeVar("Kind", Root, Targets, Snapshot, Timestamp)


def tuf_key(public: PublicKey) -> SSlibKey:
    """The key as TUF's metadata holds it."""
    return SSlibKey.from_crypto(load_der_public_key(public.der))


class KeySigner(TufSigner):
    """Signs TUF's metadata with a `Signer` of Sharekit."""

    def __init__(self, key: Signer) -> None:
        self._key = key
        self._public = tuf_key(key.public)

    @property
    def public_key(self) -> SSlibKey:
        return self._public

    @classmethod
    def from_priv_key_uri(cls, priv_key_uri: str, public_key: Key, secrets_handler: Any = None) -> KeySigner:
        raise NotImplementedError("sharekit.signing.external_key reads addresses of keys")

    def sign(self, payload: bytes) -> Signature:
        return Signature(self._public.keyid, self._key.sign(payload).hex())


@dataclass(frozen=True)
class Staged:
    """The outcome of a change of one role's metadata."""

    role: str
    version: int
    signatures: int
    threshold: int
    complete: bool
    """Whether enough people have signed; a new root needs the holders of the old keys too."""
    path: Path

    def to_json(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "path": str(self.path)}

    def in_words(self) -> str:
        """One line for a person."""
        if self.complete:
            return f"{self.role}, version {self.version}: signed by {self.signatures} of {self.threshold}"
        return (
            f"{self.role}, version {self.version}: signed by {self.signatures} of {self.threshold};"
            " the next person gives the same command with another key"
        )


class MetadataFolder:
    """The files of a repository."""

    def __init__(self, root: Path) -> None:
        """Open a repository's folder.

        Raises:
            InputError: it holds no repository.
        """
        self.root = root
        if not (root / METADATA / "1.root.json").is_file():
            raise InputError(
                root,
                expected="the folder of a repository",
                found="no metadata/1.root.json in it",
                next_step="make one with `sharekit repository init`, or copy its folder metadata/ here",
            )

    # -- reading

    def versions(self, role: str) -> list[int]:
        """The versions of a role's complete metadata, ascending."""
        suffix = f".{role}.json"
        names = (path.name.removesuffix(suffix) for path in (self.root / METADATA).glob(f"*{suffix}"))
        return sorted(int(name) for name in names if name.isdigit())

    def newest(self, role: str) -> Metadata[Any] | None:
        """The newest complete metadata of a role, if it has any."""
        versions = self.versions(role)
        return self.read(role, versions[-1]) if versions else None

    def read(self, role: str, version: int) -> Metadata[Any]:
        """One version of a role's complete metadata."""
        return read_metadata(self.path(role, version))

    def staged(self, role: str) -> Metadata[Any] | None:
        """Metadata of a role that waits for signatures."""
        path = self.staged_path(role)
        return read_metadata(path) if path.is_file() else None

    def root_metadata(self) -> Root:
        """The newest root."""
        return self._signed("root", Root)

    def targets(self) -> Targets:
        """The newest top-level targets: delegations to the hospitals, and what the steward withdrew."""
        return self._signed("targets", Targets)

    def snapshot(self) -> Snapshot | None:
        """The newest snapshot."""
        found = self.newest("snapshot")
        return None if found is None else found.signed

    def timestamp(self) -> Timestamp | None:
        """The timestamp."""
        path = self.root / METADATA / "timestamp.json"
        return read_metadata(path).signed if path.is_file() else None

    def path(self, role: str, version: int) -> Path:
        """The file of a role's metadata."""
        return self.root / METADATA / f"{version}.{role}.json"

    def staged_path(self, role: str) -> Path:
        """The file of metadata that waits for signatures."""
        return self.root / STAGED / f"{role}.json"

    def target_path(self, target: TargetFile) -> Path:
        """The file of a target, whose name begins with its digest."""
        return self.root / TARGETS / target.get_prefixed_paths()[0]

    def hospitals(self) -> dict[str, str]:
        """Short name to name of each hospital that the steward has added."""
        delegations = self.targets().delegations
        roles = {} if delegations is None else delegations.roles or {}
        return {name: hospital_label(role) for name, role in roles.items()}

    def delegator(self, role: str) -> Root | Targets:
        """Who says which keys sign a role's metadata."""
        return (
            self.root_metadata() if role in ("root", "targets", "snapshot", "timestamp") else self.targets()
        )

    def verified(self, role: str, metadata: Metadata[Any]) -> tuple[int, int, bool]:
        """Valid signatures on a role's metadata, its threshold, and whether they are enough."""
        arguments = metadata.signed_bytes, metadata.signatures
        if role == "root":
            # The first root has no predecessor: it vouches for itself.
            old = None if metadata.signed.version == 1 else self.root_metadata()
            root = metadata.signed.get_root_verification_result(old, *arguments)
            return len(root.signed), max(root.first.threshold, root.second.threshold), root.verified
        found = self.delegator(role).get_verification_result(role, *arguments)
        return len(found.signed), found.threshold, found.verified

    # -- writing

    def change(
        self,
        role: str,
        empty: Callable[[], Kind],
        edit: Callable[[Kind], None],
        keys: Sequence[Signer],
        lifetime: timedelta,
        now: datetime,
        renew_within: timedelta = timedelta(days=60),
    ) -> Staged:
        """Change a role's metadata and sign it; the same change again, with another key, adds a signature.

        Args:
            role: `targets`, or a hospital's short name.
            empty: makes the first version.
            edit: the change; what it sets may depend only on what the signers agree on.
            keys: of some of the people who may sign for the role.
            lifetime: time until the new version expires.
            renew_within: unchanged metadata that expires this soon gets a new version.

        Raises:
            VerificationError: a key may not sign for the role.
        """
        current, waiting = self.newest(role), self.staged(role)
        base = waiting or current
        proposed: Kind = empty() if base is None else copy.deepcopy(base.signed)
        edit(proposed)
        if waiting is not None and proposed == waiting.signed:
            metadata: Metadata[Any] = waiting
        elif (
            waiting is None
            and current is not None
            and proposed == current.signed
            and not current.signed.is_expired(now + renew_within)
        ):
            return self._outcome(role, current, self.path(role, current.signed.version))
        else:
            proposed.version = 1 if current is None else current.signed.version + 1
            proposed.expires = (now + lifetime).replace(microsecond=0)
            metadata = Metadata(proposed)
        return self.sign(role, metadata, keys)

    def sign(self, role: str, metadata: Metadata[Any], keys: Sequence[Signer]) -> Staged:
        """Add signatures to a role's metadata and store it.

        Raises:
            VerificationError: a key may not sign for the role.
        """
        allowed = set(self.delegator(role).get_delegated_role(role).keyids)
        if role == "root":
            allowed |= set(metadata.signed.get_delegated_role(role).keyids)
        for key in keys:
            signer = KeySigner(key)
            if signer.public_key.keyid not in allowed:
                raise VerificationError(
                    f"--key {key.public.fingerprint}",
                    expected=f"the key of somebody who signs for {role} in this repository",
                    found="another key",
                    next_step="take one of these keys, or ask the steward to add this one",
                )
            metadata.sign(signer, append=True)
        return self.store(role, metadata)

    def store(self, role: str, metadata: Metadata[Any]) -> Staged:
        """Write a role's metadata: to metadata/ if enough people have signed it, otherwise to staged/."""
        staged_path = self.staged_path(role)
        outcome = self._outcome(role, metadata, staged_path)
        if not outcome.complete:
            staged_path.parent.mkdir(exist_ok=True)
            files.write_bytes(staged_path, metadata.to_bytes())
            return outcome
        path = self.path(role, metadata.signed.version)
        files.write_bytes(path, metadata.to_bytes())
        staged_path.unlink(missing_ok=True)
        return dataclasses.replace(outcome, path=path)

    def add_target(self, target: TargetFile, source: Path) -> Path:
        """Copy a target's file into the repository and check it.

        Raises:
            VerificationError: the source is not the target's file.
        """
        path = self.target_path(target)
        if not (path.is_file() and is_whole(target, path)):
            path.parent.mkdir(parents=True, exist_ok=True)
            copy_file(source, path)
        if not is_whole(target, path):
            path.unlink()
            raise VerificationError(
                source,
                expected=f"{target.length} bytes with the signed digest",
                found="another file",
                next_step="copy it again from the hospital's medium",
            )
        return path

    def _outcome(self, role: str, metadata: Metadata[Any], path: Path) -> Staged:
        return Staged(role, metadata.signed.version, *self.verified(role, metadata), path)

    def _signed(self, role: str, kind: type[Kind]) -> Kind:
        found = self.newest(role)
        if found is None or not isinstance(found.signed, kind):
            raise InputError(
                self.root,
                expected=f"complete metadata of the role {role}",
                found="only some of its signatures" if self.staged(role) else "none",
                next_step="let more holders of root keys give `sharekit repository sign`",
            )
        return found.signed


def hospital_label(role: Any) -> str:
    """The hospital's full name in a delegation."""
    return str(role.unrecognized_fields.get("x-sharekit-hospital", role.name))


def is_whole(target: TargetFile, path: Path) -> bool:
    """Whether a file has a target's length and digests."""
    try:
        with path.open("rb") as file:
            target.verify_length_and_hashes(file)
    except RepositoryError:
        return False
    return True


def copy_file(source: Path, path: Path) -> None:
    """Copy a file so that it appears whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with source.open("rb") as read, temporary.open("wb") as written:
            while chunk := read.read(CHUNK):
                written.write(chunk)
            written.flush()
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_metadata(path: Path) -> Metadata[Any]:
    """Read a file of TUF metadata, whose signatures somebody else checks.

    Raises:
        VerificationError: it is none.
    """
    data = files.read_bytes(path, max_bytes=MAX_METADATA_BYTES)
    files.parse_json(data, path)
    try:
        return Metadata.from_bytes(data)
    except RepositoryError as error:
        raise VerificationError(
            path,
            expected="metadata of The Update Framework",
            found=f"{error}"[:200],
            next_step="copy the repository's folder metadata/ again",
        ) from None
