"""A submission is its submitter's, whole and unchanged, or it is refused."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
from pathlib import Path

import pytest

from sharekit.errors import InputError, VerificationError
from sharekit.segmenter import submission
from sharekit.segmenter.submission import (
    MODEL_NAME,
    STATEMENT_NAME,
    Submission,
    read_submission,
    write_submission,
)
from sharekit.signing import dsse
from sharekit.signing.keys import generate
from sharekit.storage import files
from tests.tiny_segmenter import contract, segmenter, submission_of

KEY = generate()
SIGNED = submission_of(KEY)
SUBMISSION = SIGNED.submission


@pytest.fixture(params=["folder", "submission.zip"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / request.param
    write_submission(path, SUBMISSION, SIGNED.model, KEY)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "submission"
    write_submission(path, SUBMISSION, SIGNED.model, KEY)
    return path


def refused(path: Path, expected: str) -> None:
    with pytest.raises(VerificationError, match=expected):
        read_submission(path)


def sign_again(folder: Path, change: dict) -> None:
    """The statement with a changed predicate, properly signed by its key."""
    statement = SUBMISSION.to_statement()
    changed = dataclasses.replace(statement, predicate={**statement.predicate, **change})
    (folder / STATEMENT_NAME).write_bytes(dsse.sign_statement(changed, KEY).to_bytes())


def test_a_submission_survives_its_statement() -> None:
    assert Submission.from_statement(SUBMISSION.to_statement()) == SUBMISSION


def test_what_is_written_is_what_is_read(path: Path) -> None:
    assert read_submission(path) == SIGNED


def test_equal_submissions_have_equal_digests_whenever_they_are_signed(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_submission(tmp_path / name, SUBMISSION, SIGNED.model, KEY)
    assert (tmp_path / "a" / STATEMENT_NAME).read_bytes() != (tmp_path / "b" / STATEMENT_NAME).read_bytes()
    first, second = (read_submission(tmp_path / name).submission.sha256 for name in ("a", "b"))
    assert first == second == SUBMISSION.sha256


@pytest.mark.parametrize(
    "changed",
    [
        dataclasses.replace(SUBMISSION, purpose="another"),
        dataclasses.replace(SUBMISSION, public_key=generate().public),
        dataclasses.replace(SUBMISSION, contract=contract(threshold=0.4)),
        dataclasses.replace(SUBMISSION, model_sha256="0" * 64),
    ],
    ids=["purpose", "key", "contract", "model"],
)
def test_everything_signed_is_in_the_digest(changed: Submission) -> None:
    assert changed.sha256 != SUBMISSION.sha256


def test_a_model_swapped_after_signing_is_refused(folder: Path) -> None:
    other = submission_of(KEY, segmenter(contract(("other",))), contract(("other",)))
    (folder / MODEL_NAME).write_bytes(other.model)
    refused(folder, "as signed")


def test_every_flipped_byte_of_the_model_is_refused(folder: Path) -> None:
    for position in range(0, len(SIGNED.model), 37):
        data = bytearray(SIGNED.model)
        data[position] ^= 1
        (folder / MODEL_NAME).write_bytes(data)
        refused(folder, "as signed")


def test_a_statement_signed_by_another_key_is_refused(folder: Path) -> None:
    envelope = dsse.sign_statement(SUBMISSION.to_statement(), generate())
    (folder / STATEMENT_NAME).write_bytes(envelope.to_bytes())
    refused(folder, "a signature by a pinned key")


def test_a_statement_changed_after_signing_is_refused(folder: Path) -> None:
    envelope = json.loads((folder / STATEMENT_NAME).read_bytes())
    payload = base64.b64decode(envelope["payload"]).replace(b"a test", b"a lie!")
    envelope["payload"] = base64.b64encode(payload).decode()
    (folder / STATEMENT_NAME).write_bytes(files.dump_json(envelope))
    refused(folder, "a signature by a pinned key")


def test_another_encoding_of_a_signed_statement_is_refused(folder: Path) -> None:
    """Otherwise one submission would have many digests, and could be told apart from itself."""
    payload = json.dumps(SUBMISSION.to_statement().to_json()).encode()
    envelope = dsse.sign(payload, dsse.IN_TOTO_PAYLOAD_TYPE, KEY)
    (folder / STATEMENT_NAME).write_bytes(envelope.to_bytes())
    refused(folder, "Sharekit's encoding")


@pytest.mark.parametrize(
    "change",
    [
        {"contract": {**SUBMISSION.contract.to_json(), "size": [24, 10**400]}},
        {"contract": {**SUBMISSION.contract.to_json(), "mean": [0.5]}},
        {"contract": {**SUBMISSION.contract.to_json(), "classes": ["../x"]}},
        {"purpose": "one\nline"},
        {"public_key": "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"},
        {"extra": 1},
    ],
    ids=["huge", "few-means", "class-path", "purpose", "key", "unknown"],
)
def test_a_signed_statement_that_makes_no_sense_is_refused(folder: Path, change: dict) -> None:
    sign_again(folder, change)
    with pytest.raises(VerificationError):
        read_submission(folder)


@pytest.mark.parametrize("name", ["notes.txt", "model.onnx.data"])
def test_a_further_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"x")
    refused(folder, "exactly the files")


def test_a_missing_statement_is_refused(folder: Path) -> None:
    (folder / STATEMENT_NAME).unlink()
    refused(folder, "exactly the files")


def test_a_link_to_another_file_is_refused(folder: Path) -> None:
    (folder / MODEL_NAME).unlink()
    (folder / MODEL_NAME).symlink_to("/etc/hostname")
    refused(folder, "a regular file")


def test_a_model_beyond_the_size_cap_is_refused_unread(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submission.segmenter_policy, "MAX_BYTES", len(SIGNED.model) - 1)
    refused(folder, "at most")


def test_a_statement_about_another_model_is_not_written(tmp_path: Path) -> None:
    wrong = dataclasses.replace(SUBMISSION, model_sha256=hashlib.sha256(b"").hexdigest())
    with pytest.raises(VerificationError):
        write_submission(tmp_path / "s", wrong, SIGNED.model, KEY)
    assert not (tmp_path / "s").exists()


def test_nothing_is_written_over(folder: Path) -> None:
    with pytest.raises(InputError):
        write_submission(folder, SUBMISSION, SIGNED.model, KEY)
