"""The report's section on fidelity: what `hospital-node fidelity` has measured, as a value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hospital_node.audit.audited import Asking
from hospital_node.fidelity.fidelity_report import NAME, Comparison, FidelityReport
from hospital_node.fidelity.fidelity_words import BIAS, HALVES, basis, figure_in_words, in_words
from hospital_node.node.node import Node
from hospital_node.node.reports_folder import reports_folder
from hospital_node.report import audit_plots
from sharekit.errors import SharekitError
from sharekit.generator.spec import short_id
from sharekit.page.shell import Embedded
from sharekit.storage import files


@dataclass(frozen=True)
class FidelitySection:
    """What the page says about fidelity."""

    notice: str = ""
    """A notice that comes first: the file is damaged, or older than the candidates."""
    words: tuple[str, ...] = ()
    basis: str = ""
    plots: tuple[Embedded, ...] = ()
    comparisons: tuple[Comparison, ...] = ()


def fidelity_section(node: Node, asking: Sequence[Asking]) -> FidelitySection | None:
    """The section; None if there is no measurement.

    Args:
        node: whose reports folder may hold a measurement.
        asking: every generator with its candidate as it is now.
    """
    path = reports_folder(node) / NAME
    if not path.exists():
        return None
    try:
        found = files.parse_json(files.read_bytes(path, max_bytes=files.MAX_JSON_BYTES), path)
        report = FidelityReport.from_json(found)
    except (SharekitError, KeyError, TypeError, ValueError, AttributeError) as error:
        return FidelitySection(f"{NAME} cannot be read ({type(error).__name__}): measure again")
    return FidelitySection(
        _stale(report, asking),
        (
            *map(in_words, report.comparisons),
            *map(figure_in_words, report.figures),
            *(f"Missing: {line}" for line in report.missing),
            *(f"Left out: {short_id(generator)}: {reason}" for generator, reason in report.left_out.items()),
        ),
        f"{basis(report)}. {HALVES} {BIAS}",
        tuple(_plots(report)),
        report.comparisons,
    )


def _stale(report: FidelityReport, asking: Sequence[Asking]) -> str:
    now = {item.record.id: item.candidate.sha256 for item in asking}
    changed = sum(now.get(one.generator_id) != one.candidate_sha256 for one in report.generators)
    if not changed:
        return ""
    return (
        f"Measured before {changed} of {len(report.generators)} candidates changed:"
        " run hospital-node fidelity again."
    )


def _plots(report: FidelityReport) -> list[Embedded]:
    plots = []
    if report.comparisons:
        drawn = audit_plots.comparisons(report.comparisons)
        plots.append(Embedded.svg(drawn, "Each figure: real against real, and samples against real"))
    seen = sorted(
        (one for one in report.generators if one.sifid is not None),
        key=lambda one: one.sifid.mean if one.sifid else 0.0,
    )
    if seen:
        drawn = audit_plots.sifid(seen)
        plots.append(Embedded.svg(drawn, "SIFID of each generator's samples to their source"))
    return plots
