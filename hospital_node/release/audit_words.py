"""Audits in words, for the person who reads, approves or exports."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from rich.table import Table

from hospital_node.audit.attack import Measure, Space
from hospital_node.audit.attacks.nearest import DISTANCE_RATIO, LINKAGE_RATE
from hospital_node.audit.audited import Asking, images_behind
from hospital_node.audit.generator_audit import GeneratorAudit
from hospital_node.audit.whole_bundle import MEMBERSHIP
from hospital_node.ledger.states import GeneratorState
from hospital_node.release.bundle_attacks import PARTS
from hospital_node.release.gate import difference_in_words
from hospital_node.release.release_policy import Policy
from hospital_node.release.together import Together
from sharekit.generator.spec import short_id
from sharekit.program.phrases import counted

Row = tuple[str, int, GeneratorState, str, GeneratorAudit | None]
"""Generator, number of images behind it, state, reason, audit."""


def audit_table(rows: Sequence[Row]) -> Table:
    """Generators by risk: the nearest sample with both comparisons, linkage, successes, verdict or reason."""
    table = Table(box=None, header_style="bold")
    for title in ("generator", "images", "state", "nearest sample", "source linked", "succeeded", "verdict"):
        table.add_column(title)
    for generator_id, images, state, reason, audit in sorted(rows, key=_risk):
        ratio = audit and audit.measure(Space.FULL, DISTANCE_RATIO)
        rate = audit and audit.measure(Space.FULL, LINKAGE_RATE)
        table.add_row(
            short_id(generator_id),
            str(images),
            str(state),
            _three_columns(ratio) if ratio else "no controls",
            f"{rate.value:.0%} of samples (chance {rate.baseline or 0:.0%})" if rate else "no controls",
            "–" if audit is None else f"{len(audit.succeeded)} of {len(audit.attacks)} attacks",
            reason if audit is None or not audit.passed else str(audit.verdict),
        )
    table.caption = (
        "nearest sample: distance to a source / median distance between real images [95 % interval], then"
        " member against member / a generator that never saw the source"
    )
    return table


def _risk(row: Row) -> float:
    """The nearest sample first; audits without other real images, and failed ones, last."""
    ratio = row[4] and row[4].measure(Space.FULL, DISTANCE_RATIO)
    return ratio.value if ratio else math.inf


def _three_columns(ratio: Measure) -> str:
    others = " / ".join("–" if one is None else f"{one:.2f}" for one in (ratio.control, ratio.stranger))
    return f"{ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}], {others}"


def differences_in_words(policy: Policy, items: Sequence[Asking]) -> tuple[str, ...]:
    """A warning for each generator that may leave although it differs by few units from another one."""
    return tuple(
        f"generator {short_id(item.record.id)}: {difference_in_words(item.candidate.difference, policy)}"
        for item in items
        if item.candidate.difference is not None
    )


def proposal_in_words(items: Sequence[Asking]) -> tuple[str, ...]:
    """Counts, verdicts, the worst figures, and what has left before, of the generators that ask to leave."""
    images = len(images_behind(items))
    units = sorted(item.candidate.units for item in items)
    span = str(units[0]) if units[0] == units[-1] else f"{units[0]} to {units[-1]}"
    verdicts = Counter(str(item.audit.verdict) for item in items)
    lines = [
        f"{counted(len(items), 'generator')} of {counted(images, 'real image')}; patients or distinct"
        f" pictures behind each: {span}",
        "verdicts: " + ", ".join(f"{words} ({count})" for words, count in verdicts.most_common()),
    ]
    for quantity, worst, words in (
        (DISTANCE_RATIO, min, "nearest sample of all: {value:.2f} of the distance between real images"),
        (LINKAGE_RATE, max, "most linked to its source: {value:.0%} of samples"),
    ):
        found = [
            (measure.value, item.record.id)
            for item in items
            if (measure := item.audit.measure(Space.FULL, quantity)) is not None
        ]
        if found:
            value, generator_id = worst(found)
            lines.append(f"{words.format(value=value)} (generator {generator_id[:8]})")
    released = [item.record for item in items if item.record.releases]
    if released:
        numbers = sorted({number for record in released for number in record.releases})
        lines.append(
            f"{counted(len(released), 'generator')} left before, in release {', '.join(map(str, numbers))}"
        )
    return tuple(lines)


def together_in_words(together: Together, before: int) -> tuple[str, ...]:
    """What would leave together, and which part of it gives most away.

    Args:
        together: the attack on all of it.
        before: generators of it that had an approval before.
    """
    also = f", {before} of them approved before" if before else ""
    return (
        f"in one release: {counted(len(together.generators), 'generator')}{also}, of {together.behind};"
        f" style statistics: {together.style}",
        f"as a whole: {together.in_words}",
    )


def together_table(together: Together) -> tuple[Table, ...]:
    """One row for each part of the release: how often an image behind it scores higher than another one."""
    parts = [one for result in together.results if result.attack == MEMBERSHIP for one in result.measures]
    if not parts:
        return ()
    table = Table(box=None, header_style="bold")
    for title in ("part of the release", "tells its images from others", "95 % interval", "guessing"):
        table.add_column(title)
    for one in sorted(parts, key=lambda part: -part.value):
        table.add_row(
            PARTS[one.space],
            f"in {one.value:.0%} of pairs",
            f"{one.low:.0%} to {one.high:.0%}",
            f"{one.baseline or 0:.0%}",
        )
    return (table,)
