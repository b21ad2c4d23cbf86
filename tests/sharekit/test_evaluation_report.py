"""An evaluation report is the hospital's, about one submission, and as coarse as it says."""

from __future__ import annotations

import base64
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from sharekit.errors import VerificationError
from sharekit.intervals import Interval
from sharekit.segmenter.evaluation_report import (
    EvaluationReport,
    check_belongs,
    read_report,
    reported_interval,
    sign_report,
)
from sharekit.segmenter.metrics import METRICS
from sharekit.signing import dsse
from sharekit.signing.keys import generate
from sharekit.storage import files
from tests.tiny_segmenter import contract, segmenter, submission_of

HOSPITAL = generate()
SUBMITTER = generate()
ASKED = submission_of(SUBMITTER).submission
REPORT = EvaluationReport(
    model_sha256=ASKED.model_sha256,
    submission_sha256=ASKED.sha256,
    submitter=SUBMITTER.public.fingerprint,
    hospital="St. Example",
    date="2026-01-02T03:04:05Z",
    hold_out="ab" * 32,
    images=24,
    decimals=2,
    classes={"foreground": {metric: Interval(0.71, 0.52, 0.9, 24) for metric in METRICS}},
)


NOISED = dataclasses.replace(
    REPORT, epsilon=1.0, classes={"foreground": {"iou": reported_interval(0.71, 24, 2, 1 / 24)}}
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "report.json"
    files.write_bytes(path, sign_report(REPORT, HOSPITAL).to_bytes())
    return path


def with_interval(**changes: float) -> EvaluationReport:
    interval = dataclasses.replace(REPORT.classes["foreground"]["iou"], **changes)
    return dataclasses.replace(
        REPORT, classes={"foreground": {**REPORT.classes["foreground"], "iou": interval}}
    )


def test_a_report_survives_its_statement() -> None:
    assert EvaluationReport.from_statement(REPORT.to_statement()) == REPORT


def test_what_is_signed_is_what_is_read(path: Path) -> None:
    assert read_report(path, [HOSPITAL.public]) == REPORT


def test_a_report_by_another_key_is_refused(path: Path) -> None:
    with pytest.raises(VerificationError, match="a signature by a pinned key"):
        read_report(path, [SUBMITTER.public])


def test_every_flipped_byte_of_a_report_is_refused(path: Path) -> None:
    """But for white space and the unused key identifier, around what is signed."""
    data = path.read_bytes()
    for position in range(0, len(data), 7):
        flipped = bytearray(data)
        flipped[position] ^= 1
        path.write_bytes(flipped)
        try:
            assert read_report(path, [HOSPITAL.public]) == REPORT
        except VerificationError:
            continue
        assert chr(data[position]).isspace()


def test_a_better_figure_under_the_old_signature_is_refused(path: Path) -> None:
    envelope = json.loads(path.read_bytes())
    payload = base64.b64decode(envelope["payload"]).replace(b"0.71", b"0.91")
    envelope["payload"] = base64.b64encode(payload).decode()
    files.write_json(path, envelope)
    with pytest.raises(VerificationError, match="a signature by a pinned key"):
        read_report(path, [HOSPITAL.public])


def test_another_statement_of_the_same_hospital_is_no_report(tmp_path: Path) -> None:
    statement = dataclasses.replace(REPORT.to_statement(), predicate_type="urn:sharekit:approval:v1")
    files.write_bytes(tmp_path / "r.json", dsse.sign_statement(statement, HOSPITAL).to_bytes())
    with pytest.raises(VerificationError, match="evaluation allows"):
        read_report(tmp_path / "r.json", [HOSPITAL.public])


def test_a_report_belongs_to_its_submission() -> None:
    check_belongs(REPORT, ASKED)


@pytest.mark.parametrize(
    ("other", "label"),
    [
        (submission_of(SUBMITTER, purpose="another").submission, "submission"),
        (submission_of(generate()).submission, "submission"),
        (
            submission_of(SUBMITTER, segmenter(contract(("x",))), contract(("x",))).submission,
            "model",
        ),
    ],
    ids=["purpose", "submitter", "model"],
)
def test_a_report_replayed_for_another_submission_is_refused(other, label: str) -> None:
    with pytest.raises(VerificationError, match=f"about the {label}"):
        check_belongs(REPORT, other)


def test_a_report_of_other_classes_than_were_asked_about_is_refused() -> None:
    other = dataclasses.replace(REPORT, classes={"polyp": REPORT.classes["foreground"]})
    with pytest.raises(VerificationError, match="about the classes"):
        check_belongs(other, ASKED)


def test_figures_finer_than_the_report_says_are_not_signed() -> None:
    with pytest.raises(VerificationError, match="figures of 2 decimals"):
        sign_report(with_interval(mean=0.7123), HOSPITAL)
    assert with_interval(mean=0.7123).rounded() == REPORT


@pytest.mark.parametrize("changes", [{"low": 0.65}, {"high": 0.78}, {"low": 0.65, "high": 0.78}])
def test_an_interval_that_tells_more_than_mean_and_count_is_not_signed(changes: dict) -> None:
    """Such as a bootstrap's, which is narrow where all images score alike."""
    with pytest.raises(VerificationError, match="the intervals that follow from them"):
        sign_report(with_interval(**changes), HOSPITAL)


@pytest.mark.parametrize("mean", [0.0, 0.004, 0.05, 0.29, 0.5, 0.714, 1.0])
@pytest.mark.parametrize("count", [20, 1000])
def test_an_interval_is_the_widest_that_the_rounded_mean_allows(mean: float, count: int) -> None:
    told = reported_interval(mean, count, 2)
    assert told.mean == round(mean, 2)
    reach = 1.96 * (told.mean * (1 - told.mean) / count) ** 0.5
    for figure, bound in ((told.low, max(0, told.mean - reach)), (told.high, min(1, told.mean + reach))):
        assert abs(figure - bound) < 0.01 + 1e-9
        assert round(figure, 2) == figure
    assert told.low <= max(0, told.mean - reach) + 1e-9
    assert told.high >= min(1, told.mean + reach) - 1e-9


def test_no_scores_of_a_mean_have_a_wider_interval_than_is_told() -> None:
    rng = np.random.default_rng(0)
    for sharpness in (0.05, 0.5, 5):
        scores = rng.beta(sharpness, sharpness, 50)
        told = reported_interval(scores.mean(), 50, 3)
        reach = 1.96 * scores.std() / 50**0.5
        assert told.high - told.low >= min(1, scores.mean() + reach) - max(0, scores.mean() - reach) - 0.002


@pytest.mark.parametrize("changes", [{"mean": 1.2}, {"low": -0.1}, {"count": 1}])
def test_figures_beyond_the_schema_are_not_signed(changes: dict) -> None:
    with pytest.raises(VerificationError, match="evaluation allows"):
        sign_report(with_interval(**changes), HOSPITAL)


def test_a_report_with_noise_survives_its_statement() -> None:
    statement = NOISED.to_statement()
    assert EvaluationReport.from_statement(statement) == NOISED
    assert statement.predicate_type.endswith(":v2")
    assert statement.predicate["protection"]["epsilon"] == 1.0
    assert "epsilon 1 on all figures" in NOISED.protection


def test_a_report_from_before_there_was_noise_is_still_read(path: Path) -> None:
    report = read_report(path, [HOSPITAL.public])
    assert report.to_statement().predicate_type.endswith(":v1")
    assert report.epsilon is None
    assert "without noise" in report.protection


def test_the_interval_of_a_noised_mean_is_wider_by_its_noise() -> None:
    told, exact = NOISED.classes["foreground"]["iou"], reported_interval(0.71, 24, 2)
    assert told.low < exact.low < exact.high < told.high
    reach = 1.96 * (0.71 * 0.29 / 24 + 2 / 24**2) ** 0.5
    assert told.high == pytest.approx(min(1, 0.71 + reach), abs=0.01)


@pytest.mark.parametrize("epsilon", [0.5, 2.0, None])
def test_an_interval_of_other_noise_than_the_report_says_is_not_signed(epsilon: float | None) -> None:
    with pytest.raises(VerificationError):
        sign_report(dataclasses.replace(NOISED, epsilon=epsilon), HOSPITAL)
