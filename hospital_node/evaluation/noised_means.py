"""Means of scores with noise, all that a report says about them, so that no single patient shows.

Differential privacy protects against replacing one unit (a patient's images, or those of one picture where
the patient is unknown) by another with masks of the same classes. A unit counts once, by the mean of its
images. The number of units of each class is public.

Scores are counted in thousandths, so that the noise is drawn exactly, for integers (the discrete Laplace
mechanism: Ghosh, Roughgarden and Sundararajan, STOC 2009).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean

from hospital_node.statistics.privacy import add_noise
from sharekit.intervals import Interval
from sharekit.segmenter.evaluation_report import noise_scale, reported_interval
from sharekit.segmenter.metrics import METRICS, ImageScores

STEPS = 1000  # steps of a score from 0 to 1
SINGLE_METRIC = "iou"
"""The only metric reported for a small hold-out: the noise of six metrics would drown all of them."""


def reported_metrics(counts: Sequence[int], images_for_all: int) -> tuple[str, ...]:
    """The metrics that a report holds: all, or one where a class has few images.

    Args:
        counts: units of each class.
        images_for_all: least number of every class for which all metrics are reported.
    """
    return METRICS if min(counts) >= images_for_all else (SINGLE_METRIC,)


def mean_by_unit(scores: Mapping[str, ImageScores], whose: Mapping[str, int]) -> list[ImageScores]:
    """The scores of each unit: the means over its images.

    Args:
        scores: image to its scores.
        whose: image to the number of its unit.
    """
    units: dict[int, list[ImageScores]] = defaultdict(list)
    for image, found in scores.items():
        units[whose[image]].append(found)
    return [
        ImageScores(**{name: fmean(getattr(one, name) for one in found) for name in METRICS})
        for found in units.values()
    ]


def noised_means(
    scores: Mapping[str, Sequence[ImageScores]], metrics: Sequence[str], *, epsilon: float, decimals: int
) -> Mapping[str, Mapping[str, Interval]]:
    """Add noise to the means: class to metric to noised mean.

    One unit moves every mean of every class by at most 1 / count, so noise of the scale `noise_scale` on
    each makes all figures together `epsilon`-differentially private.

    Args:
        scores: class to the scores of its units, each 0 to 1; at least one.
        metrics: which to report.
        epsilon: privacy parameter of all figures together.
        decimals: number of decimals of every figure.
    """
    figures = len(metrics) * len(scores)
    reported = {}
    for name, values in scores.items():
        sums = [sum(round(STEPS * getattr(one, metric)) for one in values) for metric in metrics]
        noised = add_noise(sums, STEPS * figures / epsilon)
        scale = noise_scale(figures, epsilon, len(values))
        reported[name] = {
            metric: reported_interval(total / (STEPS * len(values)), len(values), decimals, scale)
            for metric, total in zip(metrics, noised, strict=True)
        }
    return reported
