"""Policies in words, for the person who reads, sets or approves under one."""

from __future__ import annotations

from rich.table import Table

from hospital_node.release.release_policy import SETTINGS, Policy
from sharekit.program.phrases import counted


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


def declaration_in_words(policy: Policy) -> tuple[str, ...]:
    """What the card will not state, because the hospital has not declared it."""
    missing = policy.declaration.missing
    return (f"the card will not state: {', '.join(missing)} (hospital-node policy)",) if missing else ()


def too_few_people(policy: Policy) -> tuple[str, ...]:
    """A warning where the policy asks for more people than it lists, so that nothing can leave."""
    listed, needed = len(policy.people), policy.approvals
    if not listed or listed >= needed:
        return ()
    people = counted(listed, "person", "people")
    return (
        f"warning: nothing can leave, because {needed} people have to approve, and the policy lists {people}"
        " (all keys under one name are one person's)",
    )


def policy_table(policy: Policy) -> Table:
    """Every setting and approver."""
    table = Table(box=None, show_header=False)
    for name in SETTINGS:
        table.add_row(name, str(policy.settings[name]))
    for name, text in policy.declaration.stated.items():
        table.add_row(name.replace("_", " "), text)
    for approver in policy.approvers:
        table.add_row("approver", f"{approver.name}  {approver.key.fingerprint}")
    if not policy.approvers:
        table.add_row("approver", "none: nothing may leave")
    return table
