"""The policy: strict to read, private to write, and closed by default."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from hospital_node.release.release_policy import (
    SETTINGS,
    Approver,
    Policy,
    load_or_create_policy,
    load_policy,
    save_policy,
)
from sharekit.errors import PolicyError, UsageError
from sharekit.signing.keys import generate


def approver(name: str = "Officer") -> Approver:
    return Approver(name, generate().public.pem().decode())


def test_default_policy_has_no_approver_and_is_written_at_first_use(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    assert load_or_create_policy(path) == Policy()
    assert path.stat().st_mode & 0o077 == 0
    assert load_policy(path).approvers == ()


def test_policy_survives_its_json() -> None:
    policy = Policy(release_linkable=True, min_group=3, epsilon=0.25).with_approver(approver())
    assert Policy.from_json(policy.to_json()) == policy


def test_digest_changes_with_every_setting() -> None:
    policy = Policy()
    changed = [
        policy.with_setting(f"{name}={value}")
        for name, value in {
            "approvals": "2",
            "release_linkable": "true",
            "min_group": "20",
            "release_small_differences": "true",
            "epsilon": "0.5",
            "style_epsilon": "0.25",
            "max_total_epsilon": "9",
            "k": "7",
            "min_distance_ratio": "0.35",
            "min_samples": "99",
        }.items()
    ]
    assert len(SETTINGS) == len(changed)
    assert len({policy.digest, *(item.digest for item in changed)}) == 1 + len(changed)


def test_an_approver_is_listed_once_under_the_latest_name() -> None:
    person = approver("Old name")
    renamed = dataclasses.replace(person, name="New name")
    policy = Policy().with_approver(person).with_approver(approver()).with_approver(renamed)
    assert [item.name for item in policy.approvers] == ["Officer", "New name"]


@pytest.mark.parametrize(
    "text", ["k", "k=", "k=many", "release_linkable=perhaps", "skip_audit=true", "approvers=1"]
)
def test_wrong_settings_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        Policy().with_setting(text)


def test_no_setting_lifts_the_budget_of_epsilon_beyond_meaning(tmp_path: Path) -> None:
    assert Policy().with_setting("max_total_epsilon=10").max_total_epsilon == 10
    with pytest.raises(UsageError, match="at most 10"):
        Policy().with_setting("max_total_epsilon=10.5")
    # One of an earlier release stays readable.
    save_policy(tmp_path / "policy.json", Policy(max_total_epsilon=50))
    assert load_policy(tmp_path / "policy.json").max_total_epsilon == 50


def test_settings_beyond_the_schema_are_not_written(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    for text in ("k=1", "min_group=1", "approvals=0", "epsilon=-1", "min_distance_ratio=nan"):
        with pytest.raises((PolicyError, ValueError)):
            save_policy(path, Policy().with_setting(text))
    assert not path.exists()


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"not json", b'{"schema_version": 1}', b'{"a": 1, "a": 2}', b"\xff"]
)
def test_unreadable_policy_is_an_error_and_not_a_default(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "policy.json"
    path.write_bytes(data)
    for read in (load_policy, load_or_create_policy):
        with pytest.raises(PolicyError):
            read(path)
    assert path.read_bytes() == data


def test_a_file_of_an_earlier_release_loads_and_releases_nothing_linkable(
    tmp_path: Path,
) -> None:
    path = tmp_path / "policy.json"
    save_policy(path, Policy(release_linkable=True, epsilon=0.5))
    value = json.loads(path.read_text())
    del value["min_group"]
    path.write_text(json.dumps(value))
    policy = load_policy(path)
    assert (policy.min_group, policy.release_linkable, policy.epsilon) == (10, False, 0.5)
    save_policy(path, policy.with_setting("release_linkable=true"))
    assert load_policy(path) == Policy(release_linkable=True, epsilon=0.5)


def test_missing_policy_is_an_error_for_a_release(tmp_path: Path) -> None:
    with pytest.raises(PolicyError):
        load_policy(tmp_path / "policy.json")


def test_policy_with_a_broken_key_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    save_policy(path, Policy().with_approver(approver()))
    text = path.read_text()
    start = text.index("BEGIN PUBLIC KEY-----\\n") + 30
    path.write_text(text[:start] + "AAAA" + text[start + 4 :])
    with pytest.raises(PolicyError):
        load_policy(path)
