"""A person's signed no: the generator is withdrawn, and never leaves."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from hospital_node.ledger.states import ASKING, GeneratorState
from hospital_node.node import history
from hospital_node.node.find_images import images_named
from hospital_node.node.node import Node
from hospital_node.release.policy_change import current_policy, listed_approver
from sharekit.errors import UsageError
from sharekit.signing import dsse
from sharekit.signing.keys import Signer
from sharekit.storage import schema

PREDICATE_TYPE = "urn:sharekit:rejection:v1"


@dataclass(frozen=True)
class Rejection:
    """A rejection that was signed and recorded."""

    generator_id: str
    approver: str
    reason: str
    releases: tuple[int, ...]  # that hold this generator already

    def to_json(self) -> dict[str, Any]:
        return {
            "generator": self.generator_id,
            "approver": self.approver,
            "reason": self.reason,
            "releases": list(self.releases),
        }


def reject(node: Node, generator_id: str, key: Signer, *, reason: str, by: str | None = None) -> Rejection:
    """Withdraw a generator, signed by a listed approver.

    Args:
        node: its write lock is taken.
        generator_id: the generator's identifier.
        key: an approver's.
        reason: for the history, 1 to 200 printable characters.
        by: the name that the approver gives; None takes the policy's.

    Raises:
        InputError: the node has no such generator.
        NodeStateError: the generator is not trained yet, or was withdrawn before.
        PolicyError: the key is not a listed approver's, or `by` is not the name listed for it.
        UsageError: the reason is empty, too long, or not printable.
    """
    if not schema.is_label(reason) or not reason.strip():
        raise UsageError(
            "--reason",
            expected="1 to 200 printable characters",
            found=repr(reason[:50]),
            next_step="give the reason in one line",
        )
    approver = listed_approver(current_policy(node), key, by)
    with node.write_lock():
        record = node.ledger.generators.get(generator_id)
        signed = dsse.sign_statement(
            dsse.Statement(
                (dsse.Subject(f"generators/{generator_id}.onnx", _candidate_sha256(node, generator_id)),),
                PREDICATE_TYPE,
                {
                    "approver": approver.name,
                    "reason": reason,
                    "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                },
            ),
            key,
        )
        # The state comes first: a generator must not leave because its record was interrupted.
        node.ledger.generators.transition(
            generator_id, GeneratorState.WITHDRAWN, f"rejected by {approver.name}: {reason}"
        )
        history.record(
            node,
            history.Action.REJECTION,
            approver.label,
            generator=generator_id,
            reason=reason,
            signed=signed.to_bytes().decode(),
        )
    return Rejection(generator_id, approver.name, reason, record.releases)


def trained_on(node: Node, images: Sequence[str]) -> list[str]:
    """The generators that learnt from these images and may still leave.

    Args:
        node: read, not changed.
        images: identifiers, paths, file names or stems.

    Raises:
        InputError: a name fits no image, or several.
    """
    table = node.ledger.generators
    chosen = images_named(node, images)
    return [one.id for image in chosen for one in table.of_image(image.id) if one.state in ASKING]


def _candidate_sha256(node: Node, generator_id: str) -> str:
    """Digest of the candidate, or of the trained generator where no audit has built one."""
    for path in (node.candidate_path(generator_id), node.generator_path(generator_id)):
        if path.exists():
            return hashlib.sha256(path.read_bytes()).hexdigest()
    return hashlib.sha256(b"").hexdigest()
