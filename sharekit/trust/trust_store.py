"""Which keys a user trusts for which hospital: confirmed by fingerprint, with a validity, revocable.

A key counts while it is valid and not revoked. During a rotation two keys of a hospital count: the old one
until its end, and the new one from its beginning.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sharekit.errors import InputError, UsageError, VerificationError
from sharekit.signing.keys import PublicKey
from sharekit.storage import files, schema
from sharekit.trust.home import home, made

NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
"""A hospital's short name, which is also its folder in a repository."""
SCHEMA_VERSION = 1
_TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True)
class TrustedKey:
    """A public key and the time in which it counts. Law: `from_json(to_json(x)) == x`."""

    public: PublicKey
    valid_from: datetime  # UTC
    valid_until: datetime  # UTC
    confirmed: str
    """How it came to be trusted, in words."""
    revoked: str = ""
    """Why it no longer counts; empty if it does."""

    @property
    def fingerprint(self) -> str:
        return self.public.fingerprint

    def state(self, now: datetime) -> str:
        """`trusted`, `revoked: WHY`, `expired` or `not yet valid`."""
        if self.revoked:
            return f"revoked: {self.revoked}"
        if now < self.valid_from:
            return "not yet valid"
        return "trusted" if now < self.valid_until else "expired"

    def counts(self, now: datetime) -> bool:
        return self.state(now) == "trusted"

    def to_json(self) -> dict[str, Any]:
        return {
            "public_key": self.public.pem().decode(),
            "fingerprint": self.fingerprint,
            "valid_from": self.valid_from.strftime(_TIME),
            "valid_until": self.valid_until.strftime(_TIME),
            "confirmed": self.confirmed,
            "revoked": self.revoked,
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> TrustedKey:
        return TrustedKey(
            PublicKey.from_pem(value["public_key"].encode()),
            parse_time(value["valid_from"]),
            parse_time(value["valid_until"]),
            value["confirmed"],
            value["revoked"],
        )


@dataclass(frozen=True)
class TrustedHospital:
    """A hospital's keys, oldest first. Law: `from_json(to_json(x)) == x`."""

    name: str
    keys: tuple[TrustedKey, ...] = ()

    def counting(self, now: datetime) -> tuple[PublicKey, ...]:
        """The keys that count now.

        Raises:
            VerificationError: none does; the error says why.
        """
        found = tuple(key.public for key in self.keys if key.counts(now))
        if not found:
            raise VerificationError(
                self.name,
                expected="a trusted key of this hospital that is valid now",
                found="; ".join(f"{key.fingerprint[:16]}… {key.state(now)}" for key in self.keys) or "no key",
                next_step=f"ask the hospital for its key, then `sharekit trust add {self.name} --key PUB`",
            )
        return found

    def with_key(self, key: TrustedKey) -> TrustedHospital:
        """The hospital with one more key, or with another validity of a key that it has.

        Raises:
            InputError: the key was revoked.
        """
        for known in self.keys:
            if known.public == key.public and known.revoked:
                raise InputError(
                    f"{self.name}: {key.fingerprint}",
                    expected="a key that was never revoked",
                    found=f"one that was revoked: {known.revoked}",
                    next_step="ask the hospital for another key",
                )
        others = tuple(known for known in self.keys if known.public != key.public)
        return dataclasses.replace(self, keys=(*others, key))

    def changed(self, fingerprint: str, **changes: Any) -> TrustedHospital:
        """The hospital with one of its keys changed.

        Raises:
            InputError: it has no such key.
        """
        if fingerprint not in {key.fingerprint for key in self.keys}:
            raise InputError(
                self.name,
                expected=f"a key of this hospital: {', '.join(key.fingerprint for key in self.keys)}",
                found=fingerprint,
                next_step="see `sharekit trust list`",
            )
        keys = (
            dataclasses.replace(key, **changes) if key.fingerprint == fingerprint else key
            for key in self.keys
        )
        return dataclasses.replace(self, keys=tuple(keys))

    def to_json(self) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "hospital": self.name,
            "keys": [key.to_json() for key in self.keys],
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> TrustedHospital:
        return TrustedHospital(value["hospital"], tuple(map(TrustedKey.from_json, value["keys"])))


class TrustStore:
    """The folder with one file for each trusted hospital."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or home() / "trust"

    def hospitals(self) -> list[TrustedHospital]:
        """All of them, by name."""
        return [self._read(path) for path in sorted(self.folder.glob("*.json"))]

    def get(self, name: str) -> TrustedHospital | None:
        """The hospital of this name, if it is trusted."""
        path = self._path(name)
        return self._read(path) if path.is_file() else None

    def require(self, name: str) -> TrustedHospital:
        """The hospital of this name.

        Raises:
            InputError: it is not in the store.
        """
        found = self.get(name)
        if found is None:
            raise InputError(
                name,
                expected="a hospital that you trust",
                found=f"none of that name in {self.folder}",
                next_step=f"sharekit trust add {name} --key PUB --valid-until DATE",
            )
        return found

    def save(self, hospital: TrustedHospital) -> Path:
        """Write a hospital's file."""
        made(self.folder)
        path = self._path(hospital.name)
        files.write_json(path, hospital.to_json(), mode=0o600)
        return path

    def remove(self, name: str) -> None:
        """Forget a hospital.

        Raises:
            InputError: it is not in the store.
        """
        self.require(name)
        self._path(name).unlink()

    def _path(self, name: str) -> Path:
        return self.folder / f"{checked_name(name)}.json"

    def _read(self, path: Path) -> TrustedHospital:
        value = files.parse_json(files.read_bytes(path, max_bytes=files.MAX_JSON_BYTES), path)
        schema.validate("trusted-hospital", value, path)
        return TrustedHospital.from_json(value)


def checked_name(name: str) -> str:
    """A hospital's short name.

    Raises:
        UsageError: it cannot be one.
    """
    if not NAME.fullmatch(name):
        raise UsageError(
            "hospital",
            expected="a short name of 1 to 40 lower-case letters, digits and hyphens, such as st-olav",
            found=f"{name!r:.60}",
            next_step="choose another name",
        )
    return name


def parse_time(text: str) -> datetime:
    """A time as the trust store writes it."""
    return datetime.strptime(text, _TIME).replace(tzinfo=UTC)


def end_of(date: str) -> datetime:
    """The end of a day such as 2027-12-31, in UTC.

    Raises:
        UsageError: the text is no such day.
    """
    try:
        return datetime.strptime(date, "%Y-%m-%d").replace(tzinfo=UTC) + timedelta(days=1)
    except ValueError:
        raise UsageError(
            "date", expected="a day such as 2027-12-31", found=f"{date!r:.40}", next_step="write it that way"
        ) from None
