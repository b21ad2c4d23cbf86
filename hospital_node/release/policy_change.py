"""The policy in force: an approver signs each change, once there is one, and the history keeps it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from hospital_node.node import history
from hospital_node.node.history import Action
from hospital_node.node.node import Node
from hospital_node.release.release_policy import (
    Approver,
    Policy,
    check_policy,
    load_or_create_policy,
    load_policy,
    save_policy,
)
from sharekit.errors import PolicyError
from sharekit.signing import dsse
from sharekit.signing.keys import Signer

PREDICATE_TYPE = "urn:sharekit:policy-change:v1"


@dataclass(frozen=True)
class PolicyChange:
    """What a change did."""

    policy: Policy  # afterwards
    differences: tuple[str, ...]  # one line each; empty: nothing changed
    signer: Approver | None  # None: nothing changed, or there was no approver yet

    def to_json(self) -> dict[str, Any]:
        return {
            **self.policy.to_json(),
            "sha256": self.policy.digest,
            "changes": list(self.differences),
            "signed_by": None if self.signer is None else self.signer.name,
        }


def current_policy(node: Node, *, create: bool = False) -> Policy:
    """The policy in force: the file, if it is what the last recorded change wrote.

    A file that a change was about to write, or that is missing, is written again from the record.

    Args:
        node: its history is read.
        create: write the default, which has no approver, if there is no policy yet.

    Raises:
        PolicyError: there is no policy, it cannot be read, or somebody changed the file by hand.
    """
    changes = [entry.facts for _, entry in history.entries(node) if entry.action is Action.POLICY]
    if not changes:
        return load_or_create_policy(node.policy_path) if create else load_policy(node.policy_path)
    last, before = Policy.from_json(changes[-1]["policy"]), Policy.from_json(changes[-1]["before"])
    missing = not node.policy_path.exists() and not node.policy_path.is_symlink()
    found = None if missing else load_policy(node.policy_path)
    if found == last:
        return last
    if found is None or found == before:
        save_policy(node.policy_path, last)
        return last
    raise PolicyError(
        node.policy_path,
        expected="the policy as `hospital-node policy` last wrote it",
        found=f"a file that was changed by hand: {'; '.join(differences(last, found))}",
        next_step="remove the file: the next command writes the recorded policy again; then change it with "
        "`hospital-node policy --key KEY`",
    )


def change_policy(node: Node, change: Callable[[Policy], Policy], key: Signer | None = None) -> PolicyChange:
    """Change the node's policy, or create it.

    Args:
        node: its write lock is taken if something changes.
        change: gives the policy afterwards.
        key: an approver's; needed once the policy lists one.

    Raises:
        PolicyError: the policy in force cannot be read, the key is missing or not a listed approver's, or
            the new policy would leave nobody who may change it.
    """
    before = current_policy(node, create=True)
    if change(before) == before:
        return PolicyChange(before, (), None)
    with node.write_lock():
        # Another process may have changed it meanwhile.
        before = current_policy(node)
        after = change(before)
        changes = differences(before, after)
        check_policy(after, node.policy_path)
        _check_people(before, after)
        signer = _signer(before, key)
        signed = {} if key is None or signer is None else {"signed": _signed(before, after, signer, key)}
        # The record comes first: an interrupted change is finished from it.
        history.record(
            node,
            Action.POLICY,
            None if signer is None else signer.label,
            changes=list(changes),
            before=before.to_json(),
            policy=after.to_json(),
            **signed,
        )
        save_policy(node.policy_path, after)
    return PolicyChange(after, changes, signer)


def _signed(before: Policy, after: Policy, signer: Approver, key: Signer) -> str:
    """The approver's signed statement about a change: a DSSE envelope in JSON."""
    statement = dsse.Statement(
        (dsse.Subject("policy.json", after.digest),),
        PREDICATE_TYPE,
        {
            "before": before.digest,
            "changes": list(differences(before, after)),
            "approver": signer.name,
            "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        },
    )
    return dsse.sign_statement(statement, key).to_bytes().decode()


def differences(before: Policy, after: Policy) -> tuple[str, ...]:
    """What is different, one line for each setting and approver; equal policies have none."""
    lines = []
    for name, value in after.settings.items():
        old = before.settings[name]
        if old != value:
            lines.append(f"{name}: {old} -> {value}")
    lines += [f"approver removed: {one.label}" for one in before.approvers if one not in after.approvers]
    lines += [f"approver added: {one.label}" for one in after.approvers if one not in before.approvers]
    return tuple(lines)


def listed_approver(policy: Policy, key: Signer, by: str | None = None) -> Approver:
    """The approver whom the policy lists for a key.

    Args:
        policy: the node's.
        key: the private key of the person who signs.
        by: the name that the person gives; None takes the policy's.

    Raises:
        PolicyError: the policy does not list the key, or lists it under another name.
    """
    found = policy.approver(key.public)
    if found is None:
        raise PolicyError(
            "--key",
            expected=f"a listed approver's key: {_listed(policy)}",
            found=key.public.fingerprint,
            next_step="list it with `hospital-node policy --node NODE --approver PUB --name NAME`",
        )
    if by is not None and by != found.name:
        raise PolicyError(
            "--by",
            expected=f"{found.name!r}, as the policy lists this key",
            found=repr(by),
            next_step="leave out --by, or sign with the key of the person whom you name",
        )
    return found


def _signer(before: Policy, key: Signer | None) -> Approver | None:
    if not before.approvers:
        return None
    if key is None:
        raise PolicyError(
            "--key",
            expected=f"the key of a listed approver, who signs the change: {_listed(before)}",
            found="no key",
            next_step="ask one of them to add --key KEY to the same command",
        )
    return listed_approver(before, key)


def _check_people(before: Policy, after: Policy) -> None:
    """Refuse a change that takes approvers away until nobody, or too few, could approve."""
    left, needed = len(after.people), max(after.approvals, 1)
    if left < needed and left < len(before.people):
        raise PolicyError(
            "--remove-approver",
            expected=f"at least {needed} approvers afterwards",
            found=f"{left}",
            next_step="add the next approver first, or lower `approvals`",
        )


def _listed(policy: Policy) -> str:
    return ", ".join(approver.label for approver in policy.approvers) or "none is listed"
