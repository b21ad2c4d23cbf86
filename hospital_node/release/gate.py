"""Decide whether a generator may leave: a pure function of policy, audits and approvals; it fails closed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hospital_node.audit.audited import AUDIT_AGAIN, Candidate, SmallDifference
from hospital_node.audit.generator_audit import ATTACKS
from hospital_node.audit.verdict import verdict
from hospital_node.release.approval import Approval, Approved, Envelopes, valid_approvals
from hospital_node.release.release_policy import Policy
from sharekit.generator.spec import short_id
from sharekit.program.phrases import counted
from sharekit.signing.keys import PublicKey

NOT_SIGNED = "approved by"
NOT_LINKABLE = "release_linkable is false in the policy"
NO_SMALL_DIFFERENCE = "release_small_differences is false in the policy"


@dataclass(frozen=True)
class Decision:
    """Generators that may leave, with their approvers, and why the others may not."""

    allowed: Mapping[str, tuple[str, ...]]  # generator id: fingerprints of its approvers
    refused: Mapping[str, tuple[str, ...]]  # generator id: reasons


def decide(policy: Policy, candidates: Sequence[Candidate], approvals: Envelopes) -> Decision:
    """Decide about every candidate by itself.

    Args:
        policy: as read; the caller stops earlier if it cannot be read.
        candidates: every generator that asks to leave.
        approvals: as the node's folder holds them; this function verifies each one.
    """
    valid, void = valid_approvals(policy, approvals)
    allowed: dict[str, tuple[str, ...]] = {}
    refused: dict[str, tuple[str, ...]] = {}
    for candidate in candidates:
        reasons = audit_reasons(policy, candidate)
        approvers = _approvers(candidate, valid)
        people = {one.person for one in policy.approvers if one.key.fingerprint in approvers}
        if len(people) < max(policy.approvals, 1):
            needed = f"{NOT_SIGNED} {len(people)} of {max(policy.approvals, 1)} listed approvers"
            if len(people) < len(approvers):
                needed += " (the keys of one person count once)"
            reasons = (*reasons, "; ".join([needed, *void]))
        if reasons:
            refused[candidate.generator_id] = reasons
        else:
            allowed[candidate.generator_id] = approvers
    return Decision(allowed, refused)


def audit_reasons(policy: Policy, candidate: Candidate) -> tuple[str, ...]:
    """Why the audit does not let this candidate leave; if empty, a person may approve it."""
    audit = candidate.audit
    if candidate.sha256 is None:
        return ("there is no candidate file",)
    if audit is None:
        return (candidate.no_audit,)
    reasons = list(audit.objections)
    # The ledger usually repeats what the audit objects to.
    if candidate.withheld is not None and candidate.withheld != "; ".join(audit.objections):
        reasons.append(f"withheld: {candidate.withheld}")
    if audit.generator_id != candidate.generator_id or audit.candidate_sha256 != candidate.sha256:
        reasons.append("the audit is about other bytes than the candidate's")
    if audit.group_size != candidate.units:
        reasons.append(
            f"its audit counts {audit.group_size} images behind it, the ledger {candidate.units} patients or"
            f" distinct pictures; {AUDIT_AGAIN}"
        )
    if audit.limits != policy.limits:
        reasons.append("the audit was made under other limits than the policy's")
    if audit.samples < policy.limits.min_samples:
        reasons.append(f"the audit drew {audit.samples} samples, fewer than {policy.limits.min_samples}")
    missing = {attack.name for attack in ATTACKS} - {result.attack for result in audit.attacks}
    if missing:
        reasons.append(f"attacks were not run: {', '.join(sorted(missing))}")
    if audit.verdict != verdict(candidate.units, audit.limits.k, audit.attacks):
        reasons.append("the audit's verdict does not follow from its attacks")
    if audit.verdict not in policy.released_verdicts:
        reasons.append(f"the policy does not release what is {audit.verdict}: {NOT_LINKABLE}")
    elif candidate.units < policy.min_group and not policy.release_linkable:
        who = counted(candidate.units, "patient or distinct picture", "patients or distinct pictures")
        reasons.append(f"it stands for {who}, fewer than min_group = {policy.min_group}: {NOT_LINKABLE}")
    if candidate.difference is not None and not policy.release_small_differences:
        reasons.append(f"{difference_in_words(candidate.difference, policy)}: {NO_SMALL_DIFFERENCE}")
    return tuple(reasons)


def difference_in_words(difference: SmallDifference, policy: Policy) -> str:
    """How few units are different, with the number that the policy asks for."""
    who = counted(difference.units, "patient or distinct picture", "patients or distinct pictures")
    return (
        f"its group differs from that of generator {short_id(difference.generator_id)} by {who}, fewer than"
        f" k = {policy.limits.k}: whoever has both can compare them, and learns about these alone"
    )


def way_out(reasons: Iterable[str]) -> str:
    """The next step for a person whose generators these reasons hold back."""
    reasons = tuple(reasons)
    if reasons and all(reason.startswith(NOT_SIGNED) for reason in reasons):
        return (
            "let as many people as the policy asks for sign, each with their own listed key:"
            " `hospital-node approve --node NODE --key KEY --all`"
        )
    if any(NO_SMALL_DIFFERENCE in reason for reason in reasons):
        return (
            "release the same groups as before and train the new patients as groups of their own"
            " (`hospital-node train`), or let the person who answers for it set"
            " `hospital-node policy --node NODE --key KEY --set release_small_differences=true`"
        )
    if any(NOT_LINKABLE in reason for reason in reasons):
        return (
            "train generators of more patients (`hospital-node train`), or let the person who answers for it"
            " set `hospital-node policy --node NODE --key KEY --set release_linkable=true` and approve again"
        )
    return "run `hospital-node audit`, then `hospital-node approve`; what the audit withholds stays inside"


def _approvers(candidate: Candidate, valid: Sequence[tuple[Approval, PublicKey]]) -> tuple[str, ...]:
    """Fingerprints of the different keys that approved exactly this candidate with exactly this audit."""
    if candidate.sha256 is None or candidate.audit_sha256 is None:
        return ()
    approvable = Approved.of(candidate)
    return tuple(sorted({key.fingerprint for approval, key in valid if approvable in approval.approved}))
