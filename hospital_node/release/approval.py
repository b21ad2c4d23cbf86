"""A person's signed approval that exactly these generators may leave under exactly this policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hospital_node.audit.audited import Candidate
from hospital_node.node.node import Node
from hospital_node.release.release_policy import Policy
from sharekit.errors import SharekitError, VerificationError
from sharekit.signing import dsse
from sharekit.signing.keys import PublicKey, Signer
from sharekit.storage import files, schema

SCHEMA_VERSION = 1
PREDICATE_TYPE = "urn:sharekit:approval:v1"

Envelopes = Mapping[str, dsse.Envelope | VerificationError]
"""Approvals by file name, or the error of a file that is no approval. They are not verified yet."""


@dataclass(frozen=True)
class Approved:
    """One generator that an approval covers."""

    generator_id: str
    candidate_sha256: str
    audit_sha256: str

    @staticmethod
    def of(candidate: Candidate) -> Approved:
        """What an approval of a candidate covers.

        Raises:
            ValueError: there is no candidate or no audit.
        """
        if candidate.sha256 is None or candidate.audit_sha256 is None:
            raise ValueError("an approval is about a candidate and its audit")
        return Approved(candidate.generator_id, candidate.sha256, candidate.audit_sha256)

    @property
    def subjects(self) -> tuple[dsse.Subject, dsse.Subject]:
        return (
            dsse.Subject(f"generators/{self.generator_id}.onnx", self.candidate_sha256),
            dsse.Subject(f"audit/{self.generator_id}.json", self.audit_sha256),
        )


@dataclass(frozen=True)
class Approval:
    """Who approved what, when. Law: `from_statement(to_statement(x)) == x`."""

    approved: tuple[Approved, ...]
    policy_sha256: str
    approver: str  # the name that the policy lists for the key; the key is what counts
    date: str  # UTC, ISO 8601

    def to_statement(self) -> dsse.Statement:
        return dsse.Statement(
            tuple(subject for item in self.approved for subject in item.subjects),
            PREDICATE_TYPE,
            {
                "schema_version": SCHEMA_VERSION,
                "policy_sha256": self.policy_sha256,
                "approver": self.approver,
                "date": self.date,
            },
        )

    @staticmethod
    def from_statement(statement: dsse.Statement, item: object = "approval") -> Approval:
        """Read a statement.

        Raises:
            VerificationError: the statement has another schema, or a generator without its audit; names
                `item`.
        """
        schema.validate("approval", statement.to_json(), item)
        digests = {subject.name: subject.sha256 for subject in statement.subjects}
        names = [
            subject.name.removeprefix("generators/").removesuffix(".onnx")
            for subject in statement.subjects
            if subject.name.startswith("generators/")
        ]
        try:
            approved = tuple(
                Approved(name, digests[f"generators/{name}.onnx"], digests[f"audit/{name}.json"])
                for name in names
            )
        except KeyError as error:
            raise dsse.refusal(item, "an audit with every generator", f"no {error.args[0]}") from None
        if len(statement.subjects) != len(digests) or len(digests) != 2 * len(approved):
            raise dsse.refusal(item, "every generator once, with its audit", "other subjects")
        predicate = statement.predicate
        return Approval(approved, predicate["policy_sha256"], predicate["approver"], predicate["date"])


def sign_approval(approval: Approval, key: Signer) -> dsse.Envelope:
    """A DSSE envelope around the approval."""
    return dsse.sign_statement(approval.to_statement(), key)


def verify_approval(
    envelope: dsse.Envelope, keys: Sequence[PublicKey], item: object = "approval"
) -> tuple[Approval, PublicKey]:
    """The approval in an envelope, once one of `keys` is known to have signed it.

    Raises:
        VerificationError: the statement is of another kind, tampered with, or signed by another key.
    """
    payload, key = dsse.verify_with_signer(envelope, keys, item=item)
    return Approval.from_statement(dsse.Statement.from_bytes(payload, item), item), key


def valid_approvals(
    policy: Policy, envelopes: Envelopes
) -> tuple[list[tuple[Approval, PublicKey]], list[str]]:
    """Approvals by listed approvers under exactly this policy, and why the other envelopes do not count."""
    keys = [approver.key for approver in policy.approvers]
    valid: list[tuple[Approval, PublicKey]] = []
    void: list[str] = []
    for name, envelope in sorted(envelopes.items()):
        try:
            if isinstance(envelope, VerificationError):
                raise envelope
            approval, key = verify_approval(envelope, keys, name)
        except VerificationError as error:
            void.append(f"{name}: {error.found}")
            continue
        if approval.policy_sha256 != policy.digest:
            void.append(f"{name}: given under another policy")
        else:
            valid.append((approval, key))
    return valid, void


def approved_under(policy: Policy, envelopes: Envelopes) -> frozenset[Approved]:
    """Every generator that at least one listed approver has signed for under exactly this policy."""
    valid, _ = valid_approvals(policy, envelopes)
    return frozenset(one for approval, _ in valid for one in approval.approved)


def read_approvals(node: Node) -> Envelopes:
    """The files in the node's folder of approvals, parsed."""
    envelopes: dict[str, dsse.Envelope | VerificationError] = {}
    for path in sorted(node.approvals_dir.glob("*.json")):
        try:
            data = files.read_bytes(path, max_bytes=files.MAX_JSON_BYTES)
            envelopes[path.name] = dsse.Envelope.from_bytes(data, path.name)
        except SharekitError as error:
            envelopes[path.name] = dsse.refusal(path.name, error.expected, error.found)
    return envelopes
