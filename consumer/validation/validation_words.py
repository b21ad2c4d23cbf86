"""Put the figures into words, as answers to the questions that a reader has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from consumer.validation.edges import FOLLOWS
from consumer.validation.findings import follows_edges
from consumer.validation.measure_files import short
from consumer.validation.validation_report import (
    GeneratorSummary,
    Missing,
    ReferenceSummary,
    ValidationReport,
)
from sharekit.intervals import Interval, bootstrap_mean

MAX_NAMED = 3
"""Largest number of generators that a sentence names; the rest are only counted."""
WIDE = 0.75
"""Share of the whole data set's variety above which a generator varies widely."""


@dataclass(frozen=True)
class Answer:
    """A question about a data set, with the report's answer."""

    question: str
    text: str
    good: bool | None
    """Whether the answer is good news; None when it is neither good nor bad."""


def answers(report: ValidationReport) -> tuple[Answer, ...]:
    """The report's answers, the most useful first; none for an empty data set."""
    if not report.images:
        return ()
    found = [_broken(report), _edges(report), _diversity(report)]
    found += [_reference(entry) for entry in report.reference]
    found += [_missing(entry) for entry in report.missing]
    return tuple(answer for answer in found if answer is not None)


def given(interval: Interval, digits: int = 2, scale: float = 1.0) -> str:
    """A figure with its interval, such as `2.1 [1.9, 2.3]`."""
    mean, low, high = (scale * value for value in (interval.mean, interval.low, interval.high))
    return f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _broken(report: ValidationReport) -> Answer:
    question = "Are samples broken?"
    if not report.broken:
        return Answer(question, "No: no sample's mask is empty, a speck or full.", good=True)
    text = (
        f"{len(report.broken):,} of {report.images:,} are: their masks mark nothing, a speck or everything. "
        "Leave them out; the JSON report lists all of them."
    )
    return Answer(question, text, good=False)


def _edges(report: ValidationReport) -> Answer | None:
    if report.edges is None:
        return None
    measured = (
        f"On all masks' outlines the images' gradient is {given(report.edges, 1)} times that on the same "
        f"outlines elsewhere ({report.edges.count:,} images; by chance 1)."
    )
    missed = [entry for entry in report.generators if follows_edges(entry) is False]
    verdict = f"Not surely those of {_these(missed)} (limit {FOLLOWS})." if missed else "Yes."
    return Answer("Do the masks follow what can be seen?", f"{verdict} {measured}", good=not missed)


def _these(generators: Sequence[GeneratorSummary]) -> str:
    named = ", ".join(short(entry.id) for entry in generators[:MAX_NAMED])
    more = f" and {len(generators) - MAX_NAMED:,} more" if len(generators) > MAX_NAMED else ""
    return f"{len(generators):,} generators ({named}{more})" if len(generators) > 1 else named


def _diversity(report: ValidationReport) -> Answer | None:
    """How varied the data set is, by LPIPS if that was measured, otherwise by pixels."""
    if report.lpips is not None:
        whole, unit, digits = report.lpips, "LPIPS", 2
        groups = {entry: entry.lpips for entry in report.generators}
    elif report.mean_distance is not None:
        whole, unit, digits = report.mean_distance, "root mean square of 255", 0
        groups = {entry: entry.mean_distance for entry in report.generators}
    else:
        return None
    of_two = f"Two images of the whole data set differ by {given(whole, digits)} ({unit})"
    within = {entry: interval.mean for entry, interval in groups.items() if interval is not None}
    if len(report.generators) == 1 or not within:
        return Answer("How varied is it?", f"{of_two}; {whole.count:,} were compared.", good=None)
    mean = bootstrap_mean(list(within.values()))
    narrow = [entry for entry, variety in within.items() if variety <= WIDE * whole.mean]
    of_one = f"two of one generator by {given(mean, digits)} ({mean.count:,} generators)"
    text = f"{_breadth(narrow, len(within))} {of_two}, {of_one}."
    return Answer("How varied is it?", text, good=None)


def _breadth(narrow: Sequence[GeneratorSummary], count: int) -> str:
    """How many of `count` generators vary widely, and which do not."""
    if not narrow:
        return "Each generator varies widely."
    if len(narrow) == count:
        return "Most variety is between generators: many samples of one add little."
    wide = count - len(narrow)
    return f"{wide:,} of {count:,} generators vary widely; many samples of {_these(narrow)} add little."


def _reference(reference: ReferenceSummary) -> Answer:
    question = f"Does {reference.name} cover as much as in the real images?"
    distance = reference.kolmogorov_smirnov
    if distance is None:
        text = f"Unknown: the published counts are not of {reference.image_count:,} masks."
        return Answer(question, text, good=None)
    verdict = "No." if distance.is_beyond_chance else "No difference can be told from noise and chance."
    text = (
        f"{verdict} The Kolmogorov–Smirnov distance to the {reference.image_count:,} real masks is "
        f"{given(distance.interval)}, at 5 % bins and so a lower bound; for masks drawn from the real ones "
        f"it would be below {distance.chance:.2f}. Both include the noise of the published counts."
    )
    return Answer(question, text, good=False if distance.is_beyond_chance else None)


def _missing(missing: Missing) -> Answer:
    text = f"{missing.reason.capitalize()}. To have it: {missing.next_step}."
    return Answer(f"Why is {missing.figure} missing?", text, good=None)
