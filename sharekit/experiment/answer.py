"""The answer in words: can the synthetic data replace the real data, or only complement them?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sharekit.experiment import published
from sharekit.experiment.tables import IOU, REAL, Observation, Overall, Row, overall, summarise
from sharekit.intervals import Interval
from sharekit.page.mood import Mood

ENOUGH = 3
"""Fewest pairs of cells for a verdict; with fewer, an interval says little."""
_ARMS = {"both": "both together", "synthetic": "synthetic alone"}


_TABLE2 = {
    "both": {
        Mood.GOOD: "Synthetic data complement the real: together they are better.",
        Mood.WARN: "Adding synthetic data to the real: neither gain nor harm that can be told from chance.",
        Mood.BAD: "Adding synthetic data to the real did harm.",
    },
    "synthetic": {
        Mood.GOOD: "Synthetic data alone are better than the R real images.",
        Mood.WARN: "Synthetic data alone: neither gain nor loss that can be told from chance.",
        Mood.BAD: "Synthetic data alone are worse than the R real images.",
    },
}


@dataclass(frozen=True)
class Answer:
    """A verdict and the reasons for it."""

    mood: Mood
    verdict: str
    reasons: tuple[str, ...]


def answer(table: str, cells: Sequence[Observation]) -> Answer:
    """Derive the answer of one table from the cells that are done so far; pure."""
    rows = summarise(table, cells)
    compared = [(row, row.difference) for row in rows if row.difference is not None]
    if not compared:
        return Answer(Mood.WARN, "Too early to say: only the real arm is done.", ())
    return _of_table1(rows, compared) if table == "table1" else _of_table2(cells, compared)


def _of_table1(rows: Sequence[Row], compared: Sequence[tuple[Row, Interval]]) -> Answer:
    # Compare arms with equally many pairs only: one with fewer folds and seeds may have missed the hard ones.
    most = max(row.pairs for row, _ in compared)
    whole = [(row, difference) for row, difference in compared if row.pairs == most]
    best, difference = max(whole, key=lambda each: each[1].mean)
    real = next(row for row in rows if row.arm == REAL)
    share = "" if best.ratio is None else f", with {100 * best.ratio.mean:.0f} % of the IoU of real data"
    mood = mood_of(difference)
    verdict = {
        Mood.GOOD: f"Synthetic data can replace the real here{share}.",
        Mood.WARN: f"Undecided{share}: so few folds and seeds cannot tell the difference from chance.",
        Mood.BAD: f"Synthetic data cannot replace the real here{share}.",
    }[mood]
    left_out = len(compared) - len(whole)
    reasons = (
        f"The best of {len(whole)} synthetic arms, {best.arm}, has IoU {score(best.best[IOU])}, real "
        f"data {score(real.best[IOU])}; the paired difference is {signed(difference)}. Being the best of "
        "several, it is flattered a little."
        + (f" Arms with fewer cells, left out: {left_out}." if left_out else ""),
        f"The paper: {100 * published.BEST_RATIO:.1f} % "
        f"({published.BEST_SYNTHETIC_IOU} of {published.IOU['table1', REAL, None]}) with "
        f"{published.IMAGES} real images.",
    )
    return _hedged(Answer(mood, verdict, reasons), most)


def _of_table2(cells: Sequence[Observation], compared: Sequence[tuple[Row, Interval]]) -> Answer:
    """Judge each arm by one figure: with a verdict for each of many R, some would differ by chance."""
    found = {arm: figure for arm in _ARMS if (figure := overall(arm, cells)) is not None}
    if not found:
        return Answer(Mood.WARN, "Too early to say: the R have no fold and seed in common.", ())
    moods = {arm: mood_of(figure.difference) for arm, figure in found.items()}
    reasons = [
        *(_mean_over_images(arm, figure) for arm, figure in found.items()),
        "Each R alone, which is no verdict:",
        *(_alone(row, difference, found.get(row.arm)) for row, difference in compared),
        "The paper: synthetic data alone gain at R = 5 (IoU "
        f"{published.IOU['table2', REAL, 5]} to {published.IOU['table2', 'synthetic', 5]}) and lose from "
        "R = 20 on; it has no third arm.",
    ]
    verdict = " ".join(_TABLE2[arm][mood] for arm, mood in moods.items())
    least = min(figure.pairs for figure in found.values())
    return _hedged(Answer(moods.get("both", Mood.WARN), verdict, tuple(reasons)), least, " for each R")


def _mean_over_images(arm: str, figure: Overall) -> str:
    images = ", ".join(map(str, figure.images))
    difference = signed(figure.difference)
    return f"{_ARMS[arm].capitalize()} against real alone, mean over R = {images}: IoU {difference}"


def _alone(row: Row, difference: Interval, figure: Overall | None) -> str:
    share = "" if row.ratio is None else f", {percent(row.ratio)}"
    short = figure is None or row.images not in figure.images
    hedge = f" (not in the mean: {_cells(row.pairs)})" if short else ""
    return f"R = {row.images}, {row.arm}: IoU {signed(difference)} against real alone{share}{hedge}"


def mood_of(difference: Interval) -> Mood:
    """Whether a difference is a gain, a loss, or something that chance can do."""
    if difference.low > 0:
        return Mood.GOOD
    return Mood.BAD if difference.high < 0 else Mood.WARN


def _cells(pairs: int) -> str:
    return "a single pair of cells" if pairs == 1 else f"{pairs} pairs of cells"


def _hedged(found: Answer, pairs: int, each: str = "") -> Answer:
    """The same answer, weakened to "too early" when it rests on fewer than `ENOUGH` pairs."""
    if pairs >= ENOUGH:
        return found
    verdict = f"Too early for an answer: this rests on {_cells(pairs)}{each}. So far: {found.verdict}"
    return Answer(Mood.WARN, verdict, found.reasons)


def percent(ratio: Interval) -> str:
    """Format a ratio as `96 % [93, 99]`, without the interval if there is only one pair."""
    bounds = f" [{100 * ratio.low:.0f}, {100 * ratio.high:.0f}]" if ratio.count > 1 else ""
    return f"{100 * ratio.mean:.0f} %{bounds}"


def signed(difference: Interval) -> str:
    """Format a difference as `+0.120 [+0.030, +0.210]`, without the interval if there is only one pair."""
    bounds = f" [{difference.low:+.3f}, {difference.high:+.3f}]" if difference.count > 1 else ""
    return f"{difference.mean:+.3f}{bounds}"


def score(found: Interval) -> str:
    """Format a score as `0.790 [0.770, 0.810]`, without the interval if there is only one cell."""
    bounds = f" [{found.low:.3f}, {found.high:.3f}]" if found.count > 1 else ""
    return f"{found.mean:.3f}{bounds}"
