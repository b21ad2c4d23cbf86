"""The audit of a node: every trained generator gets a candidate, an audit, and the state that follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hospital_node.audit.attack import AttackContext, AuditLimits
from hospital_node.audit.attack_context import Known, attack_context
from hospital_node.audit.audit_settings import AuditSettings, samples_of
from hospital_node.audit.audited import load_generator, store_audit
from hospital_node.audit.candidate_draws import Drawn, draw_candidate
from hospital_node.audit.generator_audit import GeneratorAudit, audit_generator
from hospital_node.audit.real_images import (
    Control,
    Unit,
    control_pool,
    further_frames,
    node_units,
    real_images,
    units_of,
)
from hospital_node.candidate import build_onnx, measure_parity
from hospital_node.ledger.states import GeneratorRecord, GeneratorState
from hospital_node.node import history
from hospital_node.node.node import Node
from hospital_node.node.units import count_units
from hospital_node.singan.trained import TrainedGenerator
from sharekit.errors import UsageError
from sharekit.generator.noise import MAX_SEED
from sharekit.generator.spec import short_id
from sharekit.program.progress import Progress, ProgressCallback, ignore
from sharekit.storage import files

OTHERS = 2
"""Generators kept for comparison: one that never saw the sources of another, in most nodes."""
AUDITED_BEFORE = (GeneratorState.AUDITED, GeneratorState.WITHHELD, GeneratorState.RELEASED)


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
class AuditReport:
    """The outcomes of every generator that this run audited."""

    outcomes: tuple[Outcome, ...]

    @property
    def failed(self) -> int:
        """How many audits could not be made."""
        return sum(outcome.audit is None for outcome in self.outcomes)

    @property
    def withheld(self) -> int:
        """How many generators their audit withholds."""
        held = [outcome for outcome in self.outcomes if outcome.state is GeneratorState.WITHHELD]
        return len(held) - self.failed

    @property
    def audited(self) -> int:
        """How many generators may be put forward."""
        return len(self.outcomes) - self.withheld - self.failed

    def to_json(self) -> dict[str, Any]:
        return {
            "audited": self.audited,
            "withheld": self.withheld,
            "failed": self.failed,
            "generators": [outcome.to_json() for outcome in self.outcomes],
        }


def audit_node(
    node: Node,
    limits: AuditLimits,
    settings: AuditSettings,
    *,
    on_progress: ProgressCallback = ignore,
) -> AuditReport:
    """Audit every trained generator of a node.

    Args:
        node: its write lock is taken.
        limits: of the release policy.
        settings: samples, seed, and what is audited.
        on_progress: called after every generator.

    Raises:
        UsageError: too few samples, or a seed out of range.
        NodeStateError: another process writes the node.

    A fault in one generator withholds that generator; the audit goes on with the others.
    """
    _check(settings, limits)
    with node.write_lock():
        records = _waiting(node, settings.again)
        largest = max((len(one.images) for one in records), default=0)
        compared = _compared(node, largest, limits, settings) if records else _Compared((), (), ())
        outcomes = []
        for number, generator in enumerate(records):
            on_progress(Progress(number, len(records), message=short_id(generator.id)))
            outcome = _audit_one(node, generator, compared, limits, settings)
            node.ledger.generators.transition(generator.id, outcome.state, outcome.reason)
            outcomes.append(outcome)
        on_progress(Progress(len(records), len(records)))
        report = AuditReport(tuple(outcomes))
        if outcomes:
            history.record(
                node,
                history.Action.AUDIT,
                again=settings.again,
                samples=settings.samples,
                seed=settings.seed,
                audited=report.audited,
                withheld=report.withheld,
                failed=report.failed,
            )
    return report


def _check(settings: AuditSettings, limits: AuditLimits) -> None:
    few = settings.samples is not None and settings.samples < limits.min_samples
    if few or not 0 <= settings.seed <= MAX_SEED:
        raise UsageError(
            "--samples" if few else "--seed",
            expected=f"at least {limits.min_samples} samples and a seed from 0 to {MAX_SEED}",
            found=f"{settings.samples} samples, seed {settings.seed}",
            next_step="give another number",
        )


def _waiting(node: Node, again: bool) -> list[GeneratorRecord]:
    """Generators without an audit, those whose audit failed included; with `again` every trained one."""
    table = node.ledger.generators
    if again:
        return table.records(GeneratorState.TRAINED, *AUDITED_BEFORE)
    return [
        record
        for record in table.records(GeneratorState.TRAINED, GeneratorState.WITHHELD)
        if record.state is GeneratorState.TRAINED or not node.audit_path(record.id).exists()
    ]


def _audit_one(
    node: Node,
    record: GeneratorRecord,
    compared: _Compared,
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


@dataclass(frozen=True)
class _Compared:
    """What the candidates of one run are compared with."""

    units: Sequence[Unit]
    pool: Sequence[Control]
    others: Sequence[OtherGenerator]


def _context(
    node: Node,
    record: GeneratorRecord,
    generator: TrainedGenerator,
    candidate: bytes,
    compared: _Compared,
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
    )
    own = units_of(record.images, compared.units)
    other = next((one.drawn for one in compared.others if one.units.isdisjoint(own)), None)
    drawn = _draw(generator, candidate, limits, settings)
    return attack_context(generator.spec, drawn, known, other, limits, settings.seed)


def _draw(
    generator: TrainedGenerator, candidate: bytes, limits: AuditLimits, settings: AuditSettings
) -> Drawn:
    count = settings.samples or samples_of(generator.config, limits.min_samples)
    return draw_candidate(candidate, generator.spec, settings.seed, count)


def _compared(node: Node, largest: int, limits: AuditLimits, settings: AuditSettings) -> _Compared:
    units = node_units(node)
    others = _other_generators(node, units, limits, settings)
    return _Compared(units, control_pool(node, settings.seed, largest), others)


def _other_generators(
    node: Node, units: Sequence[Unit], limits: AuditLimits, settings: AuditSettings
) -> list[OtherGenerator]:
    """Up to `OTHERS` generators of different units, a random choice; broken ones are left out."""
    records = node.ledger.generators.records(GeneratorState.TRAINED, *AUDITED_BEFORE)
    found: list[OtherGenerator] = []
    for number in np.random.default_rng(settings.seed).permutation(len(records)):
        record = records[number]
        own = units_of(record.images, units)
        if len(found) == OTHERS:
            break
        if any(not one.units.isdisjoint(own) for one in found):
            continue
        try:
            generator = load_generator(node, record)
            drawn = _draw(generator, build_onnx(generator), limits, settings)
        except Exception:  # noqa: S112 - that generator's own audit says what is wrong with it
            continue
        found.append(OtherGenerator(own, drawn))
    return found
