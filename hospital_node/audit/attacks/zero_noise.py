"""Zero noise: an attacker chooses the noise, and the reconstruction noise z* is zero above scale 0."""

from __future__ import annotations

from dataclasses import dataclass

from hospital_node.audit.attack import AttackContext, AttackResult, Measure, Quantity, Question
from hospital_node.audit.attacks.distance import SPACES
from hospital_node.audit.attacks.nearest import Distances, Nearness, near_copy
from hospital_node.audit.exposure import Exposure, worst

NAME = "zero-noise"
CALM_DISTANCE = Quantity(
    NAME,
    "calm_distance",
    "distance of the nearest sample without noise above scale 0 to a source (RMSE)",
    lower_is_worse=True,
)


@dataclass(frozen=True)
class ZeroNoise:
    """The attacker sets the noise to zero, everywhere or above scale 0, and tries stored tensors as z*."""

    name: str = NAME
    question: Question = Question.EXTRACTION

    def run(self, context: AttackContext) -> AttackResult:
        if context.calm is None:
            return AttackResult.not_made(self.name, "no sample was drawn without noise")
        measures: list[Measure] = []
        nearest: list[Nearness] = []
        found: list[Exposure] = []
        for space, view in SPACES.items():
            table = Distances.of(context.calm.at(view), context.seed)
            measures.append(table.best_distance(space, CALM_DISTANCE))
            nearest += table.nearest
            found.append(table.exposed)
        return AttackResult(
            self.name,
            "RMSE in [-1, 1] of samples with noise at scale 0 alone, without any noise, and with every stored"
            " tensor of the right size as z*",
            len(context.calm.samples),
            len(context.calm.controls),
            tuple(measures),
            worst(found),
            near_copy("a sample without noise above scale 0", nearest, context.limits),
        )
