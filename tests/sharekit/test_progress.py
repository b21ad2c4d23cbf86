"""Progress on stderr, stdout left to the result: JSON lines, lines of text, a bar, or nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from rich.console import Console
from rich.text import Text

from sharekit.program import progress
from sharekit.program.progress import Pace, Progress, duration, reporter


@pytest.fixture(autouse=True)
def usual_form() -> Iterator[None]:
    yield
    progress.use(progress.AUTO)


def _lines(capsys: pytest.CaptureFixture[str], *events: Progress) -> list[dict[str, object]]:
    progress.use(progress.JSON)
    return [json.loads(line) for line in _printed(capsys, *events)]


def _printed(capsys: pytest.CaptureFixture[str], *events: Progress, unit: str = "scales") -> list[str]:
    with reporter("train", unit=unit) as on_progress:
        for event in events:
            on_progress(event)
    printed = capsys.readouterr()
    assert printed.out == ""
    return printed.err.splitlines()


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


def test_off_a_terminal_there_is_a_line_each_tenth(capsys: pytest.CaptureFixture[str]) -> None:
    lines = _printed(capsys, *(Progress(done, 500) for done in range(501)))
    assert [line.partition("%")[0] for line in lines] == [f"train: {tenth} " for tenth in range(0, 101, 10)]
    assert lines[-1] == "train: 100 %, 500 of 500 scales"


def test_a_line_says_how_much_and_how_long_before_the_figures() -> None:
    event = Progress(45.2, 100, "restored", {"images": "3/6", "iterations_per_s": 103.25})
    assert progress.describe(event, "% of the work", 754.0) == (
        "45 %, 0:12:34 left, images 3/6, iterations/s 103, restored"
    )


def test_work_of_nothing_is_done() -> None:
    assert progress.percent(Progress(0, 0)) == 100


def test_nothing_is_shown_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    progress.use(progress.NONE)
    assert _printed(capsys, Progress(1, 2), Progress(2, 2)) == []


def test_a_bar_of_80_columns_shows_images_and_time_left_and_no_identifier(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(
        progress, "Console", lambda stderr: Console(stderr=stderr, force_terminal=True, width=80)
    )
    monkeypatch.setenv("TERM", "xterm")
    with reporter("train", unit="% of the work") as on_progress:
        on_progress(Progress(0, 100))
        now[0] += 3600
        values = {"images": "3/600", "scales": "27/5400", "iterations_per_s": 1034.5}
        on_progress(Progress(10, 100, values=values))
    *_, last = re.findall(r"train [^\n]*left[^\n]*", Text.from_ansi(capsys.readouterr().err).plain)
    assert "10 %, 9:00:00 left, images 3/600, scales 27/5400" in last
    assert len(last) <= 80
    assert "_" not in last
