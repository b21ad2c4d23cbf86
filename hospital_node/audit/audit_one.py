"""The audit of one generator of a node: its candidate, every attack on it, and what follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from hospital_node.audit.attack import Array, AttackContext, AuditLimits, StyleTarget
from hospital_node.audit.attack_context import Known, attack_context
from hospital_node.audit.audit_settings import AuditSettings, samples_of
from hospital_node.audit.audited import load_generator, store_audit
from hospital_node.audit.canaries import planted_in
from hospital_node.audit.candidate_draws import Drawn, draw_candidate
from hospital_node.audit.generator_audit import GeneratorAudit, audit_generator
from hospital_node.audit.real_images import Control, Unit, further_frames, real_images, units_of
from hospital_node.candidate.build import build_onnx
from hospital_node.candidate.measure_parity import measure_parity
from hospital_node.ledger.states import GeneratorRecord, GeneratorState
from hospital_node.node.node import Node
from hospital_node.node.units import count_units
from hospital_node.singan.trained import TrainedGenerator
from sharekit.program.phrases import counted
from sharekit.storage import files


@dataclass(frozen=True)
class OtherGenerator:
    """A generator of the node whose samples are compared with sources that it never saw."""

    units: Unit  # identifiers of every image of its sources' units
    drawn: Drawn


@dataclass(frozen=True)
class Outcome:
    """The audit's outcome for one generator."""

    generator_id: str
    images: int
    """Images behind it."""
    state: GeneratorState
    reason: str
    audit: GeneratorAudit | None  # None: the audit itself failed

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.generator_id,
            "images": self.images,
            "state": str(self.state),
            "reason": self.reason,
            "audit": None if self.audit is None else self.audit.to_json(),
        }


@dataclass(frozen=True)
class Comparison:
    """What the candidates of one run are compared with."""

    units: Sequence[Unit]
    pool: Sequence[Control]
    others: Sequence[OtherGenerator]
    style: StyleTarget | str = "no generator is audited"  # or another reason why samples are not styled
    styled: frozenset[str] = frozenset()  # generators whose samples are styled

    def style_for(self, generator_id: str) -> StyleTarget | str:
        if isinstance(self.style, str) or generator_id in self.styled:
            return self.style
        return f"this run styled samples of {counted(len(self.styled), 'other generator')}"


def audit_one(
    node: Node,
    record: GeneratorRecord,
    compared: Comparison,
    limits: AuditLimits,
    settings: AuditSettings,
) -> Outcome:
    """Build the candidate, attack it, and store both; a fault becomes an outcome, and the audit goes on."""
    images = len(record.images)
    try:
        generator = load_generator(node, record)
        candidate = build_onnx(generator)
        # An audit of earlier bytes must never lie next to new ones.
        node.audit_path(record.id).unlink(missing_ok=True)
        node.audit_seal_path(record.id).unlink(missing_ok=True)
        files.write_bytes(node.candidate_path(record.id), candidate, mode=0o600)
        context = _context(node, record, generator, candidate, compared, limits, settings)
        parity = measure_parity(generator, candidate, settings.seed)
        audit = audit_generator(context, parity)
        store_audit(node, record, audit)
    except Exception as error:
        reason = f"the audit failed: {type(error).__name__}: {error}"
        return Outcome(record.id, images, GeneratorState.WITHHELD, reason, None)
    if audit.passed:
        return Outcome(record.id, images, GeneratorState.AUDITED, str(audit.verdict), audit)
    return Outcome(record.id, images, GeneratorState.WITHHELD, "; ".join(audit.objections), audit)


def _context(
    node: Node,
    record: GeneratorRecord,
    generator: TrainedGenerator,
    candidate: bytes,
    compared: Comparison,
    limits: AuditLimits,
    settings: AuditSettings,
) -> AttackContext:
    real = real_images(node, record, generator, compared.pool)
    known = Known(
        real.sources,
        count_units(node, record.images),
        real.controls,
        further_frames(node, record.images, compared.units),
        real.content,
        _canaries(node, record, generator),
    )
    own = units_of(record.images, compared.units)
    other = next((one.drawn for one in compared.others if one.units.isdisjoint(own)), None)
    # The draws of the other generators serve their own audits as well: drawing takes half of an audit.
    known_draws = (one.drawn for one in compared.others if one.drawn.candidate == candidate)
    drawn = next(known_draws, None) or draw_for_audit(generator, candidate, limits, settings)
    context = attack_context(generator.spec, drawn, known, other, limits, settings.seed)
    return replace(context, style=compared.style_for(record.id))


def _canaries(node: Node, record: GeneratorRecord, generator: TrainedGenerator) -> tuple[Array, ...]:
    """The patterns that were planted in its sources, if it learnt them at their own size."""
    planted, spec = planted_in(node), generator.spec
    if planted is None or planted.image not in record.images:
        return ()
    image = node.ledger.get(planted.image)
    same_size = (image.height, image.width) == (spec.height, spec.width)
    return planted.patterns(spec.layout.image_channels) if same_size else ()


def draw_for_audit(
    generator: TrainedGenerator, candidate: bytes, limits: AuditLimits, settings: AuditSettings
) -> Drawn:
    count = settings.samples or samples_of(generator.config, limits.min_samples)
    return draw_candidate(candidate, generator.spec, settings.seed, count)
