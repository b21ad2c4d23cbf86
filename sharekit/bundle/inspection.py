"""What does a bundle say of itself? Claims, unless a key is given to verify it with."""

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
"""Anyone could have written what such an inspection shows."""


@dataclass(frozen=True)
class Inspection:
    """What a bundle holds, by its manifest and the listing of its files."""

    manifest: Manifest
    lengths: Mapping[str, int]
    """Bytes of each file by its name."""
    warnings: tuple[BundleWarning, ...]
    fingerprint: str | None = None
    """Of the key that signed; None where nothing was verified."""
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
    """Read a bundle's claims, and verify the whole bundle first where there are keys.

    Args:
        path: the folder or zip.
        keys: pinned keys; none is needed.
        now: UTC, for the warnings; None reads the clock.

    Raises:
        VerificationError: it does not verify with the keys, or not even its form holds.
        InputError: there is nothing at `path`.
    """
    now = now or datetime.now(UTC)
    if keys:
        bundle = verify_bundle(path, keys, now)
        lengths = bundle.container.lengths
        return Inspection(bundle.manifest, lengths, bundle.warnings, bundle.fingerprint, bundle.verdict)
    claims, lengths = read_claims(path)
    return Inspection(claims, lengths, claims.warnings(now))
