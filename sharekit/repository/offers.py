"""What a hospital's targets metadata offers and withdraws."""

from __future__ import annotations

from pathlib import PurePosixPath

from tuf.api.metadata import TargetFile, Targets

from sharekit.errors import VerificationError
from sharekit.repository.release_record import (
    CUSTOM,
    ENCRYPTED,
    Offer,
    ReleaseRecord,
    Withdrawal,
    bundle_path,
    encrypted_path,
    sheet_path,
    withdrawals_in,
)
from sharekit.storage.container import MAX_TOTAL_BYTES


def offers_of(name: str, targets: Targets) -> list[Offer]:
    """The releases that a hospital offers, newest first.

    Args:
        name: the hospital's short name.
        targets: its metadata, whose signatures somebody has verified.

    Raises:
        VerificationError: a target has no record or a wrong path.
    """
    offers = [
        offer_of(name, target)
        for path, target in targets.targets.items()
        if PurePosixPath(path).suffix in (".zip", ENCRYPTED)
    ]
    return sorted(offers, key=lambda offer: -offer.record.release)


def release_in(name: str, targets: Targets, release: int) -> Offer | None:
    """One of a hospital's releases, if it offers it."""
    paths = bundle_path(name, release), encrypted_path(name, release)
    found = [targets.targets[path] for path in paths if path in targets.targets]
    return offer_of(name, found[0]) if found else None


def offer_of(name: str, target: TargetFile) -> Offer:
    """A target with its record.

    Raises:
        VerificationError: the record is malformed, or belongs to another path.
    """
    custom = target.custom if isinstance(target.custom, dict) else {}
    record = ReleaseRecord.from_json(custom.get(CUSTOM), target.path)
    sheets = (None, sheet_path(name, record.release))
    path = (bundle_path if record.encryption is None else encrypted_path)(name, record.release)
    own = target.path == path and record.sheet in sheets
    if not own or "sha256" not in target.hashes or target.length > MAX_TOTAL_BYTES:
        raise VerificationError(
            target.path,
            expected=f"{path} with its SHA-256, up to {MAX_TOTAL_BYTES} bytes",
            found=f"{target.length} bytes with the record of release {record.release}",
            next_step="do not use it; tell the repository's steward",
        )
    return Offer(name, target.path, target.length, target.hashes["sha256"], record)


def withdrawn_by(targets: Targets, name: str) -> list[Withdrawal]:
    """The releases of a hospital that these targets withdraw: the hospital's own, or the steward's.

    Raises:
        VerificationError: they are malformed.
    """
    found = withdrawals_in(targets.unrecognized_fields, f"{name}: withdrawn releases")
    return [one for path, one in found.items() if path == bundle_path(name, one.release)]
