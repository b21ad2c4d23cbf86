"""Other frames: do the samples give away further images of a source's patient or scene?"""

from __future__ import annotations

from dataclasses import dataclass, replace

from hospital_node.audit.attack import AttackContext, AttackResult, Measure, Quantity, Question
from hospital_node.audit.attacks.distance import SPACES
from hospital_node.audit.attacks.nearest import Distances
from hospital_node.audit.exposure import Exposure, worst

NAME = "other-frames"
FRAME_DISTANCE = Quantity(
    NAME,
    "frame_distance",
    "distance of the nearest sample to another image of the same patient (RMSE)",
    lower_is_worse=True,
)


@dataclass(frozen=True)
class OtherFrames:
    """The attacker holds another frame of the same scene and asks whether the generator saw its neighbour."""

    name: str = NAME
    question: Question = Question.QUERY

    def run(self, context: AttackContext) -> AttackResult:
        if context.frames is None or not len(context.frames):
            return AttackResult.not_made(self.name, "the node has no further image of these scenes")
        images = replace(context.compared, sources=context.frames)
        measures: list[Measure] = []
        found: list[Exposure] = []
        for space, view in SPACES.items():
            table = Distances.of(images.at(view), context.seed)
            measures.append(table.best_distance(space, FRAME_DISTANCE))
            found.append(table.exposed)
        return AttackResult(
            self.name,
            "RMSE in [-1, 1] of every sample to images that the generator never saw, but that show the same"
            " patient or scene as a source",
            len(context.samples),
            len(context.controls),
            tuple(measures),
            worst(found),
        )
