"""Audits and policies in words, for the person who reads, approves or exports."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from hospital_node.audit.attack import Measure
from hospital_node.audit.generator_audit import GeneratorAudit
from hospital_node.ledger.ledger import ImageState
from hospital_node.release.release_policy import Policy

Row = tuple[str, ImageState, str, GeneratorAudit | None]


def measure_of(audit: GeneratorAudit, name: str) -> Measure | None:
    """The first measure called `name` in any attack."""
    return next((item for result in audit.attacks for item in result.measures if item.name == name), None)


def audit_table(rows: Sequence[Row]) -> Table:
    """One line an image: identifier, state, nearest sample, linkage, and the verdict or reason."""
    table = Table(box=None, header_style="bold")
    for title in ("image", "state", "nearest sample", "source linked", "verdict or reason"):
        table.add_column(title)
    for image_id, state, reason, audit in rows:
        ratio = audit and measure_of(audit, "full.distance_ratio")
        rate = audit and measure_of(audit, "full.linkage_rate")
        table.add_row(
            image_id[:8],
            str(state),
            f"{ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]" if ratio else "no controls",
            f"{rate.value:.0%} of samples (chance {rate.baseline or 0:.0%})" if rate else "no controls",
            reason if audit is None or not audit.passed else str(audit.verdict),
        )
    table.caption = (
        "nearest sample: distance to the source / median distance between real images, 95 % interval"
    )
    return table


def limits_in_words(policy: Policy) -> str:
    """What the policy demands, in one sentence."""
    linkable = (
        "what is linkable may leave under controlled access, to recipients that the hospital knows"
        if policy.release_linkable
        else "what is linkable may not leave"
    )
    return (
        f"policy: {linkable}; no sample nearer than {policy.limits.min_distance_ratio:g} of the source's"
        f" contrast or the median distance between real images;"
        f" statistics of at least {policy.limits.k} images"
    )


def policy_table(policy: Policy) -> Table:
    """Every setting and approver."""
    table = Table(box=None, show_header=False)
    value = policy.to_json()
    for name in ("approvals", "release_linkable", "epsilon", "max_total_epsilon"):
        table.add_row(name, str(value[name]))
    for name, limit in policy.limits.to_json().items():
        table.add_row(name, str(limit))
    for approver in policy.approvers:
        table.add_row("approver", f"{approver.name}  {approver.key.fingerprint}")
    if not policy.approvers:
        table.add_row("approver", "none: nothing may leave")
    return table
