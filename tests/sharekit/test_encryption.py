"""Encryption for recipients: they read the same bytes, nobody else does, and changes are noticed."""

from __future__ import annotations

import errno
import resource
import stat
from pathlib import Path

import pytest

from sharekit.errors import InputError, VerificationError
from sharekit.signing.encryption import decrypt, encrypt, read_recipient, write_identity

CONTENT = bytes(range(256)) * 1000


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with the identities `mine` and `other`, and `sealed`, which is encrypted for `mine`."""
    for name in ("mine", "other"):
        write_identity(tmp_path / name)
    (tmp_path / "plain").write_bytes(CONTENT)
    recipient = read_recipient(str(tmp_path / "mine.recipient"))
    encrypt(tmp_path / "plain", tmp_path / "sealed", [recipient])
    return tmp_path


def test_each_recipient_reads_the_same_bytes(place: Path) -> None:
    both = [read_recipient(str(place / f"{name}.recipient")) for name in ("mine", "other")]
    encrypt(place / "plain", place / "both", both)
    assert CONTENT[:64] not in (place / "both").read_bytes()
    for name in ("mine", "other"):
        decrypt(place / "both", place / f"{name}.opened", [place / f"{name}.identity"])
        assert (place / f"{name}.opened").read_bytes() == CONTENT


def test_an_identity_is_private_and_never_overwritten(place: Path) -> None:
    assert stat.S_IMODE((place / "mine.identity").stat().st_mode) == 0o600
    with pytest.raises(InputError, match="never overwritten"):
        write_identity(place / "mine")
    (place / "mine.identity").chmod(0o644)
    with pytest.raises(InputError, match="chmod 600"):
        decrypt(place / "sealed", place / "opened", [place / "mine.identity"])


def test_another_identity_opens_nothing(place: Path) -> None:
    with pytest.raises(InputError, match="other recipients"):
        decrypt(place / "sealed", place / "opened", [place / "other.identity"])
    decrypt(place / "sealed", place / "opened", [place / "other.identity", place / "mine.identity"])


@pytest.mark.parametrize("end", [-100, -1])
def test_a_changed_or_incomplete_file_leaves_nothing(place: Path, end: int) -> None:
    data = (place / "sealed").read_bytes()
    for damaged in (data[:end], data[:end] + bytes([data[end] ^ 1]) + data[len(data) + end + 1 :]):
        (place / "sealed").write_bytes(damaged)
        with pytest.raises(VerificationError):
            decrypt(place / "sealed", place / "opened", [place / "mine.identity"])
    assert not [path for path in place.iterdir() if "opened" in path.name]


def test_a_file_that_is_not_encrypted_is_named(place: Path) -> None:
    with pytest.raises(InputError, match="age format"):
        decrypt(place / "plain", place / "opened", [place / "mine.identity"])


@pytest.mark.parametrize("text", ["", "age1abc", "# a comment\n", "AGE-SECRET-KEY-1ABC"])
def test_a_malformed_key_is_refused(place: Path, text: str) -> None:
    (place / "key").write_text(text)
    (place / "key").chmod(0o600)
    with pytest.raises(InputError):
        read_recipient(str(place / "key"))
    with pytest.raises(InputError):
        decrypt(place / "sealed", place / "opened", [place / "key"])


def test_the_private_file_is_no_recipient(place: Path) -> None:
    with pytest.raises(InputError, match="the other file of the pair"):
        read_recipient(str(place / "mine.identity"))


def test_a_full_disk_is_no_changed_file(place: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OSError, match="too large") as caught:
            decrypt(place / "sealed", place / "opened", [place / "mine.identity"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(place / "opened"))
    assert not [path for path in place.iterdir() if "opened" in path.name]


def test_a_missing_file_is_named(place: Path) -> None:
    with pytest.raises(InputError, match="missing"):
        decrypt(place / "missing", place / "opened", [place / "mine.identity"])
