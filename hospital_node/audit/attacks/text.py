"""Text: do the samples show letters that a device burned into the sources?

Intake paints text over, but misses some. A generator of one image can draw a name or a date again in every
sample. Where the detector finds lines in other real images as often, they are highlights and folds, not text.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from hospital_node.audit.attack import Array, AttackContext, AttackResult, Measure, Quantity, Question, Space
from hospital_node.overlays.outcome import LARGE
from hospital_node.overlays.survey import LEAST_SIDE
from hospital_node.overlays.text_detector import SURE, load_detector
from sharekit.generator.tensors import tensor_to_pixels
from sharekit.intervals import wilson

NAME = "text"
TEXT_RATE = Quantity(NAME, "text_rate")
WILSON = "Wilson, 95 %"
LOOKED_AT = 8
"""Samples that are looked at: the first ones. Text of a source returns in most samples, if at all."""
MOST_WITH_TEXT = 0.25
"""Largest share of samples with a line of text; above it the generator is withheld."""
MISSING = "nobody looked for text in the samples: the extra `scrub` is not installed"


@dataclass(frozen=True)
class TextInSamples:
    """The attacker reads what is written in the samples."""

    name: str = NAME
    question: Question = Question.QUERY

    def run(self, context: AttackContext) -> AttackResult:
        if find_spec("rapidocr") is None:
            return AttackResult(self.name, MISSING, 0, 0, (), None)
        samples = context.samples[:LOOKED_AT]
        if max(samples.shape[2:]) < LEAST_SIDE:
            return AttackResult(self.name, "the samples are too small for letters", 0, 0, (), None)
        with_text = sum(map(_has_text, samples))
        rate = wilson(with_text, len(samples))
        # One sample may show an artefact that looks like a letter.
        suspicious = with_text > max(1, MOST_WITH_TEXT * len(samples))
        # Looking takes time, and without suspicion there is nothing to compare.
        controls = context.controls[:LOOKED_AT] if suspicious else context.controls[:0]
        control = sum(map(_has_text, controls)) / len(controls) if len(controls) else None
        objections: tuple[str, ...] = ()
        if suspicious and rate.low > (control or 0.0):
            objections = (f"text: a text detector finds lines in {with_text} of {len(samples)} samples",)
        return AttackResult(
            self.name,
            "share of samples in which the text detector of intake finds a line of text",
            len(samples),
            len(controls),
            (Measure.of(Space.FULL, TEXT_RATE, rate, WILSON, baseline=0.0, control=control),),
            False if objections else None,
            objections,
        )


def _has_text(image: Array) -> bool:
    """Whether a certain line of text is in `(C, H, W)` in [-1, 1]."""
    pixels = tensor_to_pixels(image)
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    most = LARGE * min(pixels.shape[:2])
    return any(
        one.score >= SURE and min(one.bottom - one.top, one.right - one.left) <= most
        for one in load_detector().find(pixels)
    )
