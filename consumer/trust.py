"""Verify a bundle with the key that the user names, or with the key that a data set was drawn with."""

from __future__ import annotations

from pathlib import Path

from consumer.datasets.reader import DatasetFolder
from sharekit.bundle.bundle import VerifiedBundle
from sharekit.errors import UsageError
from sharekit.pictures.folder import DESCRIPTION
from sharekit.repository.known import bundle_at, open_verified
from sharekit.signing.keys import PublicKey
from sharekit.trust.key_choice import public_keys


def verify_for(folder: DatasetFolder, bundle: Path, key: str | Path | None) -> VerifiedBundle:
    """Verify a bundle with a pinned key.

    When `key` is None, the key in the data set's `dataset.json` is used. `consumer sample` wrote it there
    after the user had named it. It is as trustworthy as the data set's folder.

    Raises:
        UsageError: neither the caller nor the data set names a key.
        VerificationError: the bundle is not what the key's owner signed, or was withdrawn.
    """
    bundle = bundle_at(bundle)
    if key is not None:
        return open_verified(bundle, public_keys(key))
    if folder.drawn is None:
        raise UsageError(
            "--key",
            expected="the hospital's public key",
            found=f"none named, and none in {DESCRIPTION}",
            next_step="name it with --key PUB",
        )
    pem = folder.drawn.public_key.encode()
    return open_verified(bundle, [PublicKey.from_pem(pem, folder.root / DESCRIPTION)])
