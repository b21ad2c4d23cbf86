"""What a repository says of a release: signed by the hospital in its metadata, next to length and digest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sharekit.storage import schema

CUSTOM = "sharekit"
"""Key of the record among a target's custom fields."""
ENCRYPTED = ".age"
"""Ending of encrypted bundles."""
WITHDRAWN = "x-sharekit-withdrawn"
"""Field of targets metadata: path of a withdrawn release to its `Withdrawal`."""


@dataclass(frozen=True)
class ReleaseRecord:
    """A release in a catalogue. Law: `from_json(to_json(x)) == x`."""

    hospital: str
    """The hospital's name, as in the manifest."""
    release: int
    created: str  # UTC
    expires: str  # UTC
    manifest_sha256: str
    fingerprint: str  # of the key that signed the bundle
    modality: str  # such as colonoscopy
    licence: str
    layouts: tuple[str, ...]
    """Channels and classes, such as `rgb: polyp`."""
    generators: int
    images: int
    """Distinct real images behind the generators."""
    verdicts: tuple[str, ...]
    """The audit's verdicts in words, each once."""
    sheet: str | None = None
    """Path of the contact sheet of synthetic samples, if there is one."""
    encryption: str | None = None
    """Format in which the bundle is encrypted for its recipients; None if everybody can read it."""

    def to_json(self) -> dict[str, Any]:
        return {
            "hospital": self.hospital,
            "release": self.release,
            "created": self.created,
            "expires": self.expires,
            "manifest_sha256": self.manifest_sha256,
            "fingerprint": self.fingerprint,
            "modality": self.modality,
            "licence": self.licence,
            "layouts": list(self.layouts),
            "generators": self.generators,
            "images": self.images,
            "verdicts": list(self.verdicts),
            "sheet": self.sheet,
            **({} if self.encryption is None else {"encryption": self.encryption}),
        }

    @staticmethod
    def from_json(value: Any, item: object = "release record") -> ReleaseRecord:
        """Read a record of unknown origin.

        Raises:
            VerificationError: it does not fit the schema; names `item`.
        """
        schema.validate("release", value, item)
        return ReleaseRecord.stored(value)

    @staticmethod
    def stored(value: Mapping[str, Any]) -> ReleaseRecord:
        """Read a record that this machine has validated and stored."""
        return ReleaseRecord(
            **{**value, "layouts": tuple(value["layouts"]), "verdicts": tuple(value["verdicts"])}
        )


@dataclass(frozen=True)
class Withdrawal:
    """A release that must no longer be used. Law: `from_json(to_json(x)) == x`."""

    release: int
    manifest_sha256: str
    reason: str
    date: str  # UTC
    by: str
    """Who withdrew it: the hospital's short name, or `steward`."""

    def to_json(self) -> dict[str, Any]:
        return {
            "release": self.release,
            "manifest_sha256": self.manifest_sha256,
            "reason": self.reason,
            "date": self.date,
            "by": self.by,
        }

    @staticmethod
    def from_json(value: Any, item: object = "withdrawal") -> Withdrawal:
        """Read a withdrawal of unknown origin.

        Raises:
            VerificationError: it does not fit the schema; names `item`.
        """
        schema.validate("withdrawal", value, item)
        return Withdrawal(**value)


@dataclass(frozen=True)
class Offer:
    """A release that a repository offers, with the file that holds it. Law: `from_json(to_json(x)) == x`."""

    name: str
    """The hospital's short name."""
    path: str  # of the target
    length: int  # bytes
    sha256: str
    record: ReleaseRecord

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "path": self.path,
            "length": self.length,
            "sha256": self.sha256,
            "record": self.record.to_json(),
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Offer:
        record = ReleaseRecord.stored(value["record"])
        return Offer(value["name"], value["path"], value["length"], value["sha256"], record)


def bundle_path(name: str, release: int) -> str:
    """The target path of a release's bundle, by which a withdrawal names the release too."""
    return f"{name}/release-{release}.zip"


def encrypted_path(name: str, release: int) -> str:
    """The target path of a release's bundle that is encrypted for its recipients."""
    return f"{bundle_path(name, release)}{ENCRYPTED}"


def without_encryption(path: str) -> str:
    """The path by which a withdrawal names the release of this target."""
    return path.removesuffix(ENCRYPTED)


def sheet_path(name: str, release: int) -> str:
    """The target path of a release's contact sheet."""
    return f"{name}/release-{release}.png"


def withdrawals_in(fields: Mapping[str, Any], item: object) -> dict[str, Withdrawal]:
    """The withdrawals among the unrecognised fields of targets metadata, by target path.

    Raises:
        VerificationError: they are malformed.
    """
    value: Any = fields.get(WITHDRAWN, {})
    if not isinstance(value, dict):
        schema.validate("withdrawal", value, item)
    return {str(path): Withdrawal.from_json(one, item) for path, one in value.items()}
