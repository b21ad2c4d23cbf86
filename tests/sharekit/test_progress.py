"""Progress where there is no terminal: JSON lines on stderr, stdout left to the result."""

from __future__ import annotations

import json

import pytest

from sharekit.program import progress
from sharekit.program.progress import Pace, Progress, duration, reporter


def _lines(capsys: pytest.CaptureFixture[str], *events: Progress) -> list[dict[str, object]]:
    with reporter("train", unit="scales") as on_progress:
        for event in events:
            on_progress(event)
    printed = capsys.readouterr()
    assert printed.out == ""
    return [json.loads(line) for line in printed.err.splitlines()]


def test_the_first_and_the_last_event_are_always_shown(capsys: pytest.CaptureFixture[str]) -> None:
    lines = _lines(capsys, *(Progress(done, 500) for done in range(501)))
    assert [lines[0]["done"], lines[-1]["done"]] == [0, 500]
    assert len(lines) < 50


def test_an_event_carries_its_figures(capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = _lines(capsys, Progress(1, 4, "scale 2", {"loss": 0.5}))
    assert line["stage"] == "train"
    assert (line["message"], line["loss"], line["unit"]) == ("scale 2", 0.5, "scales")


def test_what_was_done_before_says_nothing_about_the_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = _lines(capsys, Progress(90, 100))
    assert line["eta_s"] is None


def test_what_took_no_time_is_no_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    pace = Pace()
    assert (pace.rate, pace.eta) == (0.0, None)
    pace.observe(Progress(10, 100, free=10))
    now[0] += 20
    pace.observe(Progress(50, 100, free=30))
    assert (pace.elapsed, pace.rate, pace.eta) == (20.0, 1.0, 50.0)


@pytest.mark.parametrize(("seconds", "text"), [(None, "-"), (3661.4, "1:01:01"), (90000, "1 day, 1:00:00")])
def test_a_duration_is_for_a_person(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_work_without_events_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert _lines(capsys) == []
