"""Which keys does `--key` mean: a public key's file or a trusted hospital's name, or a private key's file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from sharekit.errors import InputError
from sharekit.program import password
from sharekit.signing.external_key import load_signer
from sharekit.signing.keys import PublicKey, Signer, is_encrypted
from sharekit.trust.trust_store import NAME, TrustStore


def public_keys(*values: str | Path) -> list[PublicKey]:
    """The public keys that each value stands for: a file's, or a trusted hospital's that count now.

    Raises:
        InputError: a value is neither the path of a public key nor the name of a trusted hospital.
        VerificationError: none of a hospital's keys counts now.
    """
    return [key for value in values for key in _keys_of(str(value))]


def private_key(args: argparse.Namespace) -> Signer:
    """The private key of `--key`; a terminal asks for its password where no option gives one."""
    return private_keys([args.key], args)[0]


def private_keys(paths: Iterable[Path], args: argparse.Namespace) -> list[Signer]:
    """The private keys of a `--key` that may be repeated.

    Raises:
        InputError: a file is no private key, or its password is wrong or missing.
    """
    given = password.from_args(args)
    return [_private(path, given) for path in paths]


def _private(path: Path, given: bytes | None) -> Signer:
    if given is None and sys.stdin.isatty():
        if is_encrypted(path):
            given = password.ask(path)
        return load_signer(path, given, lambda: password.ask(path))
    return load_signer(path, given)


def _keys_of(value: str) -> tuple[PublicKey, ...]:
    # A trusted name comes first: a file of that name in the current folder may be anybody's.
    if NAME.fullmatch(value):
        hospital = TrustStore().get(value)
        if hospital is not None:
            return hospital.counting(datetime.now(UTC))
        if not Path(value).exists():
            raise InputError(
                value,
                expected="a public key file, or the name of a hospital that you trust",
                found="neither",
                next_step=f"sharekit trust add {value} --key PUB --valid-until DATE, or name the file",
            )
    return (PublicKey.load(Path(value)),)
