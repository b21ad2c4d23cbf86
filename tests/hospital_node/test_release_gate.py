"""The gate fails closed: each missing or wrong thing is one refusal with its reason."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from hospital_node.audit.attack import AttackResult, AuditLimits
from hospital_node.audit.audited import Candidate
from hospital_node.audit.generator_audit import ATTACKS, GeneratorAudit
from hospital_node.audit.verdict import Verdict
from hospital_node.candidate.parity import Parity, ParityCase
from hospital_node.release.approval import Approval, Approved, sign_approval, verify_approval
from hospital_node.release.gate import Decision, decide, way_out
from hospital_node.release.release_policy import Approver, Policy
from sharekit.errors import VerificationError
from sharekit.signing import dsse
from sharekit.signing.dsse import Envelope
from sharekit.signing.keys import SigningKey, generate

GENERATOR = "a" * 32
BYTES, OTHER_BYTES, AUDIT_DIGEST = "1" * 64, "2" * 64, "3" * 64
APPROVER, SECOND, STRANGER = generate(), generate(), generate()


def result(name: str, *objections: str) -> AttackResult:
    return AttackResult(name, "an attack", 64, 5, (), False, objections)


AUDIT = GeneratorAudit(
    generator_id=GENERATOR,
    candidate_sha256=BYTES,
    group_size=1,
    samples=64,
    seed=0,
    limits=AuditLimits(),
    parity=Parity((ParityCase(20, 24, 1, 1e-6),), 1e-4, 18, "1.0"),
    attacks=tuple(result(attack.name) for attack in ATTACKS),
    verdict=Verdict.LINKABLE,
)
CANDIDATE = Candidate(GENERATOR, BYTES, AUDIT, AUDIT_DIGEST)
APPROVED = Approved.of(CANDIDATE)
POLICY = Policy((Approver("Officer", APPROVER.public.pem().decode()),), release_linkable=True)


def approval(key: SigningKey = APPROVER, approved: Approved = APPROVED, policy: Policy = POLICY) -> Envelope:
    statement = Approval((approved,), policy.digest, "Officer", "2026-01-02T03:04:05Z")
    return sign_approval(statement, key)


def ask(
    candidate: Candidate = CANDIDATE, policy: Policy = POLICY, envelopes: tuple[Any, ...] | None = None
) -> Decision:
    given = (approval(policy=policy),) if envelopes is None else envelopes
    return decide(policy, [candidate], {f"{number}.json": item for number, item in enumerate(given)})


def reasons(decision: Decision) -> str:
    assert not decision.allowed
    return "; ".join(decision.refused[GENERATOR])


def audited(**changes: Any) -> Candidate:
    return dataclasses.replace(CANDIDATE, audit=dataclasses.replace(AUDIT, **changes))


def test_audited_and_approved_generator_may_leave() -> None:
    assert ask() == Decision({GENERATOR: (APPROVER.public.fingerprint,)}, {})


def test_no_audit_is_refused() -> None:
    candidate = Candidate(GENERATOR, BYTES, None, None)
    assert "no readable audit" in reasons(ask(candidate))


def test_no_candidate_is_refused() -> None:
    assert "no candidate" in reasons(ask(Candidate(GENERATOR, None, None, None)))


def test_audit_of_other_bytes_is_refused() -> None:
    candidate = audited(candidate_sha256=OTHER_BYTES)
    assert "other bytes" in reasons(ask(candidate))


def test_audit_of_another_generator_is_refused() -> None:
    assert "other bytes" in reasons(ask(audited(generator_id="b" * 32)))


def test_failed_audit_is_refused_though_a_person_approved_it() -> None:
    attacks = (result("best-of-n", "near copy"), *AUDIT.attacks[1:])
    assert "near copy" in reasons(ask(audited(attacks=attacks)))


def test_audit_without_one_of_the_attacks_is_refused() -> None:
    rest = tuple(one for one in AUDIT.attacks if one.attack != "static")
    assert "not run: static" in reasons(ask(audited(attacks=rest)))


def test_audit_of_too_few_samples_is_refused() -> None:
    assert "fewer than 16" in reasons(ask(audited(samples=2)))


def test_audit_under_other_limits_is_refused() -> None:
    assert "other limits" in reasons(ask(audited(limits=AuditLimits(min_distance_ratio=0))))


def test_audit_with_a_better_verdict_than_its_attacks_is_refused() -> None:
    assert "does not follow" in reasons(ask(audited(verdict=Verdict.NO_ATTACK_SUCCEEDED)))


def test_audit_of_a_file_unlike_the_trained_network_is_refused() -> None:
    parity = dataclasses.replace(AUDIT.parity, cases=(ParityCase(20, 24, 1, float("nan")),))
    assert "differs" in reasons(ask(audited(parity=parity)))


def test_withheld_image_is_refused() -> None:
    candidate = dataclasses.replace(CANDIDATE, withheld="near copy")
    assert "withheld: near copy" in reasons(ask(candidate))


def test_linkable_is_refused_where_the_policy_does_not_release_it() -> None:
    assert "does not release what is linkable" in reasons(
        ask(policy=POLICY.with_setting("release_linkable=false"))
    )


def of_group(pictures: int) -> Candidate:
    """A candidate whose attacks were at chance, and which stands for so many pictures."""
    attacks = tuple(dataclasses.replace(one, at_chance=True) for one in AUDIT.attacks)
    audit = dataclasses.replace(
        AUDIT, group_size=pictures, attacks=attacks, verdict=Verdict.NO_ATTACK_SUCCEEDED
    )
    return dataclasses.replace(CANDIDATE, audit=audit, units=pictures)


def test_a_generator_of_fewer_units_than_min_group_needs_a_policy_that_releases_linkable_ones() -> None:
    strict = POLICY.with_setting("release_linkable=false")
    assert list(ask(of_group(10), strict).allowed) == [GENERATOR]
    why = reasons(ask(of_group(9), strict))
    assert why == (
        "it stands for 9 patients or distinct pictures, fewer than min_group = 10:"
        " release_linkable is false in the policy"
    )
    assert "--set release_linkable=true" in way_out([why])
    assert list(ask(of_group(9)).allowed) == [GENERATOR]
    assert list(ask(of_group(9), strict.with_setting("min_group=9")).allowed) == [GENERATOR]


def test_missing_approval_is_refused() -> None:
    assert "approved by 0 of 1" in reasons(ask(envelopes=()))


def test_policy_without_approvers_lets_nothing_out() -> None:
    assert "approved by 0 of 1" in reasons(ask(policy=Policy()))


def test_approval_by_an_unlisted_key_is_refused() -> None:
    assert "approved by 0 of 1" in reasons(ask(envelopes=(approval(STRANGER),)))


def test_approval_of_other_bytes_is_refused() -> None:
    other = Approved(GENERATOR, OTHER_BYTES, AUDIT_DIGEST)
    assert "approved by 0 of 1" in reasons(ask(envelopes=(approval(approved=other),)))


def test_approval_with_another_audit_is_refused() -> None:
    other = Approved(GENERATOR, BYTES, "4" * 64)
    assert "approved by 0 of 1" in reasons(ask(envelopes=(approval(approved=other),)))


def test_approval_of_another_generator_with_the_same_bytes_is_refused() -> None:
    other = Approved("b" * 32, BYTES, AUDIT_DIGEST)
    assert "approved by 0 of 1" in reasons(ask(envelopes=(approval(approved=other),)))


def test_approval_under_another_policy_is_refused() -> None:
    stricter = POLICY.with_setting("epsilon=0.5")
    assert "another policy" in reasons(ask(envelopes=(approval(policy=stricter),)))


def test_tampered_approval_is_refused() -> None:
    other = Approved(GENERATOR, OTHER_BYTES, AUDIT_DIGEST)
    envelope = approval(approved=other)
    payload = envelope.payload.replace(OTHER_BYTES.encode(), BYTES.encode())
    tampered = dataclasses.replace(envelope, payload=payload)
    assert "approved by 0 of 1" in reasons(ask(envelopes=(tampered,)))


@pytest.mark.parametrize("value", [None, {}, [], {"payload": "", "payloadType": "", "signatures": []}])
def test_approval_of_another_form_is_refused(value: Any) -> None:
    with pytest.raises(VerificationError) as caught:
        Envelope.from_json(value)
    assert "approved by 0 of 1" in reasons(ask(envelopes=(caught.value,)))


def test_a_statement_of_another_kind_by_an_approver_is_no_approval() -> None:
    statement = dataclasses.replace(
        Approval((APPROVED,), POLICY.digest, "Officer", "2026-01-02T03:04:05Z").to_statement(),
        predicate_type="urn:sharekit:privacy:v1",
    )
    assert "approved by 0 of 1" in reasons(ask(envelopes=(dsse.sign_statement(statement, APPROVER),)))


def test_two_approvers_are_two_keys_and_not_one_key_twice() -> None:
    policy = dataclasses.replace(POLICY, approvals=2).with_approver(
        Approver("Second officer", SECOND.public.pem().decode())
    )
    twice = (approval(policy=policy), approval(policy=policy))
    assert "approved by 1 of 2" in reasons(ask(policy=policy, envelopes=twice))
    both = (approval(policy=policy), approval(SECOND, policy=policy))
    assert len(ask(policy=policy, envelopes=both).allowed[GENERATOR]) == 2


def test_one_refused_generator_does_not_hold_back_another() -> None:
    refused = Candidate("b" * 32, BYTES, None, None)
    decision = decide(POLICY, [refused, CANDIDATE], {"0.json": approval()})
    assert list(decision.allowed) == [GENERATOR]
    assert list(decision.refused) == ["b" * 32]


def test_approval_survives_its_statement() -> None:
    given = Approval((APPROVED,), POLICY.digest, "Officer", "2026-01-02T03:04:05Z")
    assert Approval.from_statement(given.to_statement()) == given
    envelope = Envelope.from_bytes(sign_approval(given, APPROVER).to_bytes())
    assert verify_approval(envelope, [STRANGER.public, APPROVER.public]) == (given, APPROVER.public)


def test_approval_of_a_generator_without_its_audit_is_refused() -> None:
    statement = Approval((APPROVED,), POLICY.digest, "Officer", "2026-01-02T03:04:05Z").to_statement()
    lone = dataclasses.replace(
        statement, subjects=(*statement.subjects, dsse.Subject(f"audit/{'b' * 32}.json", BYTES))
    )
    with pytest.raises(VerificationError):
        Approval.from_statement(lone)
