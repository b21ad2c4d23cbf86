"""Audits and policies in words, for the person who reads, approves or exports."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from hospital_node.audit.attack import Space
from hospital_node.audit.attacks.nearest import DISTANCE_RATIO, LINKAGE_RATE
from hospital_node.audit.generator_audit import GeneratorAudit
from hospital_node.ledger.states import GeneratorState
from hospital_node.release.release_policy import Policy

Row = tuple[str, int, GeneratorState, str, GeneratorAudit | None]
"""Generator, number of images behind it, state, reason, audit."""


def audit_table(rows: Sequence[Row]) -> Table:
    """One line a generator: images behind it, state, nearest sample, linkage, and the verdict or reason."""
    table = Table(box=None, header_style="bold")
    for title in ("generator", "images", "state", "nearest sample", "source linked", "verdict or reason"):
        table.add_column(title)
    for generator_id, images, state, reason, audit in rows:
        ratio = audit and audit.measure(Space.FULL, DISTANCE_RATIO)
        rate = audit and audit.measure(Space.FULL, LINKAGE_RATE)
        table.add_row(
            generator_id[:8],
            str(images),
            str(state),
            f"{ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]" if ratio else "no controls",
            f"{rate.value:.0%} of samples (chance {rate.baseline or 0:.0%})" if rate else "no controls",
            reason if audit is None or not audit.passed else str(audit.verdict),
        )
    table.caption = (
        "nearest sample: distance to a source / median distance between real images, 95 % interval"
    )
    return table


def limits_in_words(policy: Policy) -> str:
    """What the policy demands, in one sentence."""
    small = f"a generator of fewer than {policy.min_group} patients or pictures, or one that is linkable,"
    linkable = (
        f"{small} may leave under controlled access, to recipients that the hospital knows"
        if policy.release_linkable
        else f"{small} may not leave"
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
    for name in ("approvals", "min_group", "release_linkable", "epsilon", "max_total_epsilon"):
        table.add_row(name, str(value[name]))
    for name, limit in policy.limits.to_json().items():
        table.add_row(name, str(limit))
    for approver in policy.approvers:
        table.add_row("approver", f"{approver.name}  {approver.key.fingerprint}")
    if not policy.approvers:
        table.add_row("approver", "none: nothing may leave")
    return table
