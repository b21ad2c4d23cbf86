"""The attacks over all generators of a release: how many of them are linked to a source of their own."""

from __future__ import annotations

from collections.abc import Sequence

from hospital_node.audit.attack import MIN_CONTROLS, Measure, Quantity, Space
from hospital_node.audit.attacks.nearest import NAME, RANK, WILSON
from hospital_node.audit.generator_audit import GeneratorAudit
from sharekit.intervals import wilson

TOP_1_ACCURACY = Quantity(NAME, "top-1-accuracy")


def summarise(audits: Sequence[GeneratorAudit]) -> tuple[Measure, ...]:
    """Top-1 accuracy of best-of-N: the share of generators to which a source is the nearest real image.

    Generators without controls do not count; the result is empty if none has any.
    """
    found = []
    for space in Space:
        ranks, baselines = [], []
        for audit in audits:
            for result in audit.attacks:
                rank = result.measure(space, RANK)
                if rank is not None and result.controls >= MIN_CONTROLS:
                    ranks.append(rank.value)
                    baselines.append(audit.group_size / (audit.group_size + result.controls))
        if ranks:
            linked = ranks.count(1)
            found.append(
                Measure.of(
                    space,
                    TOP_1_ACCURACY,
                    wilson(linked, len(ranks)),
                    WILSON,
                    baseline=sum(baselines) / len(baselines),
                )
            )
    return tuple(found)
