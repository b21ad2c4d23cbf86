"""What a node's folder holds for the gate: candidates and their audits, read at the edge."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from hospital_node.audit.generator_audit import GeneratorAudit
from hospital_node.ledger.ledger import ImageRecord, ImageState
from hospital_node.node.node import Node
from hospital_node.singan.trained import TrainedGenerator
from sharekit.errors import SharekitError
from sharekit.generator import onnx_policy
from sharekit.storage import files

ASKING = (ImageState.TRAINED, ImageState.AUDITED, ImageState.WITHHELD, ImageState.RELEASED)
"""States of images that have a trained generator."""


@dataclass(frozen=True)
class Candidate:
    """A generator that asks to leave."""

    generator_id: str
    sha256: str | None  # of the candidate's bytes as they are now; None: there are none
    audit: GeneratorAudit | None
    audit_sha256: str | None  # of the audit's file
    withheld: str | None = None  # the ledger's reason, where it says that this generator may not leave


@dataclass(frozen=True)
class Asking:
    """One image whose generator asks to leave. The record holds file names: it stays inside."""

    record: ImageRecord
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
    """Every trained image with its candidate, and, by image, why another cannot even be read."""
    found, unreadable = [], {}
    for record in node.ledger.records(*ASKING):
        try:
            generator = TrainedGenerator.load(node.generator_path(record.id))
        except SharekitError as error:
            unreadable[record.id] = f"the trained generator cannot be read: {error.found}"
            continue
        found.append(Asking(record, generator, _candidate(node, record, generator.spec.id)))
    return found, unreadable


def read_candidate_bytes(node: Node, image_id: str) -> bytes:
    return files.read_bytes(node.candidate_path(image_id), max_bytes=onnx_policy.MAX_BYTES)


def _candidate(node: Node, record: ImageRecord, generator_id: str) -> Candidate:
    withheld = record.reason if record.state is ImageState.WITHHELD else None
    try:
        sha256 = hashlib.sha256(read_candidate_bytes(node, record.id)).hexdigest()
    except SharekitError:
        return Candidate(generator_id, None, None, None, withheld)
    try:
        data = files.read_bytes(node.audit_path(record.id), max_bytes=files.MAX_JSON_BYTES)
        audit = GeneratorAudit.from_json(files.parse_json(data, "audit"))
    except (SharekitError, KeyError, TypeError, ValueError):
        return Candidate(generator_id, sha256, None, None, withheld)
    return Candidate(generator_id, sha256, audit, hashlib.sha256(data).hexdigest(), withheld)
