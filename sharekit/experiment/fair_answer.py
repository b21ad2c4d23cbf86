"""The answer of a fair comparison in words: does synthetic data help me, when, by how much?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sharekit.experiment.answer import Answer, mood_of, percent, score, signed
from sharekit.experiment.fair_comparisons import CLASSICAL, EXTERNAL, LAST, Comparison, Comparisons, compare
from sharekit.experiment.fair_comparisons import stratum_labels as labels_of
from sharekit.experiment.fair_plan import LEAST_DRAWS, NAME, FairPlan, Role
from sharekit.experiment.tables import IOU, REAL, Observation, summarise
from sharekit.page.mood import Mood

_VERDICTS = {
    Mood.GOOD: "Yes: on top of the best that costs nothing, synthetic images gain {} IoU.",
    Mood.WARN: "Not shown: on top of the best that costs nothing, synthetic images change IoU by {}, which "
    "chance alone can do.",
    Mood.BAD: "No: on top of the best that costs nothing, synthetic images do harm: {} IoU.",
}


def fair_answer(plan: FairPlan, cells: Sequence[Observation]) -> Answer:
    """Derive the answer from the cells that are done so far; pure. Only the primary comparison decides."""
    found = compare(plan, cells)
    reasons = (*_primary(plan, found), *_alternatives(plan, found, cells), *_control(plan, found))
    primary = found.get(plan.primary.arm, None, CLASSICAL)
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


def _primary(plan: FairPlan, found: Comparisons) -> Iterator[str]:
    """When, and by how much: the primary comparison at each R, by size, elsewhere, with the last weights."""

    def shown(title: str, each: Comparison | None) -> Iterator[str]:
        if each is not None:
            yield f"{title} {signed(each.difference)}"

    arm = plan.primary.arm
    for images in plan.real:
        best = found.best.get(images)
        on_top = "" if best is None else f" on top of {best.name}"
        yield from shown(f"R = {images}, synthetic{on_top}:", found.get(arm, images, CLASSICAL))
    sizes = [
        f"{label} of the picture {signed(each.difference)}"
        for label in labels_of(plan.strata)
        if (each := found.get(arm, None, CLASSICAL, label)) is not None
    ]
    if sizes:
        yield f"The same by the size of the lesion: {', '.join(sizes)}."
    yield from shown("The same on the external data:", found.get(arm, None, CLASSICAL, EXTERNAL))
    yield from shown(
        "The same with the last weights, which no image chose:", found.get(arm, None, CLASSICAL, LAST)
    )


def _alternatives(plan: FairPlan, found: Comparisons, cells: Sequence[Observation]) -> Iterator[str]:
    """What costs nothing brings, and what synthetic images bring without it."""
    for images, best in sorted(found.best.items()):
        gain = found.get(best.name, images, REAL)
        by = "" if gain is None else f": {signed(gain.difference)} against plain real images"
        yield f"For nothing at R = {images}: {best.name} is the best by the validation images{by}."
    for arm in plan.of(Role.SYNTHETIC):
        if (mean := found.get(arm.name, None, REAL)) is not None:
            yield f"{arm.name} against plain real images: {signed(mean.difference)}"
    alone = [cell for cell in cells if cell.arm == REAL or not cell.real_images]
    for row in summarise(NAME, alone):
        if row.real_images == 0 and row.ratio is not None:
            share = f"{percent(row.ratio)} of real, IoU {score(row.best[IOU])}"
            yield f"R = {row.images}, {row.arm} alone has {share}."


def _control(plan: FairPlan, found: Comparisons) -> Iterator[str]:
    for arm in plan.of(Role.CONTROL):
        if (mean := found.get(arm.name, None, REAL)) is not None:
            yield f"Chance alone ({arm.name}): {signed(mean.difference)} against the same images once."
