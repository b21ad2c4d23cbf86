"""Differentially private colours of the real images: six averages, published once for each set of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hospital_node.ledger.ledger import Ledger
from hospital_node.ledger.publications import Published
from hospital_node.statistics.epsilon_budget import require_budget
from hospital_node.statistics.privacy import Protection, add_noise
from sharekit.bundle.colour_statistics import BOUNDS, ColourStatistics

PREFIX = "colours of "
"""Begins the commitments of colours in the ledger, where histograms of the same images have theirs, too."""
STEPS = 1000
"""Whole numbers that each number's bounds are divided into: sums of whole numbers have no rounding errors."""


def protected_colours(pictures: NDArray[np.float64], epsilon: float) -> ColourStatistics:
    """Average the colours of pictures, with noise.

    Args:
        pictures: `(n, 6)`, as `picture_colours` gives them; one row for each patient or distinct picture.
        epsilon: privacy parameter of all six together (pure differential privacy).

    Another patient in one's place moves each of the six sums by at most `STEPS`. So the noise in an average
    has the scale `6 / (n epsilon)`, as a share of the width of its bounds.
    """
    low, high = np.array(list(BOUNDS.values())).T
    counts = np.rint((np.clip(pictures, low, high) - low) / (high - low) * STEPS).astype(np.int64)
    protection = Protection.by_laplace(
        epsilon,
        STEPS * len(BOUNDS),
        "divided by the public number of patients or pictures; clipped to the bounds",
    )
    sums = np.array(add_noise(counts.sum(axis=0).tolist(), protection.scale), np.float64)
    most = STEPS * len(pictures)
    values = low + np.clip(sums / most, 0, 1) * (high - low)
    return ColourStatistics(
        len(pictures),
        {name: round(float(value), 6) for name, value in zip(BOUNDS, values, strict=True)},
        {
            name: round(float(width * protection.scale / most), 6)
            for name, width in zip(BOUNDS, high - low, strict=True)
        },
        protection.to_json(),
    )


def published_colours(ledger: Ledger, commitment: str, epsilon: float) -> ColourStatistics | None:
    """What was published of this set of images at this epsilon; None: nothing yet."""
    for entry in ledger.publications.all(Published.COVERAGE):
        same = entry["commitment"] == f"{PREFIX}{commitment}"
        if same and entry["statistics"]["protection"]["epsilon"] == epsilon:
            return ColourStatistics.from_json(entry["statistics"])
    return None


def publish_colours(
    pictures: Sequence[NDArray[np.float64]],
    *,
    commitment: str,
    ledger: Ledger,
    epsilon: float,
    max_total_epsilon: float,
) -> ColourStatistics:
    """Protected colours of these pictures: the ones published before, or new ones that spend epsilon.

    Args:
        pictures: `picture_colours` of one picture of each patient, or of each distinct picture.
        commitment: keyed commitment to the set of images, which identifies a repetition.
        ledger: keeps everything published.
        epsilon: privacy parameter of new averages.
        max_total_epsilon: limit of the sum over everything that this node ever publishes, of any kind.

    Raises:
        PolicyError: new averages would spend more than the policy allows.
    """
    known = published_colours(ledger, commitment, epsilon)
    if known is not None:
        return known
    require_budget(ledger, "statistics.json, colours", epsilon, max_total_epsilon)
    found = protected_colours(np.stack(pictures), epsilon)
    # Written before anything is shown: an interrupted export must not draw again.
    entry: dict[str, Any] = {"commitment": f"{PREFIX}{commitment}", "statistics": found.to_json()}
    ledger.publications.append(Published.COVERAGE, [entry])
    return found
