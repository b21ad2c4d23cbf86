"""Registers the plan of an experiment before its first result, and refuses another one after it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sharekit.errors import InputError
from sharekit.storage import files

SUFFIX = "-registration.json"


@dataclass(frozen=True)
class Registration:
    """What was decided, and when. Law: `from_json(to_json(x)) == x`."""

    plan_sha256: str
    """Digest of the plan's file."""
    plan: Mapping[str, Any]
    choices: Mapping[str, Any]
    """Everything else that changes a number: images by digest, folds, options of the commands."""
    registered: str
    """UTC, ISO 8601."""

    @property
    def sha256(self) -> str:
        """Digest of the plan and the choices, hexadecimal."""
        decided = [self.plan_sha256, self.plan, self.choices]
        return hashlib.sha256(json.dumps(decided, sort_keys=True).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "sha256": self.sha256}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Registration:
        return Registration(value["plan_sha256"], value["plan"], value["choices"], value["registered"])


def register(out: Path, name: str, wanted: Registration, *, begun: bool) -> Registration:
    """Write a comparison's registration into `out`, or return the one that is there with its date.

    Args:
        out: folder of the experiment.
        name: name of the comparison.
        wanted: what is decided now.
        begun: whether the experiment has results, after which a plan can no longer change.

    Raises:
        InputError: the experiment has begun with another plan or other choices, or the file is damaged.
    """
    path = out / f"{name}{SUFFIX}"
    if path.exists():
        known = _read(path)
        if known.sha256 == wanted.sha256:
            return known
        if begun:
            raise InputError(
                path,
                expected=f"the plan and the choices that were registered on {known.registered}, before the "
                "first result",
                found=f"a change after it, of {', '.join(_changed(known, wanted))}",
                next_step="give what was registered, or start again in another --out",
            )
    out.mkdir(parents=True, exist_ok=True)
    files.write_json(path, wanted.to_json())
    return wanted


def _read(path: Path) -> Registration:
    value = files.parse_json(files.read_bytes(path, max_bytes=files.MAX_JSON_BYTES), path)
    try:
        found = Registration.from_json(value)
        sound = found.sha256 == value["sha256"]
    except (KeyError, TypeError):
        sound = False
    if not sound:
        raise InputError(
            path,
            expected="a registration with the digest of its content",
            found="another content",
            next_step="restore the file, or start again in another --out",
        )
    return found


def _changed(known: Registration, wanted: Registration) -> list[str]:
    """What differs, in words."""
    names = [
        f"the plan's {name}"
        for name in sorted({*known.plan, *wanted.plan})
        if known.plan.get(name) != wanted.plan.get(name)
    ]
    names += [
        name.replace("_", " ")
        for name in sorted({*known.choices, *wanted.choices})
        if known.choices.get(name) != wanted.choices.get(name)
    ]
    return names or ["the plan's file"]
