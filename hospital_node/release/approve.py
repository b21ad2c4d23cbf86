"""Give an approval: collect what a person signs for from the node, and store the signature there."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hospital_node.audit.audited import Asking, read_asking
from hospital_node.ledger.states import ASKING
from hospital_node.node import history
from hospital_node.node.find_generators import generator_named
from hospital_node.node.find_images import images_named
from hospital_node.node.node import Node
from hospital_node.release.approval import (
    Approval,
    Approved,
    approved_under,
    read_approvals,
    sign_approval,
)
from hospital_node.release.gate import audit_reasons, way_out
from hospital_node.release.group_differences import with_differences
from hospital_node.release.policy_change import current_policy, listed_approver
from hospital_node.release.release_policy import Policy
from hospital_node.release.together import Together, attack_together
from sharekit.errors import InputError, PolicyError, VerificationError
from sharekit.signing.keys import Signer
from sharekit.storage import files


@dataclass(frozen=True)
class Proposal:
    """What can be approved now, and why the rest cannot."""

    items: tuple[Asking, ...]
    refused: Mapping[str, tuple[str, ...]]  # generator: reasons
    approved: tuple[Asking, ...] = ()
    """Others that a listed approver has signed for under this policy: they would leave with these."""


@dataclass(frozen=True)
class GivenApproval:
    """An approval that was signed and stored."""

    path: Path
    approver: str
    fingerprint: str  # fingerprint of the approver's key
    policy: Policy
    proposal: Proposal
    together: Together

    def to_json(self) -> dict[str, Any]:
        return {
            "approval": str(self.path),
            "approver": self.approver,
            "fingerprint": self.fingerprint,
            "approved": [
                {
                    "generator": item.record.id,
                    "images": len(item.record.images),
                    "verdict": str(item.audit.verdict),
                }
                for item in self.proposal.items
            ],
            "refused": {name: list(reasons) for name, reasons in self.proposal.refused.items()},
            "together": self.together.to_json(),
        }


def approve(
    node: Node,
    key: Signer,
    by: str | None = None,
    *,
    generators: Collection[str] | None = None,
    images: Sequence[str] = (),
    confirm: Callable[[Policy, Proposal, Together], None] | None = None,
    features_path: Path | None = None,
) -> GivenApproval:
    """Sign that generators may leave under the node's policy.

    Args:
        node: gets one more file in its folder of approvals.
        key: an approver's.
        by: the name that the approver gives; None takes the policy's.
        generators: identifiers, or their first digits; None: all that passed their audit, or those of
            `images` if it is given.
        images: identifiers, paths, file names or stems of images; stands for the generators that learnt from
            them.
        confirm: shows the proposal, and the attack on all that would leave together, to the person before it
            is signed; an exception stops the approval.
        features_path: file of the feature network of style statistics, as for the export; None looks for one.

    Raises:
        InputError: an identifier that has no trained generator.
        PolicyError: the policy cannot be read, a named generator may not leave, nothing may leave, the key is
            not a listed approver's, or is listed under another name.
    """
    policy = current_policy(node)
    approver = listed_approver(policy, key, by)
    if generators is not None or images:
        named = [generator_named(node, one) for one in generators or ()]
        generators = [*named, *generators_of(node, images)]
    proposal = propose(node, policy, generators)
    together = attack_together(node, policy, (*proposal.items, *proposal.approved), features_path)
    if confirm is not None:
        confirm(policy, proposal, together)
    path = give_approval(node, policy, proposal, key, by, together=together)
    return GivenApproval(path, approver.name, key.public.fingerprint, policy, proposal, together)


def generators_of(node: Node, images: Sequence[str]) -> list[str]:
    """The generators that learnt from these images and may ask to leave.

    Args:
        node: read, not changed.
        images: identifiers, paths, file names or stems.

    Raises:
        InputError: an image has no such generator, or a name fits no image, or several.
    """
    found: list[str] = []
    for image in images_named(node, images):
        trained = [one.id for one in node.ledger.generators.of_image(image.id) if one.state in ASKING]
        if not trained:
            raise _unknown(image.id, "an image with a trained generator")
        found += trained
    return list(dict.fromkeys(found))


def propose(node: Node, policy: Policy, generators: Collection[str] | None = None) -> Proposal:
    """Everything that a person may approve.

    Args:
        node: read, not changed.
        policy: the node's.
        generators: identifiers; None: all that passed.

    Raises:
        InputError: an identifier that has no trained generator.
        PolicyError: a named generator may not leave, or nothing may leave.
    """
    found, unreadable = read_asking(node)
    asking = with_differences(node, found, policy.limits.k)
    known = {item.record.id: item for item in asking}
    refused: dict[str, tuple[str, ...]] = {name: (why,) for name, why in unreadable.items()}
    for name in generators or ():
        if name not in known and name not in refused:
            raise _unknown(name, "the identifier of a trained generator")
    chosen, approved = [], []
    signed = approved_under(policy, read_approvals(node))
    for name, item in known.items():
        reasons = audit_reasons(policy, item.candidate)
        if generators is not None and name not in generators:
            if not reasons and Approved.of(item.candidate) in signed:
                approved.append(item)
        elif reasons:
            refused[name] = reasons
        else:
            chosen.append(item)
    blocked = [name for name in generators or () if name in refused]
    if blocked or not chosen:
        shown = blocked or list(refused)[:5]
        raise PolicyError(
            node.root,
            expected="generators whose audit lets them leave",
            found="; ".join(f"{name}: {'; '.join(refused[name])}" for name in shown)
            or "no trained generator",
            next_step=way_out(reason for name in shown for reason in refused[name]),
        )
    return Proposal(tuple(chosen), refused, tuple(approved))


def _unknown(name: str, expected: str) -> InputError:
    return InputError(
        name,
        expected=expected,
        found="no such generator",
        next_step="see `hospital-node status --all --format json` for the identifiers",
    )


def give_approval(
    node: Node,
    policy: Policy,
    proposal: Proposal,
    key: Signer,
    by: str | None = None,
    now: datetime | None = None,
    together: Together | None = None,
) -> Path:
    """Sign a proposal and store the envelope in the node.

    Args:
        node: gets one more file in its folder of approvals.
        policy: the node's; the approval covers exactly this policy.
        proposal: what is approved, as it was shown.
        key: an approver's.
        by: the name that the approver gives; None takes the policy's.
        now: UTC; None reads the clock.
        together: the attack that the person was shown, for the history.

    Raises:
        PolicyError: the key is not a listed approver's, or `by` is not the name listed for it.
    """
    approver = listed_approver(policy, key, by)
    date = (now or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")
    approved = tuple(Approved.of(item.candidate) for item in proposal.items)
    approval = Approval(approved, policy.digest, approver.name, date)
    try:
        Approval.from_statement(approval.to_statement())
    except VerificationError as error:
        raise PolicyError(
            "--by", expected=error.expected, found=error.found, next_step="give the approver's name"
        ) from error
    name = f"{date.replace(':', '').replace('-', '')}-{secrets.token_hex(4)}.json"
    path = node.approvals_dir / name
    history.record(
        node,
        history.Action.APPROVAL,
        approver.label,
        file=name,
        policy_sha256=policy.digest,
        generators=[item.record.id for item in proposal.items],
        **({} if together is None else {"shown": together.in_words, "together": together.to_json()}),
    )
    files.write_bytes(path, sign_approval(approval, key).to_bytes(), mode=0o600)
    return path
