"""What a node's folder holds for the gate: trained generators with their candidates and audits."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from hospital_node.audit.generator_audit import GeneratorAudit
from hospital_node.ledger.states import GeneratorRecord, GeneratorState
from hospital_node.node.node import Node
from hospital_node.singan.trained import TrainedGenerator
from sharekit.errors import NodeStateError, SharekitError
from sharekit.generator import onnx_policy
from sharekit.storage import files

ASKING = (
    GeneratorState.TRAINED,
    GeneratorState.AUDITED,
    GeneratorState.WITHHELD,
    GeneratorState.RELEASED,
)
"""States of generators that ask to leave."""


@dataclass(frozen=True)
class Candidate:
    """A generator that asks to leave, as the gate sees it."""

    generator_id: str
    sha256: str | None  # of the candidate's bytes as they are now; None: there are none
    audit: GeneratorAudit | None
    audit_sha256: str | None  # of the audit's file
    withheld: str | None = None  # the ledger's reason, where it says that this generator may not leave


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
            ValueError: there is none, so that the gate cannot have allowed it.
        """
        if self.candidate.audit is None:
            raise ValueError(f"generator {self.candidate.generator_id} has no audit")
        return self.candidate.audit

    @property
    def bundle_path(self) -> str:
        return f"generators/{self.candidate.generator_id}.onnx"


def read_asking(node: Node) -> tuple[list[Asking], dict[str, str]]:
    """Every trained generator with its candidate, and, by identifier, why another cannot even be read."""
    found, unreadable = [], {}
    for record in node.ledger.generators.records(*ASKING):
        try:
            generator = load_generator(node, record)
        except SharekitError as error:
            unreadable[record.id] = f"the trained generator cannot be read: {error.found}"
            continue
        found.append(Asking(record, generator, _candidate(node, record)))
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


def _candidate(node: Node, record: GeneratorRecord) -> Candidate:
    withheld = record.reason if record.state is GeneratorState.WITHHELD else None
    try:
        sha256 = hashlib.sha256(read_candidate_bytes(node, record.id)).hexdigest()
    except SharekitError:
        return Candidate(record.id, None, None, None, withheld)
    try:
        data = files.read_bytes(node.audit_path(record.id), max_bytes=files.MAX_JSON_BYTES)
        audit = GeneratorAudit.from_json(files.parse_json(data, "audit"))
    except (SharekitError, KeyError, TypeError, ValueError):
        return Candidate(record.id, sha256, None, None, withheld)
    if audit.group_size != len(record.images):
        # The verdict rests on this number, which a file that anybody may edit must not decide.
        withheld = f"its audit counts {audit.group_size} images behind it, the ledger {len(record.images)}"
    return Candidate(record.id, sha256, audit, hashlib.sha256(data).hexdigest(), withheld)
