"""The audit of a node: every trained image gets a candidate, an audit, and the state that follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hospital_node.audit.attack import Array, AttackContext, AuditLimits
from hospital_node.audit.attacks.distance import resize, with_channels
from hospital_node.audit.audit_settings import AuditSettings
from hospital_node.audit.generator_audit import GeneratorAudit, audit_generator
from hospital_node.candidate import build_onnx, measure_parity
from hospital_node.candidate.draw import draw_images
from hospital_node.ledger.ledger import ImageRecord, ImageState
from hospital_node.node.node import Node
from hospital_node.singan.pyramid import build_pyramid
from hospital_node.singan.trained import TrainedGenerator
from sharekit.errors import UsageError
from sharekit.generator.noise import MAX_SEED
from sharekit.generator.tensors import pixels_to_tensor
from sharekit.program.progress import Progress, ProgressCallback, ignore
from sharekit.storage import files

MAX_CONTROLS = 32
"""Other real images that a source is compared with; one random choice for the whole audit."""
CONTROL_SIDE = 256  # pixels: long side at which controls are kept in memory
AUDITED_BEFORE = (ImageState.AUDITED, ImageState.WITHHELD, ImageState.RELEASED)
CONTROLS = tuple(state for state in ImageState if state not in (ImageState.REFUSED, ImageState.HELD_OUT))
"""What the hold-out holds must not show in anything that leaves but an evaluation."""


@dataclass(frozen=True)
class Outcome:
    """What became of one image."""

    image_id: str
    state: ImageState
    reason: str
    audit: GeneratorAudit | None  # None: the audit itself failed


def audit_node(
    node: Node,
    limits: AuditLimits,
    settings: AuditSettings,
    *,
    on_progress: ProgressCallback = ignore,
) -> list[Outcome]:
    """Audit every trained image of a node.

    Args:
        node: its training lock is taken.
        limits: of the release policy.
        settings: samples, seed, and what is audited.
        on_progress: called after every image.

    Raises:
        UsageError: too few samples, or a seed out of range.
        NodeStateError: another process writes the node.

    A fault in one image withholds that image and goes on with the others.
    """
    _check(settings, limits)
    with node.training_lock():
        records = _waiting(node, settings.again)
        pool = _control_pool(node, settings.seed) if records else []
        outcomes = []
        for number, record in enumerate(records):
            on_progress(Progress(number, len(records), message=record.id[:8]))
            outcome = _audit_image(node, record, pool, limits, settings)
            node.ledger.transition(record.id, outcome.state, outcome.reason)
            outcomes.append(outcome)
        on_progress(Progress(len(records), len(records)))
    return outcomes


def _check(settings: AuditSettings, limits: AuditLimits) -> None:
    few = settings.samples < limits.min_samples
    if few or not 0 <= settings.seed <= MAX_SEED:
        raise UsageError(
            "--samples" if few else "--seed",
            expected=f"at least {limits.min_samples} samples and a seed from 0 to {MAX_SEED}",
            found=f"{settings.samples} samples, seed {settings.seed}",
            next_step="give another number",
        )


def _waiting(node: Node, again: bool) -> list[ImageRecord]:
    """Images without an audit, those whose audit failed included; with `again` every one that was trained."""
    if again:
        return node.ledger.records(ImageState.TRAINED, *AUDITED_BEFORE)
    records = node.ledger.records(ImageState.TRAINED, ImageState.WITHHELD)
    return [
        record
        for record in records
        if record.state is ImageState.TRAINED or not node.audit_path(record.id).exists()
    ]


def _audit_image(
    node: Node,
    record: ImageRecord,
    pool: Sequence[tuple[str, Array]],
    limits: AuditLimits,
    settings: AuditSettings,
) -> Outcome:
    """Build the candidate, attack it, and store both; a fault is an outcome, not an end of the audit."""
    try:
        generator = TrainedGenerator.load(node.generator_path(record.id))
        candidate = build_onnx(generator)
        # An audit of earlier bytes must never lie beside new ones.
        node.audit_path(record.id).unlink(missing_ok=True)
        files.write_bytes(node.candidate_path(record.id), candidate, mode=0o600)
        context = _context(node, record.id, generator, candidate, pool, limits, settings)
        parity = measure_parity(generator, candidate, settings.seed)
        audit = audit_generator(context, parity, group_size=generator.group_size)
        files.write_json(node.audit_path(record.id), audit.to_json(), mode=0o600)
    except Exception as error:
        reason = f"the audit failed: {type(error).__name__}: {error}"
        return Outcome(record.id, ImageState.WITHHELD, reason, None)
    if audit.passed:
        return Outcome(record.id, ImageState.AUDITED, str(audit.verdict), audit)
    return Outcome(record.id, ImageState.WITHHELD, "; ".join(audit.objections), audit)


def _context(
    node: Node,
    image_id: str,
    generator: TrainedGenerator,
    candidate: bytes,
    pool: Sequence[tuple[str, Array]],
    limits: AuditLimits,
    settings: AuditSettings,
) -> AttackContext:
    pair = node.load_pair(image_id)
    spec = generator.spec
    levels = build_pyramid(pair.tensor(), generator.config)
    channels = spec.layout.image_channels
    others = [image for name, image in pool if name != image_id][:MAX_CONTROLS]
    controls = [resize(with_channels(image, channels)[None], spec.height, spec.width)[0] for image in others]
    return AttackContext(
        generator_id=spec.id,
        candidate=candidate,
        samples=draw_images(candidate, spec, settings.seed, range(settings.samples)),
        source=levels[-1][:channels],
        controls=np.stack(controls) if controls else np.zeros((0, *levels[-1][:channels].shape), np.float32),
        levels=tuple(levels),
        pixels=(pair.image, *pair.masks.values()),
        limits=limits,
        seed=settings.seed,
    )


def _control_pool(node: Node, seed: int) -> list[tuple[str, Array]]:
    """A random choice of the node's real images, `(C, H, W)` in [-1, 1]; what cannot be read is left out."""
    records = node.ledger.records(*CONTROLS)
    chosen = np.random.default_rng(seed).permutation(len(records))[: MAX_CONTROLS + 1]
    pool = []
    for number in chosen:
        try:
            image = pixels_to_tensor(node.load_pair(records[number].id).image)
        except Exception:  # noqa: S112 - that image's own audit says what is wrong with it
            continue
        height, width = image.shape[1:]
        scale = min(1.0, CONTROL_SIDE / max(height, width))
        reduced = resize(image[None], max(1, round(height * scale)), max(1, round(width * scale)))[0]
        pool.append((records[number].id, reduced))
    return pool
