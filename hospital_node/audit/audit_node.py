"""The audit of a node: every trained generator gets a candidate, an audit, and the state that follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hospital_node.audit.attack import Array, AttackContext, AuditLimits
from hospital_node.audit.attacks.distance import resize, with_channels
from hospital_node.audit.audit_settings import AuditSettings
from hospital_node.audit.audited import load_generator, store_audit
from hospital_node.audit.generator_audit import GeneratorAudit, audit_generator
from hospital_node.candidate import build_onnx, measure_parity
from hospital_node.candidate.draw import draw_images
from hospital_node.leaks.search import RealContent
from hospital_node.ledger.states import GeneratorRecord, GeneratorState, ImageState
from hospital_node.node import history
from hospital_node.node.node import Node
from hospital_node.node.units import count_units, readable_units
from hospital_node.singan.pyramid import build_pyramid
from hospital_node.singan.trained import TrainedGenerator
from sharekit.errors import UsageError
from sharekit.generator.noise import MAX_SEED
from sharekit.generator.tensors import pixels_to_tensor
from sharekit.program.progress import Progress, ProgressCallback, ignore
from sharekit.storage import files

MAX_CONTROLS = 32
"""Other real images that sources are compared with; one random choice for the whole audit."""
CONTROL_SIDE = 256  # pixels: long side at which controls are kept in memory
AUDITED_BEFORE = (GeneratorState.AUDITED, GeneratorState.WITHHELD, GeneratorState.RELEASED)
CONTROLS = (ImageState.INGESTED,)
"""States of control images; only an evaluation may show anything of the hold-out."""


@dataclass(frozen=True)
class Control:
    """A real picture that sources are compared with."""

    unit: frozenset[str]  # identifiers of every image of its patient, and of every image that shows it
    image: Array  # (C, H, W) in [-1, 1]


@dataclass(frozen=True)
class RealImages:
    """The real images that samples of one generator are compared with, image channels in [-1, 1]."""

    sources: Array  # (k, C, H, W)
    controls: Array  # (M, C, H, W), of other units; M may be 0
    content: tuple[RealContent, ...]  # pixels and pyramids of the sources


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
        pool = control_pool(node, settings.seed, largest) if records else []
        outcomes = []
        for number, generator in enumerate(records):
            on_progress(Progress(number, len(records), message=generator.id[:8]))
            outcome = _audit_one(node, generator, pool, limits, settings)
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
    few = settings.samples < limits.min_samples
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
    pool: Sequence[Control],
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
        context = _context(node, record, generator, candidate, pool, limits, settings)
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
    pool: Sequence[Control],
    limits: AuditLimits,
    settings: AuditSettings,
) -> AttackContext:
    spec = generator.spec
    real = real_images(node, record, generator, pool)
    return AttackContext(
        generator_id=spec.id,
        candidate=candidate,
        samples=draw_images(candidate, spec, settings.seed, range(settings.samples)),
        sources=real.sources,
        units=count_units(node, record.images),
        controls=real.controls,
        real=real.content,
        limits=limits,
        seed=settings.seed,
    )


def real_images(
    node: Node, record: GeneratorRecord, generator: TrainedGenerator, pool: Sequence[Control]
) -> RealImages:
    """Sources and controls of a generator, at its finest scale.

    Raises:
        InputError, NodeStateError: a stored image of a source is missing or damaged.
    """
    spec = generator.spec
    channels = spec.layout.image_channels
    pairs = node.load_sources(record.id)
    pyramids = [build_pyramid(pair.tensor(), generator.config) for pair in pairs]
    others = [one.image for one in pool if one.unit.isdisjoint(record.images)][:MAX_CONTROLS]
    controls = [resize(with_channels(image, channels)[None], spec.height, spec.width)[0] for image in others]
    return RealImages(
        np.stack([levels[-1][:channels] for levels in pyramids]),
        np.stack(controls) if controls else np.zeros((0, channels, spec.height, spec.width), np.float32),
        tuple(
            RealContent(spec.id, (pair.image, *pair.masks.values()), tuple(levels))
            for pair, levels in zip(pairs, pyramids, strict=True)
        ),
    )


def control_pool(node: Node, seed: int, sources: int) -> list[Control]:
    """One picture each of a random choice of the node's units; what cannot be read is left out.

    It holds `MAX_CONTROLS` pictures, plus as many as a generator with `sources` images may remove.
    """
    found = readable_units(node, node.ledger.iterate(*CONTROLS))
    chosen = np.random.default_rng(seed).permutation(len(found))[: MAX_CONTROLS + sources]
    pool = []
    for number in chosen:
        names = found[number]
        try:
            image = pixels_to_tensor(node.load_pair(names[0]).image)
        except Exception:  # noqa: S112 - that image's own audit says what is wrong with it
            continue
        height, width = image.shape[1:]
        scale = min(1.0, CONTROL_SIDE / max(height, width))
        reduced = resize(image[None], max(1, round(height * scale)), max(1, round(width * scale)))[0]
        pool.append(Control(frozenset(names), reduced))
    return pool
