"""What the words say follows from the interval of the difference, and from the test's p where it is small."""

from __future__ import annotations

import pytest

from hospital_node.fidelity.fidelity_report import Better, Comparison
from hospital_node.fidelity.fidelity_words import SMALL_P, in_words, verdict
from sharekit.intervals import Interval


def comparison(low: float, high: float, p: float | None = None) -> Comparison:
    """Lower is better; the difference lies between `low` and `high`, of halves of 15 images."""
    figure, difference = Interval(0.3, 0.2, 0.4, 15), Interval((low + high) / 2, low, high, 15)
    return Comparison("distance", Better.LOWER, figure, figure, difference, 0.2, 30, 300, p)


@pytest.mark.parametrize(
    ("low", "high", "p", "expected"),
    [
        (0.1, 0.3, None, "worse than real images"),
        (0.1, 0.3, 0.0022, "worse than real images (p = 0.0022)"),
        (-0.1, 0.3, None, "no difference that halves of 15 images show"),
        (-0.1, 0.3, SMALL_P, "no difference that halves of 15 images show (p = 0.05)"),
        (-0.1, 0.3, 0.0022, "a difference (p = 0.0022) too small for halves of 15 images to show"),
    ],
)
def test_a_verdict_never_denies_what_its_test_finds(
    low: float, high: float, p: float | None, expected: str
) -> None:
    assert verdict(comparison(low, high, p)) == expected


def test_better_than_real_is_a_reason_to_look() -> None:
    assert verdict(comparison(-0.3, -0.1)).startswith("better than real images do: look for copies")


def test_p_is_told_once() -> None:
    assert in_words(comparison(-0.1, 0.3, 0.0022)).count("0.0022") == 1
