"""Who may have segmenters evaluated, how often, and within which limits.

It is separate from the release policy because approvals sign that policy's bytes: a new submitter must not
void them.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sharekit.errors import PolicyError, SharekitError, UsageError
from sharekit.program.sandbox import Limits
from sharekit.signing.keys import PublicKey
from sharekit.storage import files, schema

SCHEMA_VERSION = 1
NAME = "evaluation-policy.json"


@dataclass(frozen=True)
class Submitter:
    """Somebody outside whose submissions are evaluated."""

    name: str
    public_key: str  # PEM, SubjectPublicKeyInfo
    budget: int | None = None  # evaluations over all time; None is the policy's own

    @property
    def fingerprint(self) -> str:
        return PublicKey.from_pem(self.public_key.encode()).fingerprint

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Submitter:
        return Submitter(value["name"], value["public_key"], value["budget"])


@dataclass(frozen=True)
class EvaluationPolicy:
    """What evaluations may report about the hold-out. Law: `from_json(to_json(x)) == x`."""

    submitters: tuple[Submitter, ...] = ()
    budget: int = 5  # evaluations of one submitter, over all time
    hold_out_budget: int = 50  # evaluations of all submitters together, over all time
    min_images: int = 20  # hold-out images needed for every class; fewer: no evaluation
    images_for_all_metrics: int = 400  # hold-out images of every class; fewer: only the IoU
    epsilon: float = 1.0  # privacy parameter of one evaluation
    submitter_epsilon: float = 5.0  # limit for all evaluations of one submitter
    hold_out_epsilon: float = 20.0  # limit for all evaluations of all submitters together
    decimals: int = 2  # decimals of every figure
    limits: Limits = field(default_factory=Limits)

    def submitter(self, key: PublicKey) -> Submitter | None:
        """The registered submitter with this key."""
        return next((one for one in self.submitters if one.fingerprint == key.fingerprint), None)

    def budget_of(self, submitter: Submitter) -> int:
        return self.budget if submitter.budget is None else submitter.budget

    def with_submitter(self, submitter: Submitter) -> EvaluationPolicy:
        """The same policy with one more submitter, or with a known key under its new name and budget."""
        others = tuple(one for one in self.submitters if one.fingerprint != submitter.fingerprint)
        return dataclasses.replace(self, submitters=(*others, submitter))

    def with_setting(self, assignment: str) -> EvaluationPolicy:
        """The same policy with `key=number` changed; `limits` are named directly.

        Raises:
            UsageError: no such setting, or not a number of its kind.
        """
        name, _, text = assignment.partition("=")
        read = _read_number if name in _DECIMAL else _read_integer
        value = read(text)
        if name not in SETTINGS or value is None:
            raise UsageError(
                assignment,
                expected=f"key=number with one of: {', '.join(SETTINGS)}",
                found="another key" if name not in SETTINGS else repr(text),
                next_step="see `hospital-node submitter list --node NODE` for the settings",
            )
        change: dict[str, Any] = {name: value}
        if name in _LIMITS:
            change = {"limits": dataclasses.replace(self.limits, **change)}
        return dataclasses.replace(self, **change)

    def to_json(self) -> dict[str, Any]:
        submitters = [submitter.to_json() for submitter in self.submitters]
        return {
            "schema_version": SCHEMA_VERSION,
            "submitters": submitters,
            **{name: getattr(self, name) for name in _SETTINGS},
            "limits": dataclasses.asdict(self.limits),
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> EvaluationPolicy:
        """Read a policy; a setting that an older release did not know gets its default."""
        settings = {name: value[name] for name in _SETTINGS if name in value}
        submitters = tuple(Submitter.from_json(one) for one in value["submitters"])
        return EvaluationPolicy(submitters, **settings, limits=Limits(**value["limits"]))


_DECIMAL = ("epsilon", "submitter_epsilon", "hold_out_epsilon")
_SETTINGS = (
    *("budget", "hold_out_budget", "min_images", "images_for_all_metrics", "decimals"),
    *_DECIMAL,
)
_LIMITS = tuple(entry.name for entry in dataclasses.fields(Limits))
SETTINGS = (*_SETTINGS, *_LIMITS)
"""What `with_setting` can change."""


def _read_integer(text: str) -> int | None:
    return int(text) if text.isdecimal() and text.isascii() else None


def _read_number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text) else None


def load_policy(path: Path) -> EvaluationPolicy:
    """A node's evaluation policy, or the default one, without submitters, if none was ever written.

    Raises:
        PolicyError: the file is unreadable, breaks the schema, or holds an invalid key.
    """
    if not path.exists() and not path.is_symlink():
        return EvaluationPolicy()
    try:
        value = files.parse_json(files.read_bytes(path, max_bytes=files.MAX_JSON_BYTES), path)
        schema.validate("evaluation-policy", value, path)
        policy = EvaluationPolicy.from_json(value)
        for submitter in policy.submitters:
            _ = submitter.fingerprint
    except SharekitError as error:
        raise PolicyError(
            path,
            expected="a readable evaluation policy",
            found=error.found,
            next_step="correct the file, or remove it and register the submitters again",
        ) from error
    return policy


def save_policy(path: Path, policy: EvaluationPolicy) -> None:
    """Write a policy, readable by its owner only.

    Raises:
        PolicyError: the policy breaks the schema.
    """
    value = policy.to_json()
    try:
        schema.validate("evaluation-policy", value, path)
    except SharekitError as error:
        raise PolicyError(
            path,
            expected="an evaluation policy within the schema's limits",
            found=error.found,
            next_step="choose another value",
        ) from error
    files.write_json(path, value, mode=0o600)
