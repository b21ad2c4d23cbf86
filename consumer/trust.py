"""Verify a bundle with the key that the user names, or with the key that a data set was drawn with."""

from __future__ import annotations

from pathlib import Path

from consumer.datasets.reader import DatasetFolder
from sharekit.bundle.bundle import VerifiedBundle, verify_bundle
from sharekit.errors import UsageError
from sharekit.pictures.folder import DESCRIPTION
from sharekit.signing.keys import PublicKey


def verify_for(folder: DatasetFolder, bundle: Path, key: Path | None) -> VerifiedBundle:
    """Verify a bundle with a pinned key.

    When `key` is None, the key in the data set's `dataset.json` is used. `consumer sample` wrote it there
    after the user had named it. It is as trustworthy as the data set's folder.

    Raises:
        UsageError: neither the caller nor the data set names a key.
        VerificationError: the bundle is not what the key's owner signed.
    """
    if key is not None:
        return verify_bundle(bundle, [PublicKey.load(key)])
    if folder.drawn is None:
        raise UsageError(
            "--key",
            expected="the hospital's public key",
            found=f"none named, and none in {DESCRIPTION}",
            next_step="name it with --key PUB",
        )
    pem = folder.drawn.public_key.encode()
    return verify_bundle(bundle, [PublicKey.from_pem(pem, folder.root / DESCRIPTION)])
