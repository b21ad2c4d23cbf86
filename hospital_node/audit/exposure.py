"""Does a source stand out from images that the generator never saw? One test for every attack."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hospital_node.audit.attack import MIN_CONTROLS

LEVEL = 0.02
"""Chance that an audit without any leak says that an attack succeeded, if scores were Gaussian.

Tails of scores are heavier. `benchmarks/audit_power.py` counts the false alarms, at most 5 %.
"""
DECIDING = 8
"""Fewest other real images with which an attack that finds nothing counts as no better than guessing."""
COMPARISONS = 50
"""No audit makes more comparisons, so each is made at `LEVEL / COMPARISONS` (Bonferroni)."""


@dataclass(frozen=True)
class Exposure:
    """How much the sources stand out; None where there are too few other real images to say."""

    effect: float | None
    """Distance of the most exposed source from the others' mean, in their standard deviations."""
    at_chance: bool | None


def exposure(sources: NDArray[np.floating], controls: NDArray[np.floating]) -> Exposure:
    """Compare the sources' scores with those of other real images.

    Two one-sided Student tests. A single source must come before every control, and lie beyond the prediction
    interval for one more value of theirs. The sources together must lie before the controls on average.

    Args:
        sources: `(k,)`, one score per source: the lower, the more the generator gives away.
        controls: `(M,)`, the same scores of images that the generator never saw.
    """
    k, m = len(sources), len(controls)
    if m < MIN_CONTROLS or not k:
        return Exposure(None, None)
    mean, spread = float(controls.mean()), float(controls.std(ddof=1))
    # Scores that are all equal would make any difference infinitely large.
    spread = max(spread, 1e-6 * max(1.0, abs(mean)))
    best = float(sources.min())
    single = 1.0
    if best < controls.min():
        single = k * _tail((mean - best) / (spread * np.sqrt(1 + 1 / m)), m - 1)
    together = 1.0
    if k > 1:
        pooled = ((k - 1) * sources.var(ddof=1) + (m - 1) * spread**2) / (k + m - 2)
        together = _tail((mean - float(sources.mean())) / np.sqrt(pooled * (1 / k + 1 / m)), k + m - 2)
    # Two tests are made of one comparison.
    if 2 * min(single, together) <= LEVEL / COMPARISONS:
        return Exposure((mean - best) / spread, False)
    return Exposure((mean - best) / spread, True if m >= DECIDING else None)


def worst(found: Iterable[Exposure]) -> bool | None:
    """Whether all of them are at chance; None: none stands out, but one of them could not be decided."""
    return joined(one.at_chance for one in found)


def joined(at_chance: Iterable[bool | None]) -> bool | None:
    """`worst`, for what was already decided about each."""
    decided = list(at_chance)
    if False in decided:
        return False
    return True if decided and None not in decided else None


def _tail(t: float, freedom: int) -> float:
    # `scipy.stats` has it too, but takes a second to load.
    from scipy.special import stdtr

    return float(stdtr(freedom, -t))
