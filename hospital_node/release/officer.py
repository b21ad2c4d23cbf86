"""Answers for a data-protection officer: the hospital's words, who is behind a release, two questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hospital_node.audit.attack import Measure, Question, Space
from hospital_node.audit.figure_words import QUANTITIES, figure_in_words
from hospital_node.audit.generator_audit import GeneratorAudit, question_of
from hospital_node.release.declaration import Declaration

TRIAL_PROFILES = ("quick",)
"""Profiles for trying things out: their generators have learnt too little to be judged by."""
LOWER_IS_WORSE = {one.name for one in QUANTITIES if one.lower_is_worse}
QUESTIONS: Mapping[Question, str] = {
    Question.EXTRACTION: "How likely is it that real images can be extracted from the generators themselves?",
    Question.QUERY: "How likely is it that the samples they draw show or point to a real image, intended or"
    " not?",
}
"""Each question in the Board's sense, as the card prints it."""


@dataclass(frozen=True)
class Officer:
    """The facts for an officer."""

    declaration: Declaration
    images: int  # distinct ones behind the generators
    units: int  # patients, or distinct pictures where patients are unknown
    known_patients: int  # those of the units whose patient is known
    profiles: tuple[str, ...]  # training profile of each generator

    @property
    def trial_profiles(self) -> dict[str, int]:
        """Trial profile to the number of generators that were trained with it."""
        return {name: self.profiles.count(name) for name in TRIAL_PROFILES if name in self.profiles}

    def to_json(self, audits: Sequence[GeneratorAudit]) -> dict[str, Any]:
        return {
            "declaration": self.declaration.to_json(),
            "images": self.images,
            "units": self.units,
            "known_patients": self.known_patients,
            "trial_profiles": self.trial_profiles,
            "questions": [Answer.of(name, audits).to_json() for name in QUESTIONS],
        }


@dataclass(frozen=True)
class Answer:
    """The audit's figures on one question."""

    question: Question
    attacks: tuple[str, ...]
    generators: int  # on which these attacks were run
    succeeded: int  # of them: where an attack did better than guessing, or raised an objection
    undecided: int  # of them: where none did, but controls were missing for one
    worst: tuple[
        Measure, ...
    ]  # of each figure, that of the generator with the largest excess over its control

    @staticmethod
    def of(question: Question, audits: Sequence[GeneratorAudit]) -> Answer:
        """Collect the figures of the attacks that belong to a question."""
        relevant = [[one for one in audit.attacks if question_of(one.attack) is question] for audit in audits]
        won = [any(one.at_chance is False or one.objections for one in found) for found in relevant]
        open_ = [
            any(one.at_chance is None and one.samples for one in found) and not hit
            for found, hit in zip(relevant, won, strict=True)
        ]
        figures: dict[str, list[Measure]] = {}
        for found in relevant:
            for one in found:
                for measure in one.measures:
                    figures.setdefault(measure.name, []).append(measure)
        return Answer(
            question,
            tuple(dict.fromkeys(one.attack for found in relevant for one in found)),
            len(audits),
            sum(won),
            sum(open_),
            tuple(max(measures, key=_excess) for measures in figures.values()),
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "question": self.question,
            "words": QUESTIONS[self.question],
            "attacks": list(self.attacks),
            "generators": self.generators,
            "succeeded": self.succeeded,
            "undecided": self.undecided,
            "worst": [measure.to_json() for measure in self.worst],
        }


def officer_section(officer: Officer, audits: Sequence[GeneratorAudit]) -> str:
    """The card's section for an officer, in Markdown."""
    stated = officer.declaration
    lines = ["## For the data-protection officer", ""]
    for name in ("purpose", "recipient_duties", "legal_basis", "retention", "contact"):
        text = stated.stated.get(name, "not stated by the hospital")
        lines.append(f"- {name.replace('_', ' ')}: {text}")
    lines += [f"- behind it: {_behind(officer)}", ""]
    if officer.trial_profiles:
        shown = ", ".join(f"`{name}` ({count})" for name, count in officer.trial_profiles.items())
        lines += [
            f"**Trial profiles**: {shown}. These settings are for trying things out. What the audit says of"
            " such generators does not hold for longer training.",
            "",
        ]
    lines += ["The two questions of EDPB Opinion 28/2024, with what the audit found:", ""]
    for name, words in QUESTIONS.items():
        answer = Answer.of(name, audits)
        lines.append(f"- **{name}**: {words} {_answer(answer)}")
        # The coarser scales are in `privacy.json`.
        finest = [measure for measure in answer.worst if measure.space in tuple(Space)]
        lines += [f"  - worst {_figure(measure)}" for measure in finest]
    lines += ["", "An attack that is not listed was not run."]
    return "\n".join(lines)


def _behind(officer: Officer) -> str:
    images = "1 real image" if officer.images == 1 else f"{officer.images} real images"
    if not officer.known_patients:
        return f"{images}, {officer.units} distinct pictures; their patients are unknown to the node"
    patients = "1 patient" if officer.units == 1 else f"{officer.units} patients"
    if officer.known_patients == officer.units:
        return f"{images} of {patients}"
    unknown = officer.units - officer.known_patients
    return f"{images} of {patients}, of which {unknown} are distinct pictures of unknown patients"


def _answer(answer: Answer) -> str:
    names = ", ".join(answer.attacks)
    if answer.succeeded:
        return f"An attack succeeded on {answer.succeeded} of {answer.generators} generators ({names})."
    if answer.undecided:
        return f"Not known: {answer.undecided} of {answer.generators} generators lack controls ({names})."
    return f"No listed attack succeeded on any of {answer.generators} generators ({names})."


def _figure(measure: Measure) -> str:
    compared = [
        f"{words} {value:.3g}"
        for words, value in (
            ("guessing gives", measure.baseline),
            ("member against member", measure.control),
            ("a generator that never saw the image", measure.stranger),
        )
        if value is not None
    ]
    interval = f"95 % interval {measure.low:.3g} to {measure.high:.3g}"
    return f"{figure_in_words(measure)}: {measure.value:.3g} ({'; '.join([interval, *compared])})"


def _excess(measure: Measure) -> float:
    """How much worse a figure is than what it is compared with; without a comparison, than 0."""
    reference = measure.baseline if measure.baseline is not None else measure.control
    excess = measure.value - (reference or 0.0)
    return -excess if measure.quantity in LOWER_IS_WORSE else excess
