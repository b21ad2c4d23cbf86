"""The answer of a fair comparison in words: does synthetic data help me, when, by how much?"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from sharekit.experiment.answer import Answer, mood_of, percent, signed
from sharekit.experiment.fair_comparisons import CLASSICAL, EXTERNAL, LAST, Comparison, Comparisons, compare
from sharekit.experiment.fair_comparisons import stratum_labels as labels_of
from sharekit.experiment.fair_plan import LEAST_DRAWS, NAME, FairPlan, Role
from sharekit.experiment.tables import IOU, REAL, Observation, summarise
from sharekit.page.mood import Mood
from sharekit.program.phrases import counted

WORTH = 0.02
"""Gain of IoU that the page estimates the effort for, where the comparison shows none."""
_VERDICTS = {
    Mood.GOOD: "Yes: on top of the best that costs nothing, synthetic images gain {} IoU.",
    Mood.WARN: "Not shown: on top of the best that costs nothing, synthetic images change IoU by {}. Chance "
    "alone can do that.",
    Mood.BAD: "No: on top of the best that costs nothing, synthetic images do harm: {} IoU.",
}


def fair_answer(plan: FairPlan, cells: Sequence[Observation]) -> Answer:
    """Derive the answer from the cells that are done so far; pure. Only the primary comparison decides."""
    found = compare(plan, cells)
    primary = found.get(plan.primary.arm, None, CLASSICAL)
    reasons = (
        *_scores(plan, found, cells),
        *_primary(plan, found),
        *_alternatives(plan, found, cells),
        *_levers(plan, found),
        *_needed(primary),
        *_control(plan, found),
    )
    if primary is None:
        return Answer(Mood.WARN, f"Too early to say: {plan.primary.arm} has no pair of cells yet.", reasons)
    mood = mood_of(primary.difference)
    verdict = _VERDICTS[mood].format(signed(primary.difference))
    if primary.pairs >= LEAST_DRAWS:
        return Answer(mood, verdict, reasons)
    early = (
        f"Too early for an answer: this rests on {primary.pairs} of at least {LEAST_DRAWS} pairs. So far: "
    )
    return Answer(Mood.WARN, early + verdict, reasons)


def _scores(plan: FairPlan, found: Comparisons, cells: Sequence[Observation]) -> Iterator[str]:
    """The IoU itself: with plain real images, with the best that costs nothing, then with samples on top."""
    rows = {(row.arm, row.images): row.best[IOU].mean for row in summarise(NAME, cells)}
    for images, best in sorted(found.best.items()):
        names = {REAL: "plain real images", best.name: f"the best that costs nothing ({best.name})"}
        names[plan.primary.arm] = "synthetic images on top of it"
        known = [
            f"{rows[arm, images]:.3f} with {words}" for arm, words in names.items() if (arm, images) in rows
        ]
        yield f"IoU with R = {images}: {', '.join(known)}."


def _primary(plan: FairPlan, found: Comparisons) -> Iterator[str]:
    """When, and by how much: the primary comparison at each R, by size, elsewhere, with the last weights."""
    arm = plan.primary.arm
    by_images = [
        (f"R = {images}, on top of {best.name}", found.get(arm, images, CLASSICAL))
        for images, best in sorted(found.best.items())
    ]
    # With one R, the verdict has said it.
    yield from _listed("When", by_images if len(by_images) > 1 else [])
    sizes = ((label, found.get(arm, None, CLASSICAL, label)) for label in labels_of(plan.strata))
    yield from _listed("By the share of the picture that is lesion", sizes)
    yield from _listed("Elsewhere", [("on the external data", found.get(arm, None, CLASSICAL, EXTERNAL))])
    yield from _listed(
        "With the last weights", [("which no image chose", found.get(arm, None, CLASSICAL, LAST))]
    )


def _alternatives(plan: FairPlan, found: Comparisons, cells: Sequence[Observation]) -> Iterator[str]:
    """What costs nothing brings, and what synthetic images bring without it."""
    free = [(arm.name, found.get(arm.name, None, REAL)) for arm in plan.of(Role.CLASSICAL)]
    yield from _listed("What costs nothing, against plain real images", free)
    if found.best:
        plain = {REAL: "plain real images"}
        named = [
            f"{plain.get(best.name, best.name)} (R = {images})" for images, best in sorted(found.best.items())
        ]
        yield f"Of what costs nothing, the validation images choose {', '.join(named)}."
    arms = [(arm.name, found.get(arm.name, None, REAL)) for arm in plan.of(Role.SYNTHETIC)]
    yield from _listed("Synthetic images, against plain real images", arms)
    alone = [cell for cell in cells if cell.arm == REAL or not cell.real_images]
    shares = [
        f"R = {row.images}, {row.arm}: {percent(row.ratio)}"
        for row in summarise(NAME, alone)
        if row.real_images == 0 and row.ratio is not None
    ]
    if shares:
        yield f"Share of the IoU of real images: {'; '.join(shares)}."


def _levers(plan: FairPlan, found: Comparisons) -> Iterator[str]:
    """What each lever changes, next to the same arm without it."""
    if plan.base is not None:
        names = [(arm.name, arm.name.removeprefix("lever: ")) for arm in plan.of(Role.LEVER)]
        levers = [(words, found.get(name, None, plan.base.name)) for name, words in names]
        yield from _listed(f"Levers, each against {plan.base.name} without it", levers)
        known = [(words, each.difference) for words, each in levers if each is not None]
        if known:
            gains = [words for words, difference in known if mood_of(difference) is Mood.GOOD]
            shown = f"a gain shows for {', '.join(gains)}" if gains else "none shows a gain"
            yield f"Of {counted(len(known), 'lever')}, {shown}. Among many, one may do so by chance."


def _control(plan: FairPlan, found: Comparisons) -> Iterator[str]:
    arms = [(arm.name, found.get(arm.name, None, REAL)) for arm in plan.of(Role.CONTROL)]
    yield from _listed("What chance does, against the same images", arms)


def _needed(primary: Comparison | None) -> Iterator[str]:
    """What a null result excludes, and what a clearer one would take."""
    if primary is None or primary.difference.count < 2 or mood_of(primary.difference) is not Mood.WARN:
        return
    found = primary.difference
    reach = (found.high - found.low) / 2
    # The reach falls with the square root of the number of units.
    needed = math.ceil(found.count * (reach / WORTH) ** 2)
    yield f"A gain of more than {found.high:.3f} is unlikely."
    if needed > found.count:
        yield f"At this spread, telling a gain of {WORTH} from chance takes about {needed} draws or folds."


def _listed(title: str, parts: Iterable[tuple[str, Comparison | None]]) -> Iterator[str]:
    """One line with every difference that is known; nothing without any."""
    known = [f"{name} {signed(each.difference)}" for name, each in parts if each is not None]
    if known:
        yield f"{title}: {'; '.join(known)}."
