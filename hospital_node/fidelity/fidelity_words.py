"""Fidelity in words: a figure for real images, the same figure for samples, and whether they differ."""

from __future__ import annotations

from hospital_node.fidelity.fidelity_report import Comparison, FidelityReport, Figure

BIAS = (
    "FID grows as sets get smaller: only the two figures of equal halves may be compared with each other, not"
    " with the FID of other sizes or of the usual 2048 dimensions."
)
HALVES = (
    "Real against real is one half of the real images against the other; for samples against real, the first"
    " half is replaced by samples of its generators, so that no sample meets its own source. The middle 95 %"
    " over the halves errs on the cautious side: a small difference does not show."
)
SMALL_P = 0.05
"""A test's p below this counts as a difference, even where the interval shows none."""


def in_words(found: Comparison) -> str:
    """`real against real: x; samples against real: y`, and what the difference means."""
    return (
        f"{found.name}, {found.better} is better: real against real {found.floor};"
        f" samples against real {found.samples}: {verdict(found)}"
    )


def verdict(found: Comparison) -> str:
    """What the interval of the difference shows, with the test's p if a test exists."""
    test = "" if found.p is None else f" (p = {found.p:.2g})"
    halves = f"halves of {found.floor.count} images"
    if found.worse:
        return f"worse than real images{test}"
    if found.beats_real:
        return f"better than real images do{test}: look for copies and for lack of variety"
    if found.p is not None and found.p < SMALL_P:
        return f"a difference{test} too small for {halves} to show"
    return f"no difference that {halves} show{test}"


def figure_in_words(found: Figure) -> str:
    """A mean over generators, and what it is compared with."""
    reference = "unknown" if found.reference is None else str(found.reference)
    return f"{found.name}: {found.value}, {found.compared_with} {reference}"


def basis(report: FidelityReport) -> str:
    """The numbers of images, samples and halves behind the figures."""
    lines = (
        f"{len(report.generators)} generators, {report.settings.samples} samples and one real image of each"
    )
    if report.comparisons:
        half = report.comparisons[0].floor.count
        lines += f"; {report.settings.halves} random halves of {half} images, one sample each"
    return f"{lines}; [low, high] is the middle 95 % over the halves, or a 95 % bootstrap interval of a mean"
