"""When is a bundle authentic? The hospital writes, signs and re-opens it here; the consumer verifies it here.

Verification interprets nothing that the hospital did not sign: it checks the signature by a pinned key first,
then each file's length and digest, then the content. It refuses files that the manifest's schema does not
name, signed or not. Files are checked side by side, each of them read, checked and let go.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path, PurePosixPath
from typing import Any

from sharekit.bundle import manifest, style_statistics
from sharekit.bundle.manifest import MANIFEST_NAME, BundleWarning, FeatureSource, FileEntry, Manifest
from sharekit.bundle.style_statistics import StyleStatistics
from sharekit.errors import UsageError, VerificationError
from sharekit.generator import onnx_policy
from sharekit.generator.cost import Computation, Step
from sharekit.signing import dsse, oms
from sharekit.signing.keys import PublicKey, Signer
from sharekit.signing.oms import SIGNATURE_NAME
from sharekit.storage import container, files, schema
from sharekit.storage.container import Container
from sharekit.storage.names import extra_file, hidden_character, printable

AUTHENTIC = "authentic"
"""The verdict without a repository: the signature is valid, and a newer release may exist."""

PRIVACY_NAME = "privacy.json"
PROVENANCE_NAME = "provenance.json"
CARD_NAME = "CARD.md"
STATISTICS_NAME = "statistics.json"
PRIVACY_PREDICATE = "urn:sharekit:privacy:v1"
PROVENANCE_PREDICATE = "https://slsa.dev/provenance/v1"

ATTESTATIONS: Mapping[str, str] = {PRIVACY_NAME: PRIVACY_PREDICATE, PROVENANCE_NAME: PROVENANCE_PREDICATE}
"""Predicate type of each file that holds an in-toto statement in its own envelope."""

REQUIRED = frozenset({MANIFEST_NAME, CARD_NAME, *ATTESTATIONS})
MAX_CARD_BYTES = 2**20
AT_ONCE = min(4, os.cpu_count() or 1)
"""Files that are read and checked at the same time."""


@dataclass(frozen=True)
class VerifiedBundle:
    """A bundle that one of the pinned keys signed as a whole. Only `verify_bundle` makes one."""

    container: Container
    manifest: Manifest
    key: PublicKey
    digests: Mapping[str, str]
    """File name to signed SHA-256, for every file except the signature."""
    computations: Mapping[str, Computation]
    """Generator file to its operators, from which the cost of a request follows before the file is loaded.

    After a verification with `Depth.ON_USE`, looking a generator up verifies its file; see `prove`.
    """
    warnings: tuple[BundleWarning, ...] = ()
    """What a person should know before using the bundle, at the time of verification."""
    verdict: str = AUTHENTIC
    freshness: str = "unknown"
    """`current` or `superseded` if a repository has said so, otherwise `unknown`."""

    @property
    def path(self) -> Path:
        return self.container.path

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the key that signed the bundle."""
        return self.key.fingerprint

    @property
    def manifest_sha256(self) -> str:
        """SHA-256 of the manifest. It identifies the release, as the manifest holds all other digests."""
        return self.digests[MANIFEST_NAME]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all files except the signature, sorted."""
        return tuple(sorted(self.digests))

    def read(self, name: str) -> bytes:
        """Read a file and check its bytes against the signed digest.

        Raises:
            VerificationError: the file has changed since verification, or the bundle has no such file.
        """
        if name not in self.digests:
            raise _refusal(name, "a file of the bundle", "no such file")
        return _checked(name, self.container.read(name), self.digests[name])

    def prove(self, generators: Iterable[str]) -> None:
        """Verify these generators' files side by side, unless that was done before.

        Raises:
            VerificationError: a digest or an ONNX rule does not hold; the error names the file.
        """
        with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
            for _ in pool.map(self.computations.__getitem__, generators):
                pass

    def to_json(self) -> dict[str, Any]:
        """The result that `sharekit verify` prints."""
        claims = self.manifest
        return {
            "bundle": str(self.path),
            "verdict": self.verdict,
            "freshness": self.freshness,
            "hospital": claims.hospital,
            "release": claims.release,
            "created": claims.created.isoformat(),
            "expires": claims.expires.isoformat(),
            "expired": any(warning.kind == manifest.EXPIRED for warning in self.warnings),
            "warnings": [warning.to_json() for warning in self.warnings],
            "fingerprint": self.fingerprint,
            "manifest_sha256": self.manifest_sha256,
            "files": len(self.names),
            "generators": len(claims.generators),
        }


class Depth(Enum):
    """How much of the generators a verification checks; it checks everything else in any case."""

    FULL = "full"
    """Length, digest and ONNX rules of every generator."""
    DIGESTS = "digests"
    """Length and digest of every generator; the ONNX rules when it is used."""
    ON_USE = "on use"
    """Nothing of a generator before it is used: opening one of a thousand costs one."""


def verify_bundle(
    path: Path, keys: Sequence[PublicKey], now: datetime | None = None, depth: Depth = Depth.FULL
) -> VerifiedBundle:
    """Verify a bundle (a folder or a zip), reading each file once.

    Args:
        path: the folder or zip.
        keys: the pinned keys, one of which must have signed the bundle.
        now: UTC, for the warnings; None reads the clock.
        depth: how much of the generators to check now.

    Raises:
        VerificationError: a check failed; the error names the file.
        InputError: nothing exists at `path`.
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
    if isinstance(box, container.Zip):
        check_order(box.lengths, path)
    claims = manifest.parse(_checked(MANIFEST_NAME, box.read(MANIFEST_NAME), digests[MANIFEST_NAME]))
    check_manifest(claims, digests)
    specs = {entry.file: entry.spec for entry in claims.generators}
    lazy = _OnUse(box, claims)

    def check(entry: FileEntry) -> bytes | Computation | None:
        """Check one file; style files are checked together afterwards, so their content is kept."""
        name = entry.path
        if name in specs:
            if depth is Depth.FULL:
                return lazy[name]
            if depth is Depth.DIGESTS and (box.lengths[name], box.sha256(name)) != (
                entry.length,
                entry.sha256,
            ):
                # Read again, for the words of the error.
                _checked(name, box.read(name), entry.sha256, entry.length)
            return None
        data = _checked(name, box.read(name), entry.sha256, entry.length)
        if name.startswith(f"{style_statistics.FOLDER}/"):
            return data
        check_content(name, data, claims, key)
        return None

    style: dict[str, bytes] = {}
    computations: dict[str, Computation] = {}
    shared: dict[tuple[Step, ...], tuple[Step, ...]] = {}
    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        for entry, found in zip(claims.files, pool.map(check, claims.files), strict=True):
            if isinstance(found, Computation):
                # Generators of one architecture share their steps.
                steps = shared.setdefault(found.steps, found.steps)
                computations[entry.path] = dataclasses.replace(found, steps=steps)
            elif found is not None:
                style[entry.path] = found
    check_style(style, claims)
    warnings = claims.warnings(now or datetime.now(UTC))
    known = computations if depth is Depth.FULL else lazy
    return VerifiedBundle(box, claims, key, digests, known, warnings)


class _OnUse(Mapping[str, Computation]):
    """The computations of a bundle's generators; looking one up verifies its file."""

    def __init__(self, box: Container, claims: Manifest) -> None:
        self._box = box
        self._generators = {entry.file: entry for entry in claims.generators}
        self._files = {entry.path: entry for entry in claims.files}
        self._known: dict[str, Computation] = {}

    def __getitem__(self, name: str) -> Computation:
        if name not in self._known:
            entry, generator = self._files[name], self._generators[name]
            data = _checked(name, self._box.read(name), entry.sha256, entry.length)
            self._known[name] = onnx_policy.check_generator(data, name, generator.spec)
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._generators)

    def __len__(self) -> int:
        return len(self._generators)


def read_claims(path: Path) -> tuple[Manifest, Mapping[str, int]]:
    """Read what a bundle claims to hold, and the lengths of its files, without verifying anything.

    Raises:
        VerificationError: the bundle or its manifest is malformed.
        InputError: nothing exists at `path`.
    """
    box = container.open_container(path)
    require_files(box.lengths)
    return manifest.parse(box.read(MANIFEST_NAME)), box.lengths


def write_bundle(out: Path, contents: Mapping[str, bytes], claims: Manifest, key: Signer) -> VerifiedBundle:
    """Write, sign, re-open and verify a bundle, then give it its final name.

    Args:
        out: a new folder, or a new zip when it ends in `.zip`.
        contents: name to bytes of every file except the manifest and the signature; each is looked up once.
        claims: the manifest; this function fills in its `files`.
        key: the hospital's key.

    Raises:
        InputError: `out` exists already, or a zip would be too long.
        VerificationError: the written bundle does not verify, because `contents` and `claims` disagree.
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
    """Refuse a bundle that lacks a required file.

    Raises:
        VerificationError: naming the missing file.
    """
    missing = sorted((REQUIRED | {SIGNATURE_NAME}) - set(names))
    if missing:
        raise _refusal(missing[0], "the file in the bundle", "it is missing")


def check_listing(present: Iterable[str], signed: Iterable[str]) -> None:
    """Refuse a bundle unless it holds exactly the signed files and the signature, all of known kinds.

    Raises:
        VerificationError: naming an unlisted, missing or unknown file.
    """
    expected, found = set(signed) | {SIGNATURE_NAME}, set(present)
    for name in sorted(found - expected):
        raise extra_file(name)
    for name in sorted(expected - found):
        raise _refusal(name, "every file that the signature covers", "it is missing")
    for name in sorted(expected - {SIGNATURE_NAME, MANIFEST_NAME}):
        if not manifest.is_known_file(name):
            raise _refusal(name, "only files of the kinds that a bundle has", "a signed file of another kind")


def check_order(names: Iterable[str], path: Path) -> None:
    """Refuse a zip whose files are not in the order that `write_bundle` uses, so equal files make equal zips.

    Raises:
        VerificationError: naming the zip.
    """
    last = [MANIFEST_NAME, SIGNATURE_NAME]
    found = list(names)
    if found != sorted(set(found) - set(last)) + last:
        expected = f"files in the order of their names, then {MANIFEST_NAME} and {SIGNATURE_NAME}"
        raise _refusal(str(path), expected, "another order")


def check_manifest(claims: Manifest, digests: Mapping[str, str]) -> None:
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
        if entry.sha256 != digests[name]:
            expected = f"SHA-256 {entry.sha256} in the signature, as in the manifest"
            raise _refusal(name, expected, digests[name])


def check_content(name: str, data: bytes, claims: Manifest, key: PublicKey) -> None:
    """Check the card, an attestation or the statistics, because a signer can be wrong or misled too.

    Raises:
        VerificationError: an attestation is by another key or about other files, JSON does not fit its
            schema, or the card is not plain text.
    """
    if name == CARD_NAME:
        check_card(data)
    elif name in ATTESTATIONS:
        check_attestation(name, data, claims, key)
    else:
        schema.validate(PurePosixPath(name).stem, files.parse_json(data, name), name)


def check_card(data: bytes) -> None:
    """Refuse a card that is not plain text, so that every program shows it as it is.

    Raises:
        VerificationError: naming the card.
    """
    if len(data) > MAX_CARD_BYTES:
        raise _refusal(CARD_NAME, f"at most {MAX_CARD_BYTES} bytes", f"{len(data)} bytes")
    try:
        hidden = hidden_character(data.decode())
    except UnicodeDecodeError:
        raise _refusal(CARD_NAME, "text in UTF-8", "other bytes") from None
    if hidden is not None:
        raise _refusal(CARD_NAME, "text without control characters", f"the character {hidden}")


def check_style(contents: Mapping[str, bytes], claims: Manifest) -> None:
    """Refuse style statistics that differ from their description or belong to another feature network.

    Args:
        contents: path to bytes of every file in `style/`; empty if the bundle has none.
        claims: the manifest.

    Raises:
        VerificationError: naming the file.
    """
    if not contents:
        network = None
    else:
        # The schema's minimum; the consumer's own policy decides how many images are enough.
        statistics = StyleStatistics.from_files(contents, min_images=2)
        for name in sorted(contents.keys() - statistics.to_files().keys()):
            raise _refusal(name, "a layer of the style's description", "another file")
        network = FeatureSource(statistics.network, statistics.network_sha256)
    if network != claims.dependencies.features:
        name = style_statistics.DESCRIPTION_FILE
        raise _refusal(name, "the feature network of the manifest", "another, or none")


def check_attestation(name: str, data: bytes, claims: Manifest, key: PublicKey) -> None:
    """Check that the same key signed an in-toto statement, of the right type and about these generators.

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
        units = {one["generator_id"]: one["group_size"] for one in audits}
        for entry in claims.generators:
            behind = units.get(entry.spec.id)
            if entry.group is not None and entry.group.units != behind:
                expected = f"the manifest's {entry.group.units} units behind generator {entry.spec.id}"
                raise _refusal(name, expected, f"{behind}")
        found = sorted((one["generator_id"], one["candidate_sha256"], one["verdict"]) for one in audits)
        _require_same(
            name, found, sorted((entry.spec.id, entry.sha256, entry.verdict) for entry in claims.generators)
        )


def _require_same(name: str, found: Sequence[tuple[str, ...]], expected: Sequence[tuple[str, ...]]) -> None:
    if found != expected:
        odd = min(set(found) ^ set(expected), default=("an entry twice",))
        raise _refusal(name, "the generators of the manifest, each once", f"a difference at {odd!r:.300}")


def _checked(name: str, data: bytes, sha256: str, length: int | None = None) -> bytes:
    """Return the bytes of a file if they have the signed digest, and the signed length if there is one."""
    found = _sha256(data)
    if found == sha256 and length in (None, len(data)):
        return data
    expected = f"{'' if length is None else f'{length} bytes, '}SHA-256 {sha256}, as signed"
    if files.is_lfs_pointer(data):
        raise files.lfs_pointer(name, expected)
    raise _refusal(name, expected, f"{len(data)} bytes, SHA-256 {found}")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _refusal(name: str, expected: str, found: str) -> VerificationError:
    return VerificationError(
        printable(name),
        expected=expected,
        found=found,
        next_step="do not use this bundle; fetch it again from the hospital",
    )
