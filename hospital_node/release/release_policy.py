"""The hospital's release policy: what an audit must show, and who may approve."""

from __future__ import annotations

import dataclasses
import hashlib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hospital_node.audit.attack import AuditLimits
from hospital_node.audit.verdict import Verdict
from hospital_node.release.declaration import Declaration
from sharekit.errors import PolicyError, SharekitError, UsageError
from sharekit.signing.keys import PublicKey
from sharekit.storage import files, schema

SCHEMA_VERSION = 1
MOST_TOTAL_EPSILON = 10.0
"""Largest budget of epsilon that can be set: odds about one patient then change by up to 22,000 times."""


@dataclass(frozen=True)
class Approver:
    """A person whose key may approve a release."""

    name: str
    public_key: str  # PEM, SubjectPublicKeyInfo

    @property
    def key(self) -> PublicKey:
        return PublicKey.from_pem(self.public_key.encode())

    @property
    def person(self) -> str:
        """The name as people compare names: two keys under one name are one person's."""
        return " ".join(unicodedata.normalize("NFKC", self.name).casefold().split())

    @property
    def label(self) -> str:
        """Name and fingerprint, for messages and the history."""
        return f"{self.name} ({self.key.fingerprint})"

    def to_json(self) -> dict[str, str]:
        return {"name": self.name, "public_key": self.public_key}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Approver:
        return Approver(value["name"], value["public_key"])


@dataclass(frozen=True)
class Policy:
    """What may leave. Law: `from_json(to_json(x)) == x`."""

    approvers: tuple[Approver, ...] = ()
    approvals: int = 1  # different people among the approvers that every release needs
    release_linkable: bool = False  # under controlled access, to recipients that the hospital knows
    min_group: int = 10
    """Fewest units behind a generator that may leave without `release_linkable`: patients where the node
    knows them, distinct pictures otherwise."""
    release_small_differences: bool = False
    """Also release a group that differs by fewer than `limits.k` units from one that left, with a warning."""
    limits: AuditLimits = field(default_factory=AuditLimits)
    epsilon: float = 1.0  # privacy parameter of one histogram of the masks
    style_epsilon: float = 0.0
    """Above 0: protected averages of colour leave in place of Gram matrices, each set at this epsilon."""
    max_total_epsilon: float = 4.0  # limit for everything protected that this node ever publishes
    declaration: Declaration = field(default_factory=Declaration)

    @property
    def released_verdicts(self) -> frozenset[Verdict]:
        linkable = {Verdict.LINKABLE} if self.release_linkable else set()
        return frozenset({Verdict.K_GROUP, Verdict.NO_ATTACK_SUCCEEDED} | linkable)

    @property
    def digest(self) -> str:
        """SHA-256 of the policy's canonical bytes, hexadecimal; approvals refer to it."""
        return hashlib.sha256(files.dump_json(self.to_json())).hexdigest()

    def to_json(self) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "approvers": [approver.to_json() for approver in self.approvers],
            "approvals": self.approvals,
            "release_linkable": self.release_linkable,
            "min_group": self.min_group,
            "limits": self.limits.to_json(),
            "epsilon": self.epsilon,
            "max_total_epsilon": self.max_total_epsilon,
            # Left out while nobody chose them: approvals of earlier policies stay valid.
            **({"release_small_differences": True} if self.release_small_differences else {}),
            **({"style_epsilon": self.style_epsilon} if self.style_epsilon else {}),
            **({"declaration": self.declaration.to_json()} if self.declaration.stated else {}),
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Policy:
        # A file of an earlier release has no `min_group`. True was the default there, so nobody chose it.
        chosen = "min_group" in value
        return Policy(
            tuple(Approver.from_json(approver) for approver in value["approvers"]),
            int(value["approvals"]),
            chosen and bool(value["release_linkable"]),
            int(value["min_group"]) if chosen else Policy.min_group,
            bool(value.get("release_small_differences", False)),
            AuditLimits.from_json(value["limits"]),
            float(value["epsilon"]),
            float(value.get("style_epsilon", 0)),
            float(value["max_total_epsilon"]),
            Declaration.from_json(value.get("declaration", {})),
        )

    @property
    def people(self) -> frozenset[str]:
        """The different people among the approvers."""
        return frozenset(approver.person for approver in self.approvers)

    @property
    def settings(self) -> dict[str, Any]:
        """Every setting by its name: what `with_setting` takes, and what the hospital declares."""
        owners = {name: self.limits if name in _names(AuditLimits) else self for name in SETTINGS}
        numbers = {name: getattr(owner, name) for name, owner in owners.items()}
        return numbers | dataclasses.asdict(self.declaration)

    def approver(self, key: PublicKey) -> Approver | None:
        """The approver with this key, if one is listed."""
        return next((one for one in self.approvers if one.key.fingerprint == key.fingerprint), None)

    def without_approver(self, who: str) -> Policy:
        """The same policy without a person's keys, or without one key.

        Args:
            who: a listed name, or a fingerprint.

        Raises:
            UsageError: nobody of this name and no such key is listed.
        """
        kept = tuple(one for one in self.approvers if who not in (one.name, one.key.fingerprint))
        if kept == self.approvers:
            raise UsageError(
                "--remove-approver",
                expected=f"a listed name or fingerprint: {', '.join(one.label for one in self.approvers)}",
                found=repr(who),
                next_step="see `hospital-node policy --node NODE` for the approvers",
            )
        return dataclasses.replace(self, approvers=kept)

    def with_approver(self, approver: Approver) -> Policy:
        """The same policy with one more approver, or with a known key under its new name."""
        others = tuple(known for known in self.approvers if known.key.fingerprint != approver.key.fingerprint)
        return dataclasses.replace(self, approvers=(*others, approver))

    def with_setting(self, assignment: str) -> Policy:
        """The same policy with `key=value` changed; `limits` are named directly.

        Raises:
            UsageError: no such setting, a value of the wrong kind, or a budget of epsilon without meaning.
        """
        name, separator, text = assignment.partition("=")
        owner: Any = self.limits if name in _names(AuditLimits) else self
        if not separator or name not in SETTINGS:
            raise UsageError(
                assignment,
                expected=f"key=value with one of: {', '.join(SETTINGS)}",
                found="another key" if separator else "no `=`",
                next_step="see `hospital-node policy --node NODE` for the settings",
            )
        kind = type(getattr(owner, name))
        try:
            value = {"true": True, "false": False}[text.lower()] if kind is bool else kind(text)
        except (KeyError, ValueError):
            raise UsageError(
                assignment,
                expected="true or false" if kind is bool else f"a value of the kind {kind.__name__}",
                found=repr(text),
                next_step="give another value",
            ) from None
        if name == "max_total_epsilon" and value > MOST_TOTAL_EPSILON:
            raise UsageError(
                assignment,
                expected=f"at most {MOST_TOTAL_EPSILON:g}: beyond it, the noise protects nobody",
                found=repr(text),
                next_step="export the same images as before, which spends nothing",
            )
        if owner is self:
            return dataclasses.replace(self, **{name: value})
        return dataclasses.replace(self, limits=dataclasses.replace(self.limits, **{name: value}))


def _names(cls: type[Any]) -> list[str]:
    return [item.name for item in dataclasses.fields(cls)]


SETTINGS = tuple(
    name for name in _names(Policy) if name not in {"approvers", "limits", "declaration"}
) + tuple(_names(AuditLimits))
"""What `with_setting` can change."""


def load_policy(path: Path) -> Policy:
    """Read a node's policy; no default replaces one that cannot be read.

    Raises:
        PolicyError: the file is missing or unreadable, breaks the schema, or holds an invalid key.
    """
    try:
        value = files.parse_json(files.read_bytes(path, max_bytes=files.MAX_JSON_BYTES), path)
        schema.validate("policy", value, path)
        policy = Policy.from_json(value)
        for approver in policy.approvers:
            _ = approver.key.fingerprint
    except SharekitError as error:
        raise PolicyError(
            path,
            expected="a readable release policy",
            found=error.found,
            next_step="correct the file, or remove it and set the policy again with `hospital-node policy`",
        ) from error
    return policy


def save_policy(path: Path, policy: Policy) -> None:
    """Write a policy, readable by its owner only.

    Raises:
        PolicyError: the policy breaks the schema.
    """
    check_policy(policy, path)
    files.write_json(path, policy.to_json(), mode=0o600)


def check_policy(policy: Policy, path: Path) -> None:
    """Refuse a policy that could not be read again.

    Raises:
        PolicyError: the policy breaks the schema; names `path`.
    """
    try:
        schema.validate("policy", policy.to_json(), path)
    except SharekitError as error:
        raise PolicyError(
            path,
            expected="a policy within the schema's limits",
            found=error.found,
            next_step="choose another value",
        ) from error


def load_or_create_policy(path: Path) -> Policy:
    """The node's policy. The first use writes the default, which has no approver, so nothing may leave."""
    if not path.exists() and not path.is_symlink():
        save_policy(path, Policy())
    return load_policy(path)


def policy_or_default(path: Path) -> Policy:
    """The node's policy, or the default if it has none yet; writes nothing.

    Raises:
        PolicyError: the policy cannot be read.
    """
    return load_policy(path) if path.exists() or path.is_symlink() else Policy()
