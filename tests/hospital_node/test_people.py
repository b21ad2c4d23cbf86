"""People decide: who approves, who says no, who changes the policy, and what they are shown."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import pytest

from hospital_node.audit.attack import AttackResult, AuditLimits, Measure, Question, Space
from hospital_node.audit.generator_audit import GeneratorAudit
from hospital_node.audit.verdict import Verdict
from hospital_node.candidate.parity import Parity
from hospital_node.cli import main
from hospital_node.ledger.states import GeneratorState
from hospital_node.node import history
from hospital_node.node.history import Action
from hospital_node.node.node import Node
from hospital_node.release.declaration import Declaration
from hospital_node.release.officer import Answer
from hospital_node.release.policy_change import change_policy, current_policy, differences
from hospital_node.release.policy_words import too_few_people
from hospital_node.release.provenance import carried_history
from hospital_node.release.release_policy import Approver, Policy, load_policy, save_policy
from sharekit.bundle.bundle import verify_bundle
from sharekit.errors import PolicyError
from sharekit.signing import dsse
from tests.hospital_node.test_release_commands import Shell


@pytest.fixture(scope="module")
def audited() -> dict[str, Shell]:
    """Where the first test leaves its audited node for the others."""
    return {}


@pytest.fixture
def shell(
    audited: dict[str, Shell],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    capsys: pytest.CaptureFixture[str],
) -> Shell:
    """A node whose policy lists one approver and whose generators are audited."""
    if not audited:
        made = Shell(tmp_path_factory.mktemp("audited"), capsys)
        approver = ("--approver", made.root / "approver.pub", "--name", "Dr. Okafor")
        made.run("policy", *approver, "--set", "k=2", "release_linkable=true")
        made.run("audit", "--samples", 16)
        audited["shell"] = made
    return audited["shell"].copied_to(tmp_path, capsys)


def key(shell: Shell, name: str = "approver") -> tuple[str, Path]:
    return "--key", shell.root / f"{name}.key"


def node_of(shell: Shell) -> Node:
    return Node.open(shell.node)


def last(node: Node, action: Action) -> dict[str, Any]:
    found = [entry for _, entry in history.entries(node) if entry.action is action]
    return {**found[-1].facts, "by": found[-1].by}


# -- approval


def test_nobody_signs_under_another_name(shell: Shell) -> None:
    error = shell.run("approve", *key(shell), "--by", "Dr. Nobody", "--all", "--yes", expect=5)
    assert (error["item"], "Dr. Okafor" in error["expected"]) == ("--by", True)
    given = shell.run("approve", *key(shell), "--all", "--yes")
    assert given["approver"] == "Dr. Okafor"
    assert last(node_of(shell), Action.APPROVAL)["by"].startswith("Dr. Okafor (")


def test_two_keys_of_one_person_are_one_approver(shell: Shell) -> None:
    second = ("--approver", shell.root / "stranger.pub", "--name", "dr.  OKAFOR")
    shell.run("policy", *second, "--set", "approvals=2", *key(shell))
    policy = load_policy(node_of(shell).policy_path)
    assert too_few_people(policy)[0].endswith("lists 1 person (all keys under one name are one person's)")
    for name in ("approver", "stranger"):
        shell.run("approve", *key(shell, name), "--all", "--yes")
    export = ("export", "--out", shell.root / "bundle", "--key", shell.root / "release.key")
    error = shell.run(*export, expect=5)
    assert "approved by 1 of 2 listed approvers (the keys of one person count once)" in error["found"]
    assert error["next_step"].startswith("let as many people as the policy asks for sign")
    shell.run("policy", "--remove-approver", "dr.  OKAFOR", "--set", "approvals=1", *key(shell))
    shell.run("approve", *key(shell), "--all", "--yes")
    assert len(shell.run(*export)["generators"]) == 3


def test_without_a_terminal_and_without_yes_nothing_is_signed(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("yes\n"))
    error = shell.run("approve", *key(shell), "--all", expect=2)
    assert (error["item"], "or --yes" in error["expected"]) == ("--yes", True)
    assert not list((shell.node / "approvals").iterdir())


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("answer", "code"), [("yes\n", 0), ("no\n", 5), ("\n", 5), ("", 5)])
def test_a_person_sees_what_is_signed_and_answers(
    shell: Shell, answer: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    assert main(["approve", "--node", str(shell.node), *map(str, key(shell)), "--all"]) == code
    shown = capsys.readouterr().err
    assert "3 generators of 3 real images" in shown
    assert "verdicts: linkable: controlled access (3)" in shown
    assert "nearest sample of all" in shown
    assert "the card will not state: purpose" in shown
    assert "in one release: 3 generators, of 3 real images of 3 pictures" in shown
    assert "as a whole: not made: too few images of the node are not behind this bundle" in shown
    assert len(list((shell.node / "approvals").iterdir())) == (code == 0)


# -- rejection


def test_a_rejected_generator_never_leaves(shell: Shell) -> None:
    given = shell.run("approve", *key(shell), "--all", "--yes")
    first, *others = [one["generator"] for one in given["approved"]]
    stranger = ("reject", first, *key(shell, "stranger"), "--reason", "too near")
    assert "listed approver" in shell.run(*stranger, expect=5)["expected"]
    (told,) = shell.run("reject", first, *key(shell), "--reason", "too near")["rejected"]
    assert (told["approver"], told["releases"]) == ("Dr. Okafor", [])
    shell.run("audit", "--samples", 16, "--again")
    shell.run("approve", *key(shell), "--all", "--yes")
    result = shell.run("export", "--out", shell.root / "bundle", "--key", shell.root / "release.key")
    assert set(result["generators"]) == set(others)
    node = node_of(shell)
    record = node.ledger.generators.get(first)
    assert (record.state, record.reason) == (GeneratorState.WITHDRAWN, "rejected by Dr. Okafor: too near")
    facts = last(node, Action.REJECTION)
    envelope = dsse.Envelope.from_bytes(facts["signed"].encode())
    statement = dsse.verify_statement(envelope, [shell.keys.approver.public])
    assert statement.predicate["reason"] == facts["reason"] == "too near"


def test_a_generator_is_approved_by_its_first_digits_or_by_an_image_s_name(shell: Shell) -> None:
    node = node_of(shell)
    first, second, _ = node.ledger.generators.records()
    given = shell.run("approve", *key(shell), "--generator", first.id[:8], "--yes")
    assert [one["generator"] for one in given["approved"]] == [first.id]
    source = Path(node.ledger.get(second.images[0]).source)
    given = shell.run("approve", *key(shell), "--image", source.stem, "--yes")
    assert [one["generator"] for one in given["approved"]] == [second.id]
    assert set(given["together"]["generators"]) == {first.id, second.id}
    error = shell.run("reject", "", *key(shell), "--reason", "too near", expect=3)
    assert error["found"] == "no such generator"


def test_the_generators_of_an_image_are_rejected_by_its_name(shell: Shell) -> None:
    told = shell.run("reject", "--image", "patient-mueller-002", *key(shell), "--reason", "a scar")
    (record,) = node_of(shell).ledger.generators.records(GeneratorState.WITHDRAWN)
    assert [one["generator"] for one in told["rejected"]] == [record.id]
    assert record.images == (f"{2:032x}",)
    assert shell.run("reject", *key(shell), "--reason", "a scar", expect=2)["item"] == "GENERATOR"


# -- policy


def test_a_policy_change_is_signed_and_shown_as_a_difference(shell: Shell) -> None:
    before = shell.run("policy")
    assert "no key" in shell.run("policy", "--set", "min_group=5", expect=5)["found"]
    wrong = ("policy", "--set", "min_group=5", *key(shell, "stranger"))
    assert "listed approver's key" in shell.run(*wrong, expect=5)["expected"]
    assert shell.run("policy")["sha256"] == before["sha256"]
    changed = shell.run("policy", "--set", "min_group=5", "approvals=1", *key(shell))
    assert (changed["changes"], changed["signed_by"]) == (["min_group: 10 -> 5"], "Dr. Okafor")
    facts = last(node_of(shell), Action.POLICY)
    assert facts["by"].startswith("Dr. Okafor (")
    envelope = dsse.Envelope.from_bytes(facts["signed"].encode())
    statement = dsse.verify_statement(envelope, [shell.keys.approver.public])
    assert statement.predicate["changes"] == ["min_group: 10 -> 5"]
    assert statement.subjects[0].sha256 == changed["sha256"]


def test_a_policy_that_was_changed_by_hand_is_refused_and_comes_back(shell: Shell) -> None:
    path = shell.node / "policy.json"
    value = json.loads(path.read_text())
    stranger = shell.keys.stranger.public.pem().decode()
    value["approvers"].append({"name": "Intruder", "public_key": stranger})
    path.write_text(json.dumps(value))
    for command in (
        ("approve", *key(shell, "stranger"), "--all", "--yes"),
        ("export", "--out", shell.root / "bundle", *key(shell, "release")),
        ("policy", "--set", "k=3", *key(shell, "stranger")),
    ):
        error = shell.run(*command, expect=5)
        assert "changed by hand: approver added: Intruder" in error["found"]
    path.unlink()
    assert [one["name"] for one in shell.run("policy")["approvers"]] == ["Dr. Okafor"]


def test_an_earlier_policy_put_back_makes_way_for_the_recorded_one(shell: Shell) -> None:
    before = (shell.node / "policy.json").read_bytes()
    shell.run("policy", "--set", "min_group=5", *key(shell))
    # As after a kill between the record and the file, or by somebody who wants the old policy back.
    (shell.node / "policy.json").write_bytes(before)
    assert current_policy(node_of(shell)).min_group == 5
    assert json.loads((shell.node / "policy.json").read_text())["min_group"] == 5


def test_a_policy_that_breaks_the_schema_is_not_recorded(shell: Shell) -> None:
    assert "limits" in shell.run("policy", "--set", "epsilon=1000", *key(shell), expect=5)["expected"]
    assert shell.run("policy", "--set", "epsilon=2", *key(shell))["changes"] == ["epsilon: 1.0 -> 2.0"]


def test_the_last_approver_cannot_be_removed(shell: Shell) -> None:
    error = shell.run("policy", "--remove-approver", "Dr. Okafor", *key(shell), expect=5)
    assert error["expected"] == "at least 1 approvers afterwards"
    assert shell.run("policy", "--remove-approver", "Nobody", *key(shell), expect=2)["found"] == "'Nobody'"


def test_a_removed_approvers_approval_counts_no_more(shell: Shell) -> None:
    shell.run("approve", *key(shell), "--all", "--yes")
    new = ("--approver", shell.root / "stranger.pub", "--name", "Dr. Nowak")
    shell.run("policy", *new, "--remove-approver", "Dr. Okafor", *key(shell))
    export = ("export", "--out", shell.root / "bundle", *key(shell, "release"))
    assert "approved by 0 of 1" in shell.run(*export, expect=5)["found"]


def test_differences_name_every_setting_and_person() -> None:
    first = Approver("A", "pem")
    policy = Policy(declaration=Declaration(purpose="teaching"))
    changed = dataclasses.replace(
        policy, approvals=2, limits=dataclasses.replace(policy.limits, k=9), declaration=Declaration()
    )
    assert set(differences(policy, changed)) == {"approvals: 1 -> 2", "k: 5 -> 9", "purpose: teaching -> "}
    assert differences(policy, policy) == ()
    assert first.person == Approver("  a ", "pem").person


def test_a_policy_without_a_record_is_taken_as_it_is(tmp_path: Path) -> None:
    node = Node.create(tmp_path / "node")
    with pytest.raises(PolicyError):
        current_policy(node)
    save_policy(node.policy_path, Policy(approvals=2))
    assert current_policy(node).approvals == 2
    change_policy(node, lambda policy: policy.with_setting("approvals=3"))
    assert current_policy(node).approvals == 3


# -- the bundle


def test_a_bundle_answers_an_officer_and_carries_the_history(shell: Shell) -> None:
    declared = ("--purpose", "Training of models.", "--contact", "dpo@hospital.example")
    shell.run("policy", *declared, *key(shell))
    shell.run("approve", *key(shell), "--all", "--yes")
    bundle = shell.root / "bundle"
    shell.run("export", "--out", bundle, *key(shell, "release"))
    verified = verify_bundle(bundle, [shell.keys.release.public])
    card = verified.container.read("CARD.md").decode()
    assert "- purpose: Training of models." in card
    assert "- legal basis: not stated by the hospital" in card
    assert "3 real images, 3 distinct pictures; their patients are unknown" in card
    assert "**extraction**" in card
    assert "**query**" in card
    envelope = json.loads(verified.container.read("privacy.json"))
    statement = json.loads(dsse.Envelope.from_bytes(json.dumps(envelope).encode()).payload)
    officer = statement["predicate"]["officer"]
    assert officer["declaration"] == {"purpose": "Training of models.", "contact": "dpo@hospital.example"}
    assert [one["question"] for one in officer["questions"]] == ["extraction", "query"]
    assert all(one["attacks"] and one["generators"] == 3 for one in officer["questions"])

    number, code = carried_history(bundle)
    node = node_of(shell)
    assert history.verify(node, {"bundle": (number, code)}) == number + 1
    facts = last(node, Action.EXPORT)
    assert (facts["release"], facts["units"]) == (1, 3)
    assert dict(history.entries(node))[number].facts["begun"] == 1
    assert shell.run("history", "--verify", "--bundle", bundle)["verified"] is True
    again = shell.run("audit", "--samples", 16, "--again")
    assert again["audited"] == 3
    assert all(one["releases"] == [1] for one in shell.run("status", "--all")["named_generators"])


def test_the_worst_figure_is_the_one_that_tells_most() -> None:
    def measure(quantity: str, value: float) -> Measure:
        return Measure(Space.FULL, quantity, value, value, value, "exact", 0.5)

    def audit(*measures: Measure) -> GeneratorAudit:
        result = AttackResult("best-of-n", "d", 4, 4, measures, at_chance=True)
        limits, parity = AuditLimits(), Parity((), 1e-4, 17, "1")
        return GeneratorAudit("a" * 32, "b" * 64, 9, 4, 0, limits, parity, (result,), Verdict.K_GROUP)

    near = audit(measure("distance_ratio", 0.1), measure("linkage_rate", 0.9))
    far = audit(measure("distance_ratio", 1.4), measure("linkage_rate", 0.1))
    answer = Answer.of(Question.QUERY, [far, near])
    assert [one.value for one in answer.worst] == [0.1, 0.9]
    assert (answer.succeeded, answer.undecided, Answer.of(Question.EXTRACTION, [far]).attacks) == (0, 0, ())


def test_audits_of_earlier_releases_keep_their_meaning() -> None:
    assert Verdict("anonymous-claim") is Verdict.NO_ATTACK_SUCCEEDED
    assert "anonymous" not in "".join(Verdict)
