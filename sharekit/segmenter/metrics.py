"""Foreground scores of a segmentation for each image, as in Thambawita et al., PLOS ONE 2022.

The paper averages over validation batches of one image each, so the means here are over images. The
thresholded scores are those of `segmentation_models_pytorch.metrics` with `zero_division=1`: 0 / 0 counts as
1, so an empty prediction for an empty mask is perfect, an empty prediction has precision 1, and an empty mask
has recall 1. The soft dice loss is smoothed by 1 in numerator and denominator, which defines it for empty
masks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from sharekit.errors import InputError
from sharekit.generator.tensors import PROBABILITY_THRESHOLD
from sharekit.intervals import Interval, bootstrap_mean

SMOOTHING = 1.0
"""Added to numerator and denominator of the soft dice coefficient, in pixels."""


@dataclass(frozen=True)
class ImageScores:
    """Scores of one image, each 0 to 1; a lower dice loss is better, for the others higher is better."""

    dice_loss: float
    """1 - (2 sum(p t) + 1) / (sum(p) + sum(t) + 1), p the probabilities and t the truth."""
    iou: float
    """TP / (TP + FP + FN)."""
    f_score: float
    """2 TP / (2 TP + FP + FN)."""
    accuracy: float
    """(TP + TN) / all."""
    recall: float
    """TP / (TP + FN)."""
    precision: float
    """TP / (TP + FP)."""


class Metric(StrEnum):
    """The name of a score, used as the field of `ImageScores` and as a key in JSON reports."""

    DICE_LOSS = "dice_loss"
    IOU = "iou"
    F_SCORE = "f_score"
    ACCURACY = "accuracy"
    RECALL = "recall"
    PRECISION = "precision"


METRICS = tuple(Metric)
WORST = ImageScores(dice_loss=1.0, iou=0.0, f_score=0.0, accuracy=0.0, recall=0.0, precision=0.0)
"""Scores of an image for which a model gives no valid output."""


def score_image(
    probabilities: NDArray[np.floating],
    truth: NDArray[np.bool_],
    *,
    threshold: float = PROBABILITY_THRESHOLD,
) -> ImageScores:
    """Compute the scores of one image.

    Args:
        probabilities: `(h, w)`, foreground probability in [0, 1].
        truth: `(h, w)` bool.
        threshold: a probability above this is foreground.

    Raises:
        InputError: the shapes differ or are empty.
    """
    if probabilities.shape != truth.shape or truth.size == 0:
        raise InputError(
            "mask",
            expected=f"probabilities of the truth's shape, {truth.shape}",
            found=str(probabilities.shape),
            next_step="prepare both with one segmenter contract",
        )
    soft = probabilities.astype(np.float64)
    predicted = soft > threshold
    hits = int(np.count_nonzero(predicted & truth))
    false_alarms = int(np.count_nonzero(predicted & ~truth))
    misses = int(np.count_nonzero(~predicted & truth))
    overlap, area = float(soft[truth].sum()), float(soft.sum() + np.count_nonzero(truth))
    return ImageScores(
        dice_loss=1 - (2 * overlap + SMOOTHING) / (area + SMOOTHING),
        iou=_ratio(hits, hits + false_alarms + misses),
        f_score=_ratio(2 * hits, 2 * hits + false_alarms + misses),
        accuracy=(truth.size - false_alarms - misses) / truth.size,
        recall=_ratio(hits, hits + misses),
        precision=_ratio(hits, hits + false_alarms),
    )


def mean_scores(scores: Sequence[ImageScores]) -> Mapping[Metric, Interval]:
    """Means over images with bootstrap intervals, by metric, for readers who may see the scores themselves.

    The intervals reveal how the scores are distributed. Reports about private images use
    `evaluation_report.reported_interval` instead.

    Raises:
        InputError: `scores` is empty.
    """
    if not scores:
        raise InputError(
            "scores", expected="at least one image", found="none", next_step="score images before asking"
        )
    return {name: bootstrap_mean([getattr(score, name) for score in scores]) for name in METRICS}


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 1.0
