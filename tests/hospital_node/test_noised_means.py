"""What a noised answer tells of single pictures, and that it still tells how good a model is."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest

from hospital_node.evaluation.evaluation_policy import EvaluationPolicy
from hospital_node.evaluation.noised_means import noised_means, reported_metrics
from sharekit.intervals import Interval
from sharekit.segmenter.evaluation_report import noise_scale, reported_interval
from sharekit.segmenter.metrics import METRICS, WORST, ImageScores

POLICY = EvaluationPolicy()
SMALL = POLICY.min_images
LARGE = POLICY.images_for_all_metrics
WEIGHTS = (1.0, 0.5, 0.25)
"""What a hostile model scores on each known picture that is in the hold-out; elsewhere it has 0."""
CARRIERS = ("recall", "precision", "iou")
"""The metrics that carry the answers: two known pictures each."""


def scores_of(
    members: tuple[int, ...], images: int, metrics: tuple[str, ...] = CARRIERS
) -> list[ImageScores]:
    """Scores of a model that answers for known pictures by metric and weight; `members` says which are in."""
    slots = [(metric, weight) for metric in metrics for weight in WEIGHTS[: len(members) // len(metrics)]]
    blank = dataclasses.replace(WORST, dice_loss=0.0)
    chosen = [
        dataclasses.replace(blank, **{metric: weight})
        for member, (metric, weight) in zip(members, slots, strict=True)
        if member
    ]
    return chosen + [blank] * (images - len(chosen))


def exact_means(scores: list[ImageScores]) -> dict[str, Interval]:
    """The means as they were reported before there was noise: two decimals."""
    return {
        metric: reported_interval(float(np.mean([getattr(one, metric) for one in scores])), len(scores), 2)
        for metric in METRICS
    }


def decoded(given: dict[str, Interval], count: int, images: int) -> tuple[int, ...]:
    """The memberships whose exact means are nearest to what was reported."""
    return min(
        itertools.product((0, 1), repeat=count),
        key=lambda members: sum(
            abs(given[metric].mean - exact_means(scores_of(members, images))[metric].mean)
            for metric in CARRIERS
            if metric in given
        ),
    )


SECRETS = list(itertools.product((0, 1), repeat=6))


def test_without_noise_one_answer_gave_six_known_pictures_away() -> None:
    """The control: the attack that the noise is there for, with weights of 1 and 1/2 on three metrics."""
    assert all(decoded(exact_means(scores_of(secret, SMALL)), 6, SMALL) == secret for secret in SECRETS[::5])


def test_with_noise_one_answer_does_not_give_six_known_pictures_away() -> None:
    lattice = {members: exact_means(scores_of(members, LARGE)) for members in SECRETS}

    def nearest(given: dict[str, Interval]) -> tuple[int, ...]:
        return min(
            SECRETS,
            key=lambda members: sum(abs(given[one].mean - lattice[members][one].mean) for one in CARRIERS),
        )

    right, tries = 0, 200
    for number in range(tries):
        secret = SECRETS[number % len(SECRETS)]
        scores = {"foreground": scores_of(secret, LARGE)}
        given = noised_means(scores, METRICS, epsilon=POLICY.epsilon, decimals=3)
        right += nearest(dict(given["foreground"])) == secret
    # One in 64 by chance; at most e^6 / (63 + e^6) of all by the epsilon, were it spent on one question.
    assert right / tries < 0.1


def test_one_picture_is_found_as_often_as_epsilon_allows_and_no_more() -> None:
    """The best test of one picture's membership: is the mean nearer to the one with it?"""
    tries, right = 1500, 0
    for number in range(tries):
        member = number % 2
        scores = {"foreground": scores_of((member,), SMALL, ("iou",))}
        given = noised_means(scores, ("iou",), epsilon=POLICY.epsilon, decimals=3)
        right += (given["foreground"]["iou"].mean > 0.5 / SMALL) == bool(member)
    allowed = math.exp(POLICY.epsilon) / (1 + math.exp(POLICY.epsilon))
    deviation = 0.5 / math.sqrt(tries)
    assert 0.6 < right / tries < allowed + 3 * deviation


@pytest.mark.parametrize(("metrics", "classes"), [(("iou",), 1), (METRICS, 1), (("iou",), 2)])
def test_the_noise_has_the_scale_that_all_figures_together_need(
    metrics: tuple[str, ...], classes: int
) -> None:
    images = 100
    half = [dataclasses.replace(WORST, dice_loss=0.5, iou=0.5, f_score=0.5)] * images
    scores = {f"class {number}": half for number in range(classes)}
    drawn = [
        noised_means(scores, metrics, epsilon=2.0, decimals=3)["class 0"]["iou"].mean for _ in range(1500)
    ]
    expected = len(metrics) * classes / (2.0 * images)
    assert noise_scale(len(metrics) * classes, 2.0, images) == pytest.approx(expected)
    # The mean distance of Laplace noise from its centre is its scale.
    assert np.mean(np.abs(np.array(drawn) - 0.5)) == pytest.approx(expected, rel=0.15)


def test_the_same_scores_are_reported_differently_each_time() -> None:
    scores = {"foreground": [dataclasses.replace(WORST, iou=0.5)] * SMALL}
    drawn = {
        noised_means(scores, ("iou",), epsilon=1.0, decimals=3)["foreground"]["iou"].mean for _ in range(20)
    }
    assert len(drawn) > 5


def test_all_metrics_are_reported_for_large_hold_outs_and_one_of_small_ones() -> None:
    assert reported_metrics([LARGE, LARGE + 1], LARGE) == METRICS
    assert reported_metrics([LARGE, LARGE - 1], LARGE) == ("iou",)


def test_from_that_size_on_the_noise_of_six_is_smaller_than_the_chance_of_the_images() -> None:
    """The reason for the default: below it, a mean's own uncertainty is the smaller part."""
    noise = math.sqrt(2) * noise_scale(len(METRICS), POLICY.epsilon, LARGE)
    assert noise < math.sqrt(0.25 / LARGE) < 2 * noise


def test_an_interval_holds_the_mean_of_the_images_nineteen_times_in_twenty() -> None:
    rng = np.random.default_rng(0)
    held, tries = 0, 400
    for _ in range(tries):
        values = rng.beta(4, 2, 50)
        scores = [dataclasses.replace(WORST, iou=float(value)) for value in values]
        given = noised_means({"a": scores}, ("iou",), epsilon=0.5, decimals=3)["a"]["iou"]
        held += given.low <= 4 / 6 <= given.high
    assert held / tries > 0.95


def bits(weights: tuple[float, ...], epsilon: float) -> float:
    """Mutual information of the memberships of known pictures and one reported IoU of 20 images.

    Computed from the distribution of the discrete Laplace noise; each picture is held out or not, 1 : 1.
    """
    decay, steps = math.exp(-epsilon / 1000), 1000
    reach = math.ceil(25 * steps / epsilon)
    noise = np.arange(-reach, reach + 1)
    chance = (1 - decay) / (1 + decay) * decay ** np.abs(noise)
    rows = []
    for members in itertools.product((0, 1), repeat=len(weights)):
        total = 0.35 * SMALL * steps + steps * sum(map(math.prod, zip(weights, members, strict=True)))
        given = np.clip(np.round(100 * (total + noise) / (steps * SMALL)), 0, 100).astype(int)
        rows.append(np.bincount(given, chance, minlength=101))
    joint = np.array(rows) / len(rows)
    independent = np.broadcast_to(joint.sum(0) / len(rows), joint.shape)
    used = joint > 0
    return float((joint[used] * np.log2(joint[used] / independent[used])).sum())


@pytest.mark.parametrize(
    ("weights", "epsilon", "expected"),
    [
        ((1.0,), 1.0, 0.13),
        ((1.0,) * 6, 1.0, 0.49),
        (WEIGHTS, 1000.0, 3.0),  # hardly any noise: all that the three pictures have
    ],
)
def test_the_bits_that_the_decision_record_states(
    weights: tuple[float, ...], epsilon: float, expected: float
) -> None:
    assert bits(weights, epsilon) == pytest.approx(expected, abs=0.005)
    if epsilon == 1.0:
        p = math.e / (1 + math.e)
        bound = 1 + p * math.log2(p) + (1 - p) * math.log2(1 - p)
        assert bound == pytest.approx(0.16, abs=0.005)
        assert bits(weights, epsilon) <= bound * len(weights)
