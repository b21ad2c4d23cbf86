"""The report's section on fidelity, of what `hospital-node fidelity` has measured."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from hospital_node.fidelity.fidelity_report import NAME, FidelityReport
from hospital_node.fidelity.fidelity_words import BIAS, HALVES, basis, figure_in_words, in_words
from hospital_node.node.node import Node
from hospital_node.node.reports_folder import reports_folder
from hospital_node.report.audit_plots import comparisons_svg, sifid_svg
from sharekit.errors import SharekitError
from sharekit.storage import files

TITLE = "Are samples as good as real images?"


def fidelity_section(node: Node, candidates: Mapping[str, str | None]) -> str:
    """HTML of the section; empty when nothing was measured.

    Args:
        node: whose reports folder may hold a measurement.
        candidates: generator to the SHA-256 of its candidate as it is now.
    """
    path = reports_folder(node) / NAME
    if not path.exists():
        return ""
    try:
        found = files.parse_json(files.read_bytes(path, max_bytes=files.MAX_JSON_BYTES), path)
        report = FidelityReport.from_json(found)
    except (SharekitError, KeyError, TypeError, ValueError, AttributeError) as error:
        return f"<h2>{TITLE}</h2><p>{NAME} cannot be read ({type(error).__name__}): measure again</p>"
    return f"<h2>{TITLE}</h2>{_stale(report, candidates)}{_words(report)}{_plots(report)}{_table(report)}"


def _stale(report: FidelityReport, candidates: Mapping[str, str | None]) -> str:
    changed = sum(candidates.get(one.generator_id) != one.candidate_sha256 for one in report.generators)
    if not changed:
        return ""
    return (
        f"<p><b>Measured before {changed} of {len(report.generators)} candidates changed:"
        " run <code>hospital-node fidelity</code> again.</b></p>"
    )


def _words(report: FidelityReport) -> str:
    lines = [
        *map(in_words, report.comparisons),
        *map(figure_in_words, report.figures),
        *(f"Missing: {line}" for line in report.missing),
        *(f"Left out: {name[:8]}: {reason}" for name, reason in report.left_out.items()),
    ]
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<ul>{items}</ul><p class="reason">{escape(f"{basis(report)}. {HALVES} {BIAS}")}</p>'


def _plots(report: FidelityReport) -> str:
    plots = comparisons_svg(report.comparisons) if report.comparisons else ""
    seen = [one for one in report.generators if one.sifid is not None]
    return plots + (sifid_svg(seen) if seen else "")


def _table(report: FidelityReport) -> str:
    rows = "".join(
        f"<tr><td>{escape(found.name)}</td>"
        f'<td class="number">{escape(str(found.difference))}</td>'
        f'<td class="number">{found.whole:.3g}</td>'
        f'<td class="number">{found.sample_count} and {found.real_count}</td></tr>'
        for found in report.comparisons
    )
    if not rows:
        return ""
    return (
        "<details><summary>differences, and all samples against all real images</summary><table><tr>"
        "<th>figure</th><th>samples minus real [95 %]</th><th>all against all</th><th>samples and images</th>"
        f"</tr>{rows}</table></details>"
    )
