"""The audit of a node: every trained generator gets a candidate, an audit, and the state that follows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hospital_node.audit.attack import AuditLimits
from hospital_node.audit.audit_one import Comparison, OtherGenerator, Outcome, audit_one, draw_for_audit
from hospital_node.audit.audit_settings import AuditSettings
from hospital_node.audit.audit_workers import audit_on_workers
from hospital_node.audit.audited import load_generator
from hospital_node.audit.real_images import Unit, control_pool, node_units, units_of
from hospital_node.audit.style_target import style_target
from hospital_node.candidate.build import build_onnx
from hospital_node.ledger.states import GeneratorRecord, GeneratorState
from hospital_node.node import history
from hospital_node.node.node import Node
from sharekit.errors import UsageError
from sharekit.generator.noise import MAX_SEED
from sharekit.generator.spec import short_id
from sharekit.program.progress import Progress, ProgressCallback, ignore

OTHERS = 2
"""Generators kept for comparison: one that never saw the sources of another, in most nodes."""
STYLED = 2
"""Generators of a run whose samples are attacked after style transfer, a random choice."""
AUDITED_BEFORE = (GeneratorState.AUDITED, GeneratorState.WITHHELD, GeneratorState.RELEASED)


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
        compared = _compared(node, records, largest, limits, settings) if records else Comparison((), (), ())
        outcomes = []
        on_progress(Progress(0, len(records)))
        for generator, outcome in _outcomes(node, records, compared, limits, settings):
            node.ledger.generators.transition(generator.id, outcome.state, outcome.reason)
            outcomes.append(outcome)
            on_progress(Progress(len(outcomes), len(records), message=short_id(generator.id)))
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


def _outcomes(
    node: Node,
    records: Sequence[GeneratorRecord],
    compared: Comparison,
    limits: AuditLimits,
    settings: AuditSettings,
) -> Iterator[tuple[GeneratorRecord, Outcome]]:
    if settings.actors > 1 and len(records) > 1:
        yield from audit_on_workers(node, records, compared, limits, settings)
        return
    for record in records:
        yield record, audit_one(node, record, compared, limits, settings)


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


def _compared(
    node: Node, records: Sequence[GeneratorRecord], largest: int, limits: AuditLimits, settings: AuditSettings
) -> Comparison:
    units = node_units(node)
    together = node.ledger.generators.records(GeneratorState.TRAINED, *AUDITED_BEFORE)
    chosen = np.random.default_rng(settings.seed).permutation(len(records))[:STYLED]
    return Comparison(
        units,
        control_pool(node, settings.seed, largest),
        _other_generators(node, units, limits, settings),
        style_target(node, together, units, limits.k, settings.seed),
        frozenset(records[number].id for number in chosen),
    )


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
            drawn = draw_for_audit(generator, build_onnx(generator), limits, settings)
        except Exception:  # noqa: S112 - that generator's own audit says what is wrong with it
            continue
        found.append(OtherGenerator(own, drawn))
    return found
