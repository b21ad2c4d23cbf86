"""Progress where there is no terminal: JSON lines on stderr, stdout left to the result."""

from __future__ import annotations

import json

import pytest

from sharekit.progress import Progress, reporter


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


def test_work_without_events_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert _lines(capsys) == []
