"""A training that something holds up says so, once."""

from __future__ import annotations

from consumer.training.slow_updates import SlowUpdates


def warnings_of(seconds: list[float], threads: int = 2) -> list[int]:
    slow = SlowUpdates()
    return [number for number, value in enumerate(seconds) if slow.observe(value, threads)]


def test_the_first_update_of_ten_times_the_usual_brings_a_warning_and_no_other() -> None:
    assert warnings_of([2.0, 1.0, 1.0, 1.1, 12.0, 12.0, 1.0, 13.0]) == [4]


def test_no_update_is_slow_before_there_is_a_usual_one() -> None:
    assert warnings_of([20.0, 1.0, 30.0]) == []


def test_what_nobody_would_notice_brings_no_warning() -> None:
    assert warnings_of([0.01, 0.01, 0.01, 0.5]) == []


def test_slower_and_slower_is_not_sudden() -> None:
    assert warnings_of([1.0 + 0.1 * number for number in range(200)]) == []


def test_the_warning_says_what_to_do() -> None:
    slow = SlowUpdates()
    for _ in range(5):
        slow.observe(1.0, 2)
    given = slow.observe(12.0, 2)
    assert given is not None
    assert "12.0 s" in given
    assert "--threads 1" in given
