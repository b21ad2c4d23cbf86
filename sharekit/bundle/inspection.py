"""What does a bundle say about itself? Without a key to verify it, these are only claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sharekit.bundle.bundle import read_claims, verify_bundle
from sharekit.bundle.manifest import BundleWarning, Manifest
from sharekit.signing.keys import PublicKey

UNVERIFIED = "unverified"
"""The verdict of an inspection without a key: anyone could have written what it shows."""


@dataclass(frozen=True)
class Inspection:
    """What a bundle holds, according to its manifest and the list of its files."""

    manifest: Manifest
    lengths: Mapping[str, int]
    """File name to length in bytes."""
    warnings: tuple[BundleWarning, ...]
    fingerprint: str | None = None
    """Fingerprint of the key that signed; None for an unverified bundle."""
    verdict: str = UNVERIFIED

    def to_json(self) -> dict[str, Any]:
        return {
            "verdict": self.verdict,
            "fingerprint": self.fingerprint,
            "warnings": [warning.to_json() for warning in self.warnings],
            "manifest": self.manifest.to_json(),
            "lengths": dict(self.lengths),
        }


def inspect_bundle(path: Path, keys: Sequence[PublicKey] = (), now: datetime | None = None) -> Inspection:
    """Read a bundle's claims; if `keys` are given, verify the whole bundle first.

    Args:
        path: the folder or zip.
        keys: pinned keys; empty to skip verification.
        now: UTC, for the warnings; None reads the clock.

    Raises:
        VerificationError: the bundle does not verify with the keys, or is malformed.
        InputError: nothing exists at `path`.
    """
    now = now or datetime.now(UTC)
    if keys:
        bundle = verify_bundle(path, keys, now)
        lengths = bundle.container.lengths
        return Inspection(bundle.manifest, lengths, bundle.warnings, bundle.fingerprint, bundle.verdict)
    claims, lengths = read_claims(path)
    return Inspection(claims, lengths, claims.warnings(now))
