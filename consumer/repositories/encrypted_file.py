"""Open a bundle that a hospital encrypted for its recipients and handed over as a file."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path

from sharekit.bundle.bundle import VerifiedBundle
from sharekit.errors import UsageError
from sharekit.repository.known import open_verified
from sharekit.signing.encryption import decrypt
from sharekit.signing.keys import PublicKey
from sharekit.storage.files import refuse_existing


def decrypt_bundle(
    source: Path, out: Path, identities: Sequence[Path], keys: Sequence[PublicKey]
) -> VerifiedBundle:
    """Decrypt a bundle and verify it with pinned keys; `out` appears only if both succeed.

    Args:
        source: the encrypted file.
        out: a new zip.
        identities: files of the recipient's identities.
        keys: of the hospital.

    Raises:
        UsageError: `out` does not end in .zip.
        InputError, VerificationError: it cannot be decrypted, or the bundle does not verify.
    """
    if out.suffix.lower() != ".zip":
        raise UsageError("--out", expected="a zip: NAME.zip", found=str(out), next_step="name one")
    refuse_existing(out)
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        opened = Path(folder, "bundle.zip")
        decrypt(source, opened, identities)
        bundle = open_verified(opened, keys)
        opened.replace(out)
    return dataclasses.replace(bundle, container=bundle.container.moved(out))
