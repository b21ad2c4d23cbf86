"""What earlier pulls found out: offers, withdrawn releases, pulled bundles, and data sets drawn from them.

It is read without a network and without python-tuf. Every opening of a bundle passes `open_verified`, which
refuses a withdrawn release, wherever the copy lies: the manifest's digest identifies it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sharekit.bundle.bundle import AUTHENTIC, Depth, VerifiedBundle, verify_bundle
from sharekit.errors import InputError, SharekitError, VerificationError
from sharekit.repository.release_record import Offer, Withdrawal
from sharekit.signing.keys import PublicKey
from sharekit.storage import files
from sharekit.trust.home import home, made
from sharekit.trust.trust_store import NAME, parse_time

CURRENT = "current"
SUPERSEDED = "superseded"
UNKNOWN = "unknown"
_TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True)
class SeenHospital:
    """A hospital as the last pull saw it. Law: `from_json(to_json(x)) == x`."""

    label: str
    offers: tuple[Offer, ...]  # newest first, without withdrawn ones
    withdrawn: tuple[Withdrawal, ...]
    problem: str = ""
    """Why its metadata was refused; empty if it was not."""

    def to_json(self) -> dict[str, Any]:
        return {
            "label": self.label,
            "offers": [offer.to_json() for offer in self.offers],
            "withdrawn": [one.to_json() for one in self.withdrawn],
            "problem": self.problem,
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> SeenHospital:
        return SeenHospital(
            value["label"],
            tuple(map(Offer.from_json, value["offers"])),
            tuple(map(Withdrawal.from_json, value["withdrawn"])),
            value["problem"],
        )


@dataclass(frozen=True)
class Seen:
    """A repository as the last pull saw it. Law: `from_json(to_json(x)) == x`."""

    address: str
    checked: datetime  # UTC
    expires: datetime
    """Until when its timestamp vouches for what was seen."""
    signed: datetime
    """When the timestamp was signed: no correct clock shows an earlier time."""
    hospitals: Mapping[str, SeenHospital]

    def to_json(self) -> dict[str, Any]:
        return {
            "address": self.address,
            "checked": self.checked.strftime(_TIME),
            "expires": self.expires.strftime(_TIME),
            "signed": self.signed.strftime(_TIME),
            "hospitals": {name: one.to_json() for name, one in self.hospitals.items()},
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Seen:
        return Seen(
            value["address"],
            parse_time(value["checked"]),
            parse_time(value["expires"]),
            parse_time(value["signed"]),
            {name: SeenHospital.from_json(one) for name, one in value["hospitals"].items()},
        )


@dataclass(frozen=True)
class PulledBundle:
    """A bundle that a pull has fetched and verified. Law: `from_json(to_json(x)) == x`."""

    name: str
    """The hospital's short name."""
    address: str
    release: int
    sha256: str  # of the zip
    manifest_sha256: str

    @property
    def path(self) -> Path:
        return home() / "bundles" / f"{self.sha256}.zip"

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> PulledBundle:
        return PulledBundle(**value)


def place_of(address: str) -> Path:
    """The folder of what is known about a repository."""
    return home() / "repositories" / hashlib.sha256(address.encode()).hexdigest()[:16]


def seen_at(address: str) -> Seen | None:
    """What the last pull from an address saw."""
    return _read_seen(place_of(address) / "seen.json")


def seen_repositories() -> list[Seen]:
    """All repositories of earlier pulls."""
    found = (_read_seen(path) for path in sorted((home() / "repositories").glob("*/seen.json")))
    return [seen for seen in found if seen is not None]


def remember(seen: Seen) -> list[Withdrawal]:
    """Write down what a pull saw, and lock what is withdrawn; the withdrawals that are new."""
    files.write_json(made(place_of(seen.address)) / "seen.json", seen.to_json(), mode=0o600)
    new = []
    for name, hospital in seen.hospitals.items():
        for withdrawal in hospital.withdrawn:
            path = made(home() / "withdrawn") / f"{withdrawal.manifest_sha256}.json"
            if not path.exists():
                new.append(withdrawal)
                lock = {**withdrawal.to_json(), "hospital": name, "label": hospital.label}
                files.write_json(path, lock, mode=0o600)
    return new


def withdrawal_of(manifest_sha256: str) -> Mapping[str, Any] | None:
    """The withdrawal of a release with `hospital` and `label`, if an earlier pull saw one."""
    path = home() / "withdrawn" / f"{manifest_sha256}.json"
    return _read(path) if path.is_file() else None


def refuse_withdrawn(manifest_sha256: str, item: object) -> None:
    """Refuse a release that its hospital has withdrawn.

    Raises:
        VerificationError: with the hospital's reason.
    """
    found = withdrawal_of(manifest_sha256)
    if found is not None:
        drawn = "".join(f", {path}" for path in data_sets_of(manifest_sha256))
        raise VerificationError(
            item,
            expected="a release that its hospital stands by",
            found=f"release {found['release']} of {found['label']}, withdrawn on {found['date'][:10]}:"
            f" {found['reason']}",
            next_step=f"do not use it, nor what was drawn from it{drawn}; pull a newer release",
        )


def open_verified(
    path: Path, keys: Sequence[PublicKey], now: datetime | None = None, depth: Depth = Depth.FULL
) -> VerifiedBundle:
    """`verify_bundle`, then refuse a withdrawn release and say whether it is the current one.

    Raises:
        VerificationError: as `verify_bundle`, or the release was withdrawn.
    """
    now = now or datetime.now(UTC)
    bundle = verify_bundle(path, keys, now, depth)
    refuse_withdrawn(bundle.manifest_sha256, path)
    freshness = freshness_of(bundle.manifest_sha256, now)
    verdict = f"{AUTHENTIC} and current" if freshness == CURRENT else AUTHENTIC
    return dataclasses.replace(bundle, verdict=verdict, freshness=freshness)


def freshness_of(manifest_sha256: str, now: datetime) -> str:
    """`current`, `superseded` or `unknown`, by what earlier pulls saw and by how long that is vouched for."""
    for seen in seen_repositories():
        for hospital in seen.hospitals.values():
            digests = [offer.record.manifest_sha256 for offer in hospital.offers]
            if manifest_sha256 in digests[1:]:
                return SUPERSEDED
            if manifest_sha256 in digests and seen.signed <= now < seen.expires:
                return CURRENT
    return UNKNOWN


def note_pulled(bundle: PulledBundle) -> None:
    """Write down a pulled bundle."""
    path = made(home() / "pulled") / f"{bundle.manifest_sha256}.json"
    files.write_json(path, bundle.to_json(), mode=0o600)


def pulled(manifest_sha256: str) -> PulledBundle | None:
    """The pulled bundle of a release."""
    path = home() / "pulled" / f"{manifest_sha256}.json"
    return PulledBundle.from_json(_read(path)) if path.is_file() else None


def all_pulled() -> list[PulledBundle]:
    """Every pulled bundle, newest release first within a hospital."""
    found = [PulledBundle.from_json(_read(path)) for path in (home() / "pulled").glob("*.json")]
    return sorted(found, key=lambda one: (one.name, one.address, -one.release))


def bundle_at(value: Path) -> Path:
    """A bundle's path; a hospital's short name stands for its newest pulled release.

    The name comes first: write ./NAME for a folder that is called like a hospital of a pulled bundle.

    Raises:
        VerificationError: the hospital withdrew every pulled release.
        InputError: it is a short name of which nothing was pulled.
    """
    name = str(value)
    found = [one for one in all_pulled() if one.name == name]
    if not found and (value.exists() or not NAME.fullmatch(name)):
        return value
    if not found:
        raise InputError(
            value,
            expected="a bundle's folder or zip, or a hospital whose bundle you have pulled",
            found="neither",
            next_step=f"check the path, or `consumer pull REPOSITORY --hospital {name}`",
        )
    for one in found:
        if withdrawal_of(one.manifest_sha256) is None:
            return one.path
    refuse_withdrawn(found[0].manifest_sha256, name)
    raise AssertionError("refuse_withdrawn raises for a withdrawn release")


def note_drawn(manifest_sha256: str, out: Path) -> None:
    """Write down that a data set was drawn from a pulled bundle; nothing for other bundles."""
    if pulled(manifest_sha256) is None or str(out.resolve()) in data_sets_of(manifest_sha256):
        return
    path = made(home() / "drawn") / f"{manifest_sha256}.jsonl"
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(str(out.resolve())) + "\n")


def data_sets_of(manifest_sha256: str) -> list[str]:
    """Paths of the data sets that were drawn from a pulled bundle."""
    path = home() / "drawn" / f"{manifest_sha256}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def _read_seen(path: Path) -> Seen | None:
    if not path.is_file():
        return None
    try:
        return Seen.from_json(_read(path))
    except (KeyError, TypeError, ValueError, SharekitError):
        # A file of another version says nothing; the next pull writes it again.
        return None


def _read(path: Path) -> Any:
    return files.parse_json(files.read_bytes(path, max_bytes=files.MAX_JSON_BYTES), path)
