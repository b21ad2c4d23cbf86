"""The evaluation policy: strict to read, private to write, and closed by default."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from hospital_node.cli import main
from hospital_node.evaluation.evaluation_policy import (
    NAME,
    SETTINGS,
    EvaluationPolicy,
    Submitter,
    load_policy,
    save_policy,
)
from hospital_node.node.node import Node
from hospital_node.release.release_policy import load_or_create_policy
from sharekit.errors import PolicyError, UsageError
from sharekit.program.sandbox import Limits
from sharekit.signing.keys import generate

KEY = generate()
SUBMITTER = Submitter("Laboratory", KEY.public.pem().decode())


def test_nobody_is_registered_by_default(tmp_path: Path) -> None:
    assert load_policy(tmp_path / "none.json") == EvaluationPolicy()
    assert EvaluationPolicy().submitter(KEY.public) is None


def test_a_policy_survives_its_json_and_its_file(tmp_path: Path) -> None:
    policy = EvaluationPolicy(budget=3, limits=Limits(1024, 5, 6)).with_submitter(SUBMITTER)
    save_policy(tmp_path / "p.json", policy)
    assert load_policy(tmp_path / "p.json") == policy == EvaluationPolicy.from_json(policy.to_json())
    assert (tmp_path / "p.json").stat().st_mode & 0o077 == 0


def test_a_submitter_is_listed_once_with_the_latest_budget() -> None:
    policy = EvaluationPolicy().with_submitter(SUBMITTER)
    assert policy.budget_of(SUBMITTER) == 5
    changed = policy.with_submitter(Submitter("New name", SUBMITTER.public_key, 9))
    assert [(one.name, changed.budget_of(one)) for one in changed.submitters] == [("New name", 9)]


def test_every_setting_can_be_changed() -> None:
    for name in SETTINGS:
        assert EvaluationPolicy().with_setting(f"{name}=17") != EvaluationPolicy()


@pytest.mark.parametrize(
    "text", ["budget", "budget=", "budget=-1", "budget=1e3", "submitters=1", "other=1", "epsilon=-1"]
)
def test_wrong_settings_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        EvaluationPolicy().with_setting(text)


@pytest.mark.parametrize("text", ["min_images=9", "decimals=4", "decimals=0", "memory_mib=1"])
def test_settings_that_would_tell_too_much_are_not_written(tmp_path: Path, text: str) -> None:
    with pytest.raises(PolicyError):
        save_policy(tmp_path / "p.json", EvaluationPolicy().with_setting(text))
    assert not (tmp_path / "p.json").exists()


@pytest.mark.parametrize("data", [b"", b"{}", b"not json", b'{"a": 1, "a": 2}', b"\xff"])
def test_an_unreadable_policy_is_an_error_and_not_a_default(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "p.json").write_bytes(data)
    with pytest.raises(PolicyError):
        load_policy(tmp_path / "p.json")


def test_the_command_registers_lists_and_sets(tmp_path: Path, capsys) -> None:
    node = Node.create(tmp_path / "node")
    release_policy = load_or_create_policy(node.policy_path)
    KEY.public.save(tmp_path / "lab.pub")

    def run(*words: object) -> dict:
        command = ["submitter", *map(str, words), "--node", str(node.root), "--format", "json"]
        assert main(command) == 0
        return json.loads(capsys.readouterr().out)

    assert run("list")["submitters"] == []
    added = run("add", "--key", tmp_path / "lab.pub", "--name", "Laboratory", "--budget", 2)
    assert run("set", "min_images=30", "wall_seconds=60")["limits"]["wall_seconds"] == 60
    expected = {"name": "Laboratory", "fingerprint": KEY.public.fingerprint, "spent": 0, "budget": 2}
    expected["epsilon_spent"] = 0.0
    assert added["submitters"] == run("list")["submitters"] == [expected]
    # An approval is about the release policy's very bytes.
    assert load_or_create_policy(node.policy_path) == release_policy


@pytest.mark.parametrize(("options", "budget"), [((), 0), (("--budget", "3"), 3)])
def test_a_new_name_gives_a_barred_submitter_no_new_budget(
    tmp_path: Path, options: tuple[str, ...], budget: int
) -> None:
    node = Node.create(tmp_path / "node")
    KEY.public.save(tmp_path / "lab.pub")
    add = ["submitter", "add", "--node", str(node.root), "--key", str(tmp_path / "lab.pub"), "--name"]
    assert main([*add, "Laboratory", "--budget", "0"]) == 0
    assert main([*add, "Institute", *options]) == 0
    (submitter,) = load_policy(node.root / NAME).submitters
    assert (submitter.name, submitter.budget) == ("Institute", budget)


def test_a_change_starts_from_what_was_written_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not from what was there before another command, which had the lock, changed it."""
    node = Node.create(tmp_path / "node")
    lock = Node.write_lock

    @contextlib.contextmanager
    def after_another(self: Node) -> Iterator[None]:
        with lock(self):
            save_policy(self.root / NAME, EvaluationPolicy(budget=1))
            yield

    monkeypatch.setattr(Node, "write_lock", after_another)
    assert main(["submitter", "set", "min_images=30", "--node", str(node.root)]) == 0
    assert load_policy(node.root / NAME) == EvaluationPolicy(budget=1, min_images=30)


def test_a_policy_from_before_there_was_noise_gets_the_defaults(tmp_path: Path) -> None:
    value = EvaluationPolicy(budget=3).to_json()
    for name in ("epsilon", "submitter_epsilon", "hold_out_epsilon", "images_for_all_metrics"):
        del value[name]
    (tmp_path / "p.json").write_text(json.dumps(value))
    assert load_policy(tmp_path / "p.json") == EvaluationPolicy(budget=3)


def test_epsilon_may_be_a_fraction() -> None:
    assert EvaluationPolicy().with_setting("epsilon=0.25").epsilon == 0.25


@pytest.mark.parametrize("text", ["epsilon=inf", "epsilon=nan", "epsilon=1e3", "epsilon=-1", "budget=1.5"])
def test_a_number_is_written_out(text: str) -> None:
    with pytest.raises(UsageError):
        EvaluationPolicy().with_setting(text)
