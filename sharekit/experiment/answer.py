"""What the numbers say in words: can the synthetic data replace the real, or only complement them?"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sharekit.experiment import published
from sharekit.experiment.tables import IOU, REAL, Row
from sharekit.intervals import Interval

ENOUGH = 3
"""Pairs of cells below which an interval says little."""


class Mood(enum.StrEnum):
    GOOD = "good"
    WARN = "warn"
    BAD = "bad"


@dataclass(frozen=True)
class Answer:
    """A verdict and what it rests on."""

    mood: Mood
    verdict: str
    reasons: tuple[str, ...]


def answer(table: str, rows: Sequence[Row]) -> Answer:
    """The answer of one table, from the rows that there are so far; pure."""
    compared = [row for row in rows if row.arm != REAL and row.difference is not None]
    if not compared:
        return Answer(Mood.WARN, "Too early to say: no arm is done beside the real one.", ())
    return _of_table1(rows, compared) if table == "table1" else _of_table2(compared)


def _of_table1(rows: Sequence[Row], compared: Sequence[Row]) -> Answer:
    best = max(compared, key=lambda row: row.best[IOU].mean)
    real = next(row for row in rows if row.arm == REAL)
    difference, ratio = best.difference, best.ratio
    if difference is None or ratio is None:
        raise ValueError("a compared row has a difference and a ratio")
    reached = f"{percent(ratio)} of what real data give"
    if difference.low > 0:
        mood, verdict = Mood.GOOD, f"Synthetic data can replace the real here: they reach {reached}."
    elif difference.high >= 0:
        mood = Mood.WARN
        verdict = f"Synthetic data come close to the real here ({reached}); no difference was shown."
    else:
        mood, verdict = Mood.BAD, f"Synthetic data cannot replace the real here: they reach {reached}."
    reasons = [
        f"The best of {len(compared)} synthetic arms, {best.arm}, has IoU {score(best.best[IOU])}, real "
        f"data {score(real.best[IOU])}; the paired difference is {signed(difference)}. Being the best of "
        "several, it is flattered a little.",
        f"The paper: {100 * published.BEST_RATIO:.1f} % "
        f"({published.BEST_SYNTHETIC_IOU} of {published.IOU['table1', REAL, None]}) with "
        f"{published.IMAGES} real images.",
    ]
    return _hedged(Answer(mood, verdict, tuple(reasons)), best.pairs)


def _of_table2(compared: Sequence[Row]) -> Answer:
    synthetic = [row for row in compared if row.arm == "synthetic"]
    both = [row for row in compared if row.arm == "both"]
    better, worse = _where(synthetic, lambda d: d.low > 0), _where(synthetic, lambda d: d.high < 0)
    helped, hurt = _where(both, lambda d: d.low > 0), _where(both, lambda d: d.high < 0)
    if hurt:
        mood, verdict = Mood.BAD, f"Adding synthetic data to the real did harm at R = {hurt}."
    elif helped:
        mood, verdict = (
            Mood.GOOD,
            f"Synthetic data complement the real: together they are better at R = {helped}.",
        )
    else:
        mood, verdict = Mood.WARN, "Adding synthetic data to the real made no difference that could be shown."
    if better:
        verdict += f" Alone, they are better than the R real images at R = {better}."
    elif worse:
        verdict += f" Alone, they are worse than the R real images at R = {worse}."
    reasons = [
        f"R = {row.images}, {row.arm}: IoU {signed(row.difference)} against real alone, {percent(row.ratio)}"
        for row in compared
        if row.difference is not None and row.ratio is not None
    ]
    reasons.append(
        "The paper: synthetic data alone gain at R = 5 (IoU "
        f"{published.IOU['table2', REAL, 5]} to {published.IOU['table2', 'synthetic', 5]}) and lose from "
        "R = 20 on; it has no third arm."
    )
    return _hedged(Answer(mood, verdict, tuple(reasons)), min(row.pairs for row in compared))


def _where(rows: Sequence[Row], holds: Callable[[Interval], bool]) -> str:
    return ", ".join(str(row.images) for row in rows if row.difference is not None and holds(row.difference))


def _hedged(found: Answer, pairs: int) -> Answer:
    """The same answer, as weak as its number of pairs."""
    if pairs >= ENOUGH:
        return found
    cells = "a single pair of cells" if pairs == 1 else f"{pairs} pairs of cells"
    verdict = f"Too early for an answer: this rests on {cells}. So far: {found.verdict}"
    return Answer(Mood.WARN, verdict, found.reasons)


def percent(ratio: Interval) -> str:
    """`96 % [93, 99]`, without the interval where a single pair has none."""
    bounds = f" [{100 * ratio.low:.0f}, {100 * ratio.high:.0f}]" if ratio.count > 1 else ""
    return f"{100 * ratio.mean:.0f} %{bounds}"


def signed(difference: Interval) -> str:
    """`+0.120 [+0.030, +0.210]`, without the interval where a single pair has none."""
    bounds = f" [{difference.low:+.3f}, {difference.high:+.3f}]" if difference.count > 1 else ""
    return f"{difference.mean:+.3f}{bounds}"


def score(found: Interval) -> str:
    """`0.790 [0.770, 0.810]`, without the interval where a single cell has none."""
    bounds = f" [{found.low:.3f}, {found.high:.3f}]" if found.count > 1 else ""
    return f"{found.mean:.3f}{bounds}"
