"""The trust store: a key counts once its fingerprint is confirmed, while it is valid, and until revoked."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sharekit.cli import main
from sharekit.errors import InputError, UsageError, VerificationError
from sharekit.signing.keys import SigningKey, generate
from sharekit.trust.handover import Handover
from sharekit.trust.home import home
from sharekit.trust.key_choice import public_keys
from sharekit.trust.trust_store import TrustedHospital, TrustedKey, TrustStore, checked_name
from tests.sharekit.bundles import small_bundle

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
LATER = "2999-12-31"


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SHAREKIT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    made = generate()
    made.save(tmp_path / "key.key")
    made.public.save(tmp_path / "key.pub")
    return made


def add(name: str, key: SigningKey, *more: str, file: str = "key.pub") -> int:
    fingerprint = ("--fingerprint", key.public.fingerprint) if "--handover" not in more else ()
    until = ("--valid-until", LATER) if "--handover" not in more else ()
    return main(["trust", "add", name, "--key", file, *until, *fingerprint, *more])


def trusted(*keys: TrustedKey) -> TrustedHospital:
    return TrustedHospital("st-olav", keys)


def test_a_trusted_hospital_stands_for_its_key(key: SigningKey, tmp_path: Path) -> None:
    assert add("st-olav", key) == 0
    assert public_keys("st-olav") == [key.public]
    small_bundle(tmp_path / "bundle", key)
    assert main(["verify", "bundle", "--key", "st-olav"]) == 0
    assert main(["inspect", "bundle", "--key", "st-olav"]) == 0


def test_a_trusted_name_comes_before_a_file_of_that_name(key: SigningKey, tmp_path: Path) -> None:
    add("st-olav", key)
    generate().public.save(tmp_path / "st-olav")
    assert public_keys("st-olav") == [key.public]


def test_an_unknown_name_says_how_to_trust_it(key: SigningKey) -> None:
    with pytest.raises(InputError, match="sharekit trust add nobody"):
        public_keys("nobody")


def test_a_wrong_fingerprint_is_refused(key: SigningKey) -> None:
    arguments = ["trust", "add", "st-olav", "--key", "key.pub", "--valid-until", LATER]
    assert main([*arguments, "--fingerprint", "0" * 64]) == UsageError.exit_code
    assert main(arguments) == UsageError.exit_code  # neither option nor terminal
    assert TrustStore().hospitals() == []


def test_a_fingerprint_may_be_typed_with_spaces(key: SigningKey, monkeypatch: pytest.MonkeyPatch) -> None:
    typed = " ".join(key.public.fingerprint[at : at + 4].upper() for at in range(0, 64, 4))
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stdin.readline", lambda: f"{typed}\n", raising=False)
    assert main(["trust", "add", "st-olav", "--key", "key.pub", "--valid-until", LATER]) == 0
    assert public_keys("st-olav") == [key.public]


def test_a_key_that_is_over_or_not_yet_valid_does_not_count(key: SigningKey) -> None:
    over = TrustedKey(key.public, NOW - 2 * DAY, NOW - DAY, "fingerprint given")
    coming = dataclasses.replace(over, valid_from=NOW + DAY, valid_until=NOW + 2 * DAY)
    for one, state in ((over, "expired"), (coming, "not yet valid")):
        with pytest.raises(VerificationError, match=state):
            trusted(one).counting(NOW)


def test_a_revoked_key_never_counts_again(key: SigningKey) -> None:
    add("st-olav", key)
    revoke = ["trust", "revoke", "st-olav", "--fingerprint", key.public.fingerprint, "--reason", "stolen"]
    assert main(revoke) == 0
    with pytest.raises(VerificationError, match="stolen"):
        public_keys("st-olav")
    assert add("st-olav", key) == InputError.exit_code


def test_a_removed_hospital_is_forgotten(key: SigningKey) -> None:
    add("st-olav", key)
    assert main(["trust", "remove", "st-olav"]) == 0
    assert main(["trust", "remove", "st-olav"]) == InputError.exit_code
    assert TrustStore().hospitals() == []


def test_the_list_says_what_counts(key: SigningKey, capsys: pytest.CaptureFixture[str]) -> None:
    add("st-olav", key)
    capsys.readouterr()
    assert main(["trust", "list", "--format", "json"]) == 0
    (hospital,) = json.loads(capsys.readouterr().out)["hospitals"]
    assert [one["state"] for one in hospital["keys"]] == ["trusted"]


def test_the_store_is_private(key: SigningKey, own_home: Path) -> None:
    add("st-olav", key)
    assert home() == own_home
    assert own_home.stat().st_mode & 0o077 == 0
    assert (own_home / "trust" / "st-olav.json").stat().st_mode & 0o077 == 0


def test_a_hospital_is_the_same_when_read_again(key: SigningKey) -> None:
    hospital = trusted(TrustedKey(key.public, NOW, NOW + DAY, "fingerprint given", "stolen"))
    assert TrustedHospital.from_json(hospital.to_json()) == hospital
    TrustStore().save(hospital)
    assert TrustStore().get("st-olav") == hospital


@pytest.mark.parametrize("name", ["", "../x", "A", "a_b", "-a", "a" * 41, "a/b", "a.b"])
def test_a_name_is_no_path(name: str) -> None:
    with pytest.raises(UsageError):
        checked_name(name)


def hand_over(tmp_path: Path, old: str, out: str, hospital: str = "st-olav") -> SigningKey:
    new = generate()
    new.public.save(tmp_path / f"{out}.pub")
    dates = ("--valid-until", "2999-01-01", "--overlap-until", "2998-01-01")
    to = ("--to", f"{out}.pub", "--hospital", hospital, "--out", f"{out}.json")
    assert main(["keys", "handover", "--key", old, *to, *dates]) == 0
    return new


def test_a_new_key_that_the_old_one_signed_counts_beside_it(key: SigningKey, tmp_path: Path) -> None:
    add("st-olav", key)
    new = hand_over(tmp_path, "key.key", "new")
    assert add("st-olav", new, "--handover", "new.json", file="new.pub") == 0
    assert public_keys("st-olav") == [key.public, new.public]
    hospital = TrustStore().require("st-olav")
    end_of_overlap = datetime(2998, 1, 2, tzinfo=UTC)
    assert hospital.keys[0].valid_until == end_of_overlap
    assert hospital.counting(end_of_overlap) == (new.public,)


def test_a_handover_by_a_stranger_or_for_another_hospital_or_key_is_refused(
    key: SigningKey, tmp_path: Path
) -> None:
    add("st-olav", key)
    generate().save(tmp_path / "stranger.key")
    stranger = hand_over(tmp_path, "stranger.key", "by-stranger")
    assert add("st-olav", stranger, "--handover", "by-stranger.json", file="by-stranger.pub") == 4
    other = hand_over(tmp_path, "key.key", "other", hospital="elsewhere")
    assert add("st-olav", other, "--handover", "other.json", file="other.pub") == InputError.exit_code
    hand_over(tmp_path, "key.key", "mine")
    assert add("st-olav", other, "--handover", "mine.json", file="other.pub") == InputError.exit_code
    assert public_keys("st-olav") == [key.public]


def test_a_revoked_key_hands_over_nothing(key: SigningKey, tmp_path: Path) -> None:
    add("st-olav", key)
    new = hand_over(tmp_path, "key.key", "new")
    main(["trust", "revoke", "st-olav", "--fingerprint", key.public.fingerprint, "--reason", "stolen"])
    assert add("st-olav", new, "--handover", "new.json", file="new.pub") == VerificationError.exit_code


def test_a_handover_is_the_same_when_read_again(key: SigningKey) -> None:
    handover = Handover("st-olav", key.public, NOW, NOW + 2 * DAY, NOW + DAY)
    assert Handover.from_statement(handover.to_statement()) == handover
