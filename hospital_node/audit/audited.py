"""What a node's folder holds for the gate: trained generators with their candidates and audits."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from hospital_node.audit.canaries import TRIAL, planted_in
from hospital_node.audit.generator_audit import SCHEMA_VERSION, GeneratorAudit, version_of
from hospital_node.ledger.states import ASKING, GeneratorRecord, GeneratorState
from hospital_node.node.node import Node
from hospital_node.node.seals import Sealed, is_sealed, seal
from hospital_node.node.units import count_units
from hospital_node.singan.trained import TrainedGenerator
from sharekit.errors import NodeStateError, SharekitError
from sharekit.generator import onnx_policy
from sharekit.storage import files

AUDIT_AGAIN = "audit it anew: hospital-node audit --again"
NO_AUDIT = f"there is no readable audit; {AUDIT_AGAIN}"
_SEAL_BYTES = 64


@dataclass(frozen=True)
class SmallDifference:
    """Another generator whose group shares units with this one, and differs by few."""

    generator_id: str
    units: int


@dataclass(frozen=True)
class Candidate:
    """A generator that asks to leave, as the gate sees it."""

    generator_id: str
    sha256: str | None  # digest of the candidate's present bytes; None: there are none
    audit: GeneratorAudit | None  # None: there is no audit with the node's seal
    audit_sha256: str | None  # digest of the audit's file
    withheld: str | None = None  # the ledger's reason, where it says that this generator may not leave
    units: int = 1  # patients or distinct pictures behind it, by the ledger and the stored pixels
    no_audit: str = NO_AUDIT  # the reason when `audit` is None
    difference: SmallDifference | None = None  # fewer than k units apart from a group that left


@dataclass(frozen=True)
class Asking:
    """One generator that asks to leave, with what the node knows of it. It stays inside."""

    record: GeneratorRecord
    generator: TrainedGenerator
    candidate: Candidate

    @property
    def audit(self) -> GeneratorAudit:
        """The audit of what the gate allowed.

        Raises:
            ValueError: there is no audit, so the gate cannot have allowed it.
        """
        if self.candidate.audit is None:
            raise ValueError(f"generator {self.candidate.generator_id} has no audit")
        return self.candidate.audit

    @property
    def bundle_path(self) -> str:
        return f"generators/{self.candidate.generator_id}.onnx"


def read_asking(node: Node) -> tuple[list[Asking], dict[str, str]]:
    """Every trained generator with its candidate, and by identifier the reason why others cannot be read."""
    found, unreadable = [], {}
    for record in node.ledger.generators.records(*ASKING):
        try:
            generator = load_generator(node, record)
            candidate = _candidate(node, record)
        except SharekitError as error:
            unreadable[record.id] = f"the trained generator or its images cannot be read: {error.found}"
            continue
        found.append(Asking(record, generator, candidate))
    return found, unreadable


def load_generator(node: Node, record: GeneratorRecord) -> TrainedGenerator:
    """The trained generator of a record.

    Raises:
        InputError: the file is missing.
        NodeStateError: the file is damaged, or is of another generator or of another number of images.
    """
    generator = TrainedGenerator.load(node.generator_path(record.id))
    if (generator.spec.id, generator.group_size) != (record.id, len(record.images)):
        raise NodeStateError(
            record.id,
            expected=f"a generator of {len(record.images)} images, as the ledger says",
            found=f"generator {generator.spec.id} of {generator.group_size} images",
            next_step="find out who changed the node's files; ingest into a new node",
        )
    return generator


def images_behind(asking: Iterable[Asking]) -> tuple[str, ...]:
    """Identifiers of the distinct images behind generators, in the order of the generators."""
    return tuple(dict.fromkeys(image for item in asking for image in item.record.images))


def read_candidate_bytes(node: Node, generator_id: str) -> bytes:
    return files.read_bytes(node.candidate_path(generator_id), max_bytes=onnx_policy.MAX_BYTES)


def store_audit(node: Node, record: GeneratorRecord, audit: GeneratorAudit) -> None:
    """Write an audit, sealed for the gate."""
    data = files.dump_json(audit.to_json())
    # The seal comes first: an interrupted audit leaves no audit, and is made again.
    found = seal(node, Sealed.AUDIT, *_sealed_with(node, record), data)
    files.write_bytes(node.audit_seal_path(record.id), found.encode(), mode=0o600)
    files.write_bytes(node.audit_path(record.id), data, mode=0o600)


class _Stored(NamedTuple):
    """An audit as its file holds it, or why it does not count."""

    audit: GeneratorAudit | None
    sha256: str | None
    reason: str = NO_AUDIT


def _candidate(node: Node, record: GeneratorRecord) -> Candidate:
    withheld = record.reason if record.state is GeneratorState.WITHHELD else None
    if planted_in(node) is not None:
        withheld = TRIAL
    units = count_units(node, record.images)
    try:
        sha256 = hashlib.sha256(read_candidate_bytes(node, record.id)).hexdigest()
    except SharekitError:
        return Candidate(record.id, None, None, None, withheld, units)
    stored = _load_audit(node, record)
    return Candidate(record.id, sha256, stored.audit, stored.sha256, withheld, units, stored.reason)


def _load_audit(node: Node, record: GeneratorRecord) -> _Stored:
    try:
        data = files.read_bytes(node.audit_path(record.id), max_bytes=files.MAX_JSON_BYTES)
    except SharekitError:
        return _Stored(None, None)
    try:
        found = files.read_bytes(node.audit_seal_path(record.id), max_bytes=_SEAL_BYTES).decode("ascii")
    except (SharekitError, ValueError):
        return _Stored(None, None, f"its audit has no seal of this node; {AUDIT_AGAIN}")
    if not is_sealed(node, found, Sealed.AUDIT, *_sealed_with(node, record), data):
        reason = "its audit, trained file or images changed after the audit"
        return _Stored(None, None, f"{reason}; {AUDIT_AGAIN}")
    try:
        value = files.parse_json(data, "audit")
        if version_of(value) < SCHEMA_VERSION:
            again = f"hospital-node audit --node {shlex.quote(str(node.root))} --again"
            reason = (
                f"its audit is of version {version_of(value)}, which made fewer attacks; repeat it: {again}"
            )
            return _Stored(None, None, reason)
        audit = GeneratorAudit.from_json(value)
    except (SharekitError, AttributeError, KeyError, TypeError, ValueError):
        return _Stored(None, None)
    return _Stored(audit, hashlib.sha256(data).hexdigest())


def _sealed_with(node: Node, record: GeneratorRecord) -> tuple[bytes, bytes, bytes]:
    """What an audit's seal covers in addition to the audit itself: generator, images, trained file."""
    trained = hashlib.sha256(node.generator_path(record.id).read_bytes()).digest()
    return record.id.encode(), "\n".join(record.images).encode(), trained
