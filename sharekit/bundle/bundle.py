"""When is a bundle authentic? It is written, signed and re-opened here, and verified here on the other side.

Nothing is interpreted before it is known to be what the hospital signed: the signature by a pinned key comes
first, then each file's length and digest, then its content.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sharekit.bundle import manifest
from sharekit.bundle.manifest import MANIFEST_NAME, FileEntry, Manifest
from sharekit.errors import UsageError, VerificationError
from sharekit.generator import onnx_policy
from sharekit.signing import dsse, oms
from sharekit.signing.keys import PublicKey, SigningKey
from sharekit.signing.oms import SIGNATURE_NAME
from sharekit.storage import container, files, schema
from sharekit.storage.container import Container
from sharekit.storage.names import printable

AUTHENTIC = "authentic"
"""The only verdict without a repository: the signature holds; whether a newer release exists is unknown."""

PRIVACY_NAME = "privacy.json"
PROVENANCE_NAME = "provenance.json"
CARD_NAME = "CARD.md"
PRIVACY_PREDICATE = "urn:sharekit:privacy:v1"
PROVENANCE_PREDICATE = "https://slsa.dev/provenance/v1"

ATTESTATIONS: Mapping[str, str] = {PRIVACY_NAME: PRIVACY_PREDICATE, PROVENANCE_NAME: PROVENANCE_PREDICATE}
"""Predicate type of each file that is an in-toto statement in an envelope of its own."""

REQUIRED = frozenset({MANIFEST_NAME, CARD_NAME, *ATTESTATIONS})


@dataclass(frozen=True)
class VerifiedBundle:
    """A bundle that one of the pinned keys signed, as a whole. Made by `verify_bundle` alone."""

    container: Container
    manifest: Manifest
    key: PublicKey
    digests: Mapping[str, str]
    """SHA-256 of every file but the signature, as signed."""
    verdict: str = AUTHENTIC

    @property
    def path(self) -> Path:
        return self.container.path

    @property
    def fingerprint(self) -> str:
        """Of the key that signed."""
        return self.key.fingerprint

    @property
    def manifest_sha256(self) -> str:
        """Names this release of this bundle: the manifest holds every other file's digest."""
        return self.digests[MANIFEST_NAME]

    @property
    def names(self) -> tuple[str, ...]:
        """Every file but the signature, sorted."""
        return tuple(sorted(self.digests))

    def read(self, name: str) -> bytes:
        """The bytes of a file, checked against the signed digest at this very reading.

        Raises:
            VerificationError: the file has changed since, or the bundle has no such file.
        """
        if name not in self.digests:
            raise _refusal(name, "a file of the bundle", "no such file")
        return _checked(name, self.container.read(name), self.digests[name])


def verify_bundle(path: Path, keys: Sequence[PublicKey]) -> VerifiedBundle:
    """Verify a bundle, a folder or a zip, completely; each file is read once.

    Args:
        path: the folder or zip.
        keys: the pinned keys, one of which must have signed.

    Raises:
        VerificationError: naming the file that does not hold.
        InputError: there is nothing at `path`.
    """
    if not keys:
        raise UsageError(
            "keys", expected="at least one pinned public key", found="none", next_step="name one"
        )
    box = container.open_container(path)
    require_files(box.lengths)
    signed, key = oms.verify(box.read(SIGNATURE_NAME), keys)
    digests = signed.digests
    check_listing(box.lengths, digests)
    claims = manifest.parse(_checked(MANIFEST_NAME, box.read(MANIFEST_NAME), digests[MANIFEST_NAME]))
    check_manifest(claims, box.lengths, digests)
    for name in sorted(set(digests) - {MANIFEST_NAME}):
        check_content(name, _checked(name, box.read(name), digests[name]), claims, key)
    return VerifiedBundle(box, claims, key, digests)


def read_claims(path: Path) -> tuple[Manifest, Mapping[str, int]]:
    """What a bundle claims to hold, and the lengths of its files. Nothing of it is verified.

    Raises:
        VerificationError: not even the form holds.
        InputError: there is nothing at `path`.
    """
    box = container.open_container(path)
    require_files(box.lengths)
    return manifest.parse(box.read(MANIFEST_NAME)), box.lengths


def write_bundle(
    out: Path, contents: Mapping[str, bytes], claims: Manifest, key: SigningKey
) -> VerifiedBundle:
    """Write, sign, re-open and verify a bundle; only then does it get its name.

    Args:
        out: a new folder, or a new zip when it ends in `.zip`.
        contents: every file but the manifest and the signature; each is taken from the mapping once.
        claims: the manifest; its `files` are filled in here.
        key: the hospital's key.

    Raises:
        InputError: `out` exists already, or a zip would be too long.
        VerificationError: what was written does not verify, because `contents` and `claims` disagree.
    """
    with container.new_container(out) as writer:
        entries = []
        for name in sorted(contents):
            data = contents[name]
            entries.append(FileEntry(name, len(data), _sha256(data)))
            writer.add(name, data)
        claims = dataclasses.replace(claims, files=tuple(entries))
        manifest_bytes = files.dump_json(claims.to_json())
        writer.add(MANIFEST_NAME, manifest_bytes)
        digests = {entry.path: entry.sha256 for entry in entries} | {MANIFEST_NAME: _sha256(manifest_bytes)}
        model = f"{claims.hospital}, release {claims.release}"
        writer.add(SIGNATURE_NAME, oms.sign(model, digests, key))
        writer.close()
        verified = verify_bundle(writer.path, [key.public])
    return dataclasses.replace(verified, container=verified.container.moved(out))


def require_files(names: Iterable[str]) -> None:
    """Refuse a bundle without the files that every bundle has.

    Raises:
        VerificationError: naming the missing file.
    """
    missing = sorted((REQUIRED | {SIGNATURE_NAME}) - set(names))
    if missing:
        raise _refusal(missing[0], "the file in the bundle", "it is missing")


def check_listing(present: Iterable[str], signed: Iterable[str]) -> None:
    """Refuse a bundle whose files are not exactly the signed ones and the signature.

    Raises:
        VerificationError: naming an unlisted or missing file.
    """
    expected, found = set(signed) | {SIGNATURE_NAME}, set(present)
    for name in sorted(found - expected):
        raise _refusal(name, "only files that the signature covers", "an unsigned file")
    for name in sorted(expected - found):
        raise _refusal(name, "every file that the signature covers", "it is missing")


def check_manifest(claims: Manifest, lengths: Mapping[str, int], digests: Mapping[str, str]) -> None:
    """Refuse a manifest that does not describe exactly the signed files.

    Raises:
        VerificationError: naming the manifest or the file.
    """
    described = {entry.path: entry for entry in claims.files}
    others = set(digests) - {MANIFEST_NAME}
    if described.keys() != others:
        odd = min(described.keys() ^ others)
        raise _refusal(MANIFEST_NAME, "the signed files, each once", f"a difference at {printable(odd)}")
    for name, entry in described.items():
        if (entry.length, entry.sha256) != (lengths[name], digests[name]):
            found = f"{lengths[name]} bytes, {digests[name]}"
            raise _refusal(name, f"{entry.length} bytes, {entry.sha256}, as in the manifest", found)


def check_content(name: str, data: bytes, claims: Manifest, key: PublicKey) -> None:
    """Check the content of a file whose digest is right: a signer, too, can be wrong or misled.

    Raises:
        VerificationError: an attestation by another key or about other files, JSON that does not fit its
            schema, or a generator that the ONNX policy refuses.
    """
    if name in ATTESTATIONS:
        check_attestation(name, data, claims, key)
    elif name.endswith(".json"):
        value = files.parse_json(data, name)
        if PurePosixPath(name).stem in schema.names():
            schema.validate(PurePosixPath(name).stem, value, name)
    for entry in claims.generators:
        if entry.file == name:
            onnx_policy.check_generator(data, name, entry.spec)


def check_attestation(name: str, data: bytes, claims: Manifest, key: PublicKey) -> None:
    """Check an in-toto statement: signed by the same key, of its predicate type, about these generators.

    Raises:
        VerificationError: naming the file.
    """
    statement = dsse.verify_statement(dsse.Envelope.from_bytes(data, name), [key], item=name)
    if statement.predicate_type != ATTESTATIONS[name]:
        raise _refusal(name, f"predicate type {ATTESTATIONS[name]}", f"{statement.predicate_type!r:.100}")
    schema.validate(PurePosixPath(name).stem, dict(statement.predicate), name)
    subjects = sorted((subject.name, subject.sha256) for subject in statement.subjects)
    _require_same(name, subjects, sorted((entry.file, entry.sha256) for entry in claims.generators))
    if name == PRIVACY_NAME:
        audits = statement.predicate["audits"]
        found = sorted((one["generator_id"], one["candidate_sha256"], one["verdict"]) for one in audits)
        _require_same(
            name, found, sorted((entry.spec.id, entry.sha256, entry.verdict) for entry in claims.generators)
        )


def _require_same(name: str, found: Sequence[tuple[str, ...]], expected: Sequence[tuple[str, ...]]) -> None:
    if found != expected:
        odd = min(set(found) ^ set(expected), default=("an entry twice",))
        raise _refusal(name, "the generators of the manifest, each once", f"a difference at {odd!r:.300}")


def _checked(name: str, data: bytes, sha256: str) -> bytes:
    found = _sha256(data)
    if found != sha256:
        raise _refusal(name, f"SHA-256 {sha256}, as signed", found)
    return data


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _refusal(name: str, expected: str, found: str) -> VerificationError:
    return VerificationError(
        printable(name),
        expected=expected,
        found=found,
        next_step="do not use this bundle; fetch it again from the hospital",
    )
