"""Keys that never leave a PKCS#11 token or a cloud's key service, through the library securesystemslib.

An external key has the same two files as any other: NAME.pub holds the public key. NAME.key holds the address
under which the library signs, in place of the private key:

    {"external_key": "hsm:2?label=release"}

The library knows the addresses `hsm:` (PKCS#11), `awskms:`, `azurekms:`, `gcpkms:` and `hv:` (Vault).
Any other service is a class of your own, a `KeyService` behind an entry point: docs/key-services.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol

from sharekit.errors import DependencyError, InputError, missing_package
from sharekit.signing.keys import MAX_KEY_BYTES, PublicKey, Signer, SigningKey, refuse_overwrite, with_lower_s
from sharekit.storage import files

FIELD = "external_key"
EXTRA = "token"
ENTRY_POINTS = "sharekit.signers"
"""Group of entry points in which packages name their key services."""

Pin = Callable[[], bytes]
"""Asks for the PIN or password of a key when it is needed."""


class KeyService(Protocol):
    """A key in a service that the library does not know.

    The entry point in the group `sharekit.signers` has the name of the address's scheme, such as `mykms` for
    `mykms:some/key`. It is called with the address, the public key and a function that asks for the PIN, and
    returns an object with this method.
    """

    def sign(self, message: bytes) -> bytes:
        """Sign the SHA-256 of `message` with ECDSA on P-256, in ASN.1 DER.

        Sharekit takes the equivalent signature with the lower s, and checks it with the public key.
        """


class ExternalKey:
    """A key in a token or key service. It is a `Signer`; each signature asks for the PIN again."""

    def __init__(self, address: str, public: PublicKey, pin: Pin) -> None:
        self.address = address
        self._public = public
        self._pin = pin

    @property
    def public(self) -> PublicKey:
        return self._public

    def sign(self, message: bytes) -> bytes:
        """As `Signer.sign`.

        Raises:
            InputError: the token or service did not sign, or signed with another key.
            DependencyError: a package that the address needs is not installed.
        """
        with _Faults(self.address):
            service = _service(self.address)
            if service is None:
                signature = self._sign_with_library(message)
            else:
                signature = service(self.address, self._public, self._pin).sign(message)
            signature = with_lower_s(signature)
        if not self._public.verify(signature, message):
            raise _refusal(self.address, "a signature by the key of the .pub file", "one by another key")
        return signature

    def _sign_with_library(self, message: bytes) -> bytes:
        from cryptography.hazmat.primitives.serialization import load_der_public_key
        from securesystemslib.signer import Signer as LibrarySigner
        from securesystemslib.signer import SSlibKey

        key = SSlibKey.from_crypto(load_der_public_key(self._public.der))
        signer = LibrarySigner.from_priv_key_uri(self.address, key, lambda _: self._pin().decode())
        return bytes.fromhex(signer.sign(message).signature)


def _service(address: str) -> Callable[[str, PublicKey, Pin], KeyService] | None:
    """What makes the `KeyService` of an address, if an installed package offers one for its scheme."""
    for point in entry_points(group=ENTRY_POINTS, name=address.partition(":")[0]):
        made: Callable[[str, PublicKey, Pin], KeyService] = point.load()
        return made
    return None


def import_token_key(prefix: Path, number: int, token: str | None, pin: Pin) -> ExternalKey:
    """Write PREFIX.key and PREFIX.pub for a P-256 key that a PKCS#11 token already holds.

    The variable `PYKCS11LIB` names the token's PKCS#11 library.

    Args:
        number: the key's identifier on the token.
        token: label of the token; None takes the only one.

    Raises:
        InputError: a file exists already, or the token has no such key.
        DependencyError: python-pkcs11 is not installed.
    """
    private, public = (prefix.with_name(f"{prefix.name}.{ending}") for ending in ("key", "pub"))
    for path in (private, public):
        refuse_overwrite(path)
    with _Faults(f"hsm:{number}"):
        from securesystemslib.signer import HSMSigner

        address, found = HSMSigner.import_(number, token, lambda _: pin().decode())
    key = ExternalKey(address, PublicKey.from_pem(found.keyval["public"].encode(), address), pin)
    private.parent.mkdir(parents=True, exist_ok=True)
    files.write_bytes(private, files.dump_json({FIELD: address}), mode=0o600)
    key.public.save(public)
    return key


def load_signer(path: Path, password: bytes | None = None, ask: Pin | None = None) -> Signer:
    """Read a private key file: a key in PEM, or the address of an external one.

    Args:
        path: NAME.key; an external key's public half is read from NAME.pub.
        password: decrypts the key, or is the PIN.
        ask: asks for the PIN of an external key if `password` is None.

    Raises:
        InputError: as `SigningKey.load`, or the address is malformed.
    """
    data = files.read_bytes(path, max_bytes=MAX_KEY_BYTES)
    if not data.lstrip().startswith(b"{"):
        return SigningKey.load(path, password)
    value = _parsed(data)
    if not isinstance(value, dict) or set(value) != {FIELD} or not isinstance(value[FIELD], str):
        raise _refusal(path, f'an object like {{"{FIELD}": "hsm:2?label=release"}}', "something else")
    return ExternalKey(
        value[FIELD], PublicKey.load(path.with_suffix(".pub")), lambda: _pin_of(path, password, ask)
    )


def _pin_of(path: Path, password: bytes | None, ask: Pin | None) -> bytes:
    if password is not None:
        return password
    if ask is None:
        raise InputError(
            path,
            expected="the PIN of this external key",
            found="none",
            next_step="give --ask-password, --password-file FILE or --password-env VARIABLE",
        )
    return ask()


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return None


class _Faults:
    """Turns the errors of the library and of a token into ours."""

    def __init__(self, address: str) -> None:
        self.address = address

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if error is None or isinstance(error, InputError | DependencyError):
            return
        if isinstance(error, ImportError) or type(error).__name__ == "UnsupportedLibraryError":
            raise missing_package("python-pkcs11", EXTRA) from error
        if isinstance(error, Exception):
            raise _refusal(
                self.address, "a key that signs", f"{type(error).__name__}: {error}"[:200]
            ) from error


def _refusal(item: object, expected: str, found: str) -> InputError:
    return InputError(
        item,
        expected=expected,
        found=found,
        next_step="check that the token is connected, its PIN, and that PYKCS11LIB names its library",
    )
