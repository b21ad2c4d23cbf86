"""The attacks over all generators of a release: how many of them are linked to a source of their own."""

from __future__ import annotations

from collections.abc import Sequence

from hospital_node.audit.attack import MIN_CONTROLS, Measure
from hospital_node.audit.attacks.distance import SPACES
from hospital_node.audit.attacks.nearest import WILSON, BestOfN
from hospital_node.audit.generator_audit import GeneratorAudit
from hospital_node.audit.intervals import wilson


def summarise(audits: Sequence[GeneratorAudit]) -> tuple[Measure, ...]:
    """Top-1 accuracy of best-of-N: the share of generators to which a source is the nearest real image.

    Generators without controls do not count; without any that has them there is nothing to say.
    """
    found = []
    for space in SPACES:
        ranks, baselines = [], []
        for audit in audits:
            for result in audit.attacks:
                if result.attack == BestOfN.name and result.controls >= MIN_CONTROLS:
                    ranks += [item.value for item in result.measures if item.name == f"{space}.rank"]
                    baselines.append(audit.group_size / (audit.group_size + result.controls))
        if ranks:
            linked = sum(rank == 1 for rank in ranks)
            found.append(
                Measure.of(
                    f"{space}.top-1-accuracy",
                    linked / len(ranks),
                    wilson(linked, len(ranks)),
                    WILSON,
                    baseline=sum(baselines) / len(baselines),
                )
            )
    return tuple(found)
