"""Measuring a node: every audited generator in turn, then the figures of all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hospital_node.audit.audited import Asking, read_asking
from hospital_node.fidelity import node_figures
from hospital_node.fidelity.fidelity_report import NAME, FidelityReport
from hospital_node.fidelity.fidelity_settings import FidelitySettings
from hospital_node.fidelity.inception import Inception
from hospital_node.fidelity.subject import Subject, examine
from hospital_node.ledger.states import GeneratorState
from hospital_node.node.node import Node
from hospital_node.node.reports_folder import reports_folder
from sharekit.errors import NodeStateError, UsageError
from sharekit.generator.noise import MAX_SEED
from sharekit.program.progress import Progress, ProgressCallback, ignore
from sharekit.storage import files

MIN_SAMPLES = 2


def measure(
    node: Node,
    network: Inception | None,
    settings: FidelitySettings,
    *,
    on_progress: ProgressCallback = ignore,
) -> FidelityReport:
    """Compare samples of every audited generator with the node's real images.

    Args:
        node: read only.
        network: feature network; without it the report leaves out the figures that need it, and says so.
        settings: the numbers of samples and halves, and the seed.
        on_progress: called before every generator.

    Raises:
        UsageError: too few samples, or a seed out of range.
        NodeStateError: no generator has a candidate yet, or none can be measured.

    A fault in one generator leaves out that generator, with the reason.
    """
    _check(settings)
    asking, left_out = read_asking(node)
    audited = [one for one in asking if _has_candidate(one)]
    left_out |= {one.record.id: "no audited candidate" for one in asking if not _has_candidate(one)}
    subjects = []
    for number, one in enumerate(audited):
        on_progress(Progress(number, len(audited), message=one.record.id[:8]))
        try:
            subjects.append(examine(node, one, network, settings))
        except Exception as error:
            left_out[one.record.id] = f"{type(error).__name__}: {error}"
    on_progress(Progress(len(audited), len(audited)))
    return _report(node, subjects, network, settings, left_out)


def write(node: Node, report: FidelityReport) -> Path:
    """Write the report into the node's reports folder, where `hospital-node report` finds it.

    Raises:
        PolicyError: the reports folder leads out of the node.
    """
    path = reports_folder(node) / NAME
    files.write_json(path, report.to_json(), mode=0o600)
    return path


def _report(
    node: Node,
    subjects: Sequence[Subject],
    network: Inception | None,
    settings: FidelitySettings,
    left_out: dict[str, str],
) -> FidelityReport:
    if not subjects:
        raise NodeStateError(
            node.root,
            expected="at least one audited generator",
            found=next(iter(left_out.values()), "no trained generator"),
            next_step="run `hospital-node train`, then `hospital-node audit`",
        )
    each = node_figures.generators(subjects, settings.seed)
    return FidelityReport(
        settings=settings,
        feature_sha256=None if network is None else network.sha256,
        comparisons=tuple(node_figures.comparisons(subjects, settings)),
        figures=tuple(node_figures.figures(subjects, each, settings.seed)),
        generators=tuple(each),
        missing=tuple(node_figures.missing(subjects)),
        left_out=left_out,
    )


def _has_candidate(asking: Asking) -> bool:
    # A generator that waits for its audit may have a candidate from an unfinished audit.
    return asking.candidate.sha256 is not None and asking.record.state is not GeneratorState.TRAINED


def _check(settings: FidelitySettings) -> None:
    few = settings.samples < MIN_SAMPLES
    if few or not 0 <= settings.seed <= MAX_SEED:
        raise UsageError(
            "--samples" if few else "--seed",
            expected=f"at least {MIN_SAMPLES} samples and a seed from 0 to {MAX_SEED}",
            found=f"{settings.samples} samples, seed {settings.seed}",
            next_step="give another number",
        )
