"""Scores of a segmentation: hand-computed values, laws, and the package that the paper used."""

from __future__ import annotations

from dataclasses import astuple, fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sharekit.errors import InputError
from sharekit.segmenter.metrics import METRICS, SMOOTHING, ImageScores, Metric, mean_scores, score_image

shapes = st.tuples(st.integers(1, 8), st.integers(1, 8))
pairs = shapes.flatmap(
    lambda shape: st.tuples(
        hnp.arrays(np.float32, shape, elements=st.floats(0, 1, width=32)), hnp.arrays(np.bool_, shape)
    )
)


def test_a_hand_computed_image() -> None:
    truth = np.array([[1, 1, 1, 0], [0, 0, 0, 0]], bool)
    probabilities = np.array([[1.0, 0.75, 0.25, 0.75], [0.0, 0.0, 0.25, 0.0]])
    scores = score_image(probabilities, truth)
    assert scores.dice_loss == pytest.approx(1 - (2 * 2.0 + 1) / (3.0 + 3 + 1))
    assert scores.iou == pytest.approx(2 / 4)
    assert scores.f_score == pytest.approx(4 / 6)
    assert scores.accuracy == pytest.approx(6 / 8)
    assert scores.recall == pytest.approx(2 / 3)
    assert scores.precision == pytest.approx(2 / 3)


def test_nothing_of_nothing_is_perfect() -> None:
    nothing = np.zeros((3, 4))
    assert score_image(nothing, nothing > 0) == ImageScores(0.0, 1.0, 1.0, 1.0, 1.0, 1.0)


def test_something_of_nothing_and_nothing_of_something() -> None:
    full, empty = np.ones((2, 2)), np.zeros((2, 2))
    assert score_image(full, empty > 0) == ImageScores(0.8, 0.0, 0.0, 0.0, 1.0, 0.0)
    assert score_image(empty, full > 0) == ImageScores(0.8, 0.0, 0.0, 0.0, 0.0, 1.0)


def test_a_probability_at_the_threshold_is_background() -> None:
    truth = np.ones((1, 2), bool)
    assert score_image(np.array([[0.5, 0.6]]), truth).recall == 0.5
    assert score_image(np.array([[0.5, 0.6]]), truth, threshold=0.4).recall == 1.0


@given(pairs)
def test_scores_are_shares_and_agree_with_each_other(pair: tuple[np.ndarray, np.ndarray]) -> None:
    scores = score_image(*pair)
    assert all(0 <= value <= 1 for value in astuple(scores))
    assert scores.f_score == pytest.approx(2 * scores.iou / (1 + scores.iou))
    assert scores.iou <= min(scores.recall, scores.precision) + 1e-12


@given(pairs)
def test_swapping_prediction_and_truth_swaps_recall_and_precision(
    pair: tuple[np.ndarray, np.ndarray],
) -> None:
    probabilities, truth = pair
    predicted = probabilities > 0.5
    scores = score_image(predicted.astype(np.float32), truth)
    swapped = score_image(truth.astype(np.float32), predicted)
    assert (scores.recall, scores.precision) == (swapped.precision, swapped.recall)
    assert (scores.iou, scores.accuracy) == (swapped.iou, swapped.accuracy)


@given(pairs)
def test_the_truth_itself_is_perfect(pair: tuple[np.ndarray, np.ndarray]) -> None:
    truth = pair[1]
    assert score_image(truth.astype(np.float32), truth) == ImageScores(0.0, 1.0, 1.0, 1.0, 1.0, 1.0)


def test_scores_are_those_of_segmentation_models_pytorch() -> None:
    torch = pytest.importorskip("torch")
    from consumer.torch_support import define_missing_operators

    define_missing_operators()
    smp = pytest.importorskip("segmentation_models_pytorch")
    rng = np.random.default_rng(0)
    loss = smp.losses.DiceLoss("binary", from_logits=False, smooth=SMOOTHING / 2)
    for _ in range(20):
        probabilities = rng.random((9, 11), np.float32)
        truth = rng.random((9, 11)) < rng.choice([0.0, 0.1, 0.5, 1.0])
        truth[0, 0] = True  # smp leaves images without foreground out of its loss
        ours = score_image(probabilities, truth)
        output, target = (torch.from_numpy(values)[None, None] for values in (probabilities, truth))
        counts = smp.metrics.get_stats(output, target.long(), mode="binary", threshold=0.5)
        for name in ("iou", "f_score", "accuracy", "recall", "precision"):
            metric = {"iou": "iou_score", "f_score": "f1_score"}.get(name, name)
            theirs = getattr(smp.metrics, metric)(*counts, reduction="micro-imagewise", zero_division=1.0)
            assert getattr(ours, name) == pytest.approx(float(theirs), abs=1e-6)
        assert ours.dice_loss == pytest.approx(float(loss(output, target.float())), abs=1e-5)


def test_every_score_has_a_name() -> None:
    assert [metric.value for metric in Metric] == [field.name for field in fields(ImageScores)]


def test_means_are_over_images() -> None:
    scores = [ImageScores(0.0, 1.0, 1.0, 1.0, 1.0, 1.0), ImageScores(0.5, 0.0, 0.0, 0.5, 0.0, 1.0)]
    means = mean_scores(scores)
    assert tuple(means) == METRICS
    assert (means[Metric.IOU].mean, means[Metric.DICE_LOSS].mean, means[Metric.IOU].count) == (0.5, 0.25, 2)
    assert means[Metric.IOU].low <= means[Metric.IOU].mean <= means[Metric.IOU].high


def test_no_scores_have_no_mean() -> None:
    with pytest.raises(InputError):
        mean_scores([])


@pytest.mark.parametrize("shape", [(3, 4), (0, 0)])
def test_shapes_must_agree(shape: tuple[int, int]) -> None:
    with pytest.raises(InputError):
        score_image(np.zeros(shape), np.zeros((0, 0) if shape == (0, 0) else (4, 3), bool))
