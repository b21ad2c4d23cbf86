"""Keys that sign and verify: ECDSA on NIST P-256 with SHA-256, stored as PEM."""

from __future__ import annotations

import hashlib
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from sharekit.errors import InputError
from sharekit.storage import files

MAX_KEY_BYTES = 64 * 2**10
_ALGORITHM = ec.ECDSA(hashes.SHA256())
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Order of P-256's group (NIST SP 800-186, section 3.2.1.3)."""


@dataclass(frozen=True)
class PublicKey:
    """A P-256 public key. Two keys are equal if their points are equal."""

    der: bytes
    """SubjectPublicKeyInfo in DER (RFC 5480), the point uncompressed."""

    @staticmethod
    def from_pem(data: bytes, item: object = "public key") -> PublicKey:
        """Read a SubjectPublicKeyInfo PEM.

        Raises:
            InputError: the data is not PEM, is a private key, or is not a key on P-256.
        """
        if b"PRIVATE KEY" in data:
            raise InputError(
                item,
                expected="a public key (PEM)",
                found="a private key",
                next_step="name the .pub file next to it, and never give the private key away",
            )
        try:
            if len(data) > MAX_KEY_BYTES:
                raise ValueError("too long for a key")
            key = serialization.load_pem_public_key(data)
        except (ValueError, UnsupportedAlgorithm):
            raise _not_a_key(item, "a public key (PEM, SubjectPublicKeyInfo)") from None
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise _wrong_kind(item, key)
        encoding, form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        return PublicKey(key.public_bytes(encoding, form))

    @staticmethod
    def load(path: Path) -> PublicKey:
        """Read a public key file.

        Raises:
            InputError: as `from_pem`, or the file can't be read.
        """
        return PublicKey.from_pem(files.read_bytes(path, max_bytes=MAX_KEY_BYTES), path)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the DER SubjectPublicKeyInfo, 64 lower-case hexadecimal digits."""
        return hashlib.sha256(self.der).hexdigest()

    def pem(self) -> bytes:
        return self._key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def verify(self, signature: bytes, message: bytes) -> bool:
        """Whether `signature` (ASN.1 DER, as in X9.62) over `message` is by this key."""
        try:
            self._key().verify(signature, message, _ALGORITHM)
        except InvalidSignature:
            return False
        return True

    def save(self, path: Path) -> None:
        """Write the PEM file.

        Raises:
            InputError: `path` exists already.
        """
        refuse_overwrite(path)
        files.write_bytes(path, self.pem())

    def _key(self) -> ec.EllipticCurvePublicKey:
        key = serialization.load_der_public_key(self.der)
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise TypeError(f"not an elliptic curve key: {type(key).__name__}")
        return key


class Signer(Protocol):
    """Signs with a P-256 key that may lie in a file, on a PKCS#11 token or in a cloud's key service.

    Implement these two members to keep keys elsewhere; see docs/adr/0037-trust-store-and-keys.md.
    """

    @property
    def public(self) -> PublicKey:
        """The public half."""

    def sign(self, message: bytes) -> bytes:
        """Sign the SHA-256 of `message` with ECDSA: ASN.1 DER, with the lower s (`with_lower_s`)."""


class SigningKey:
    """A P-256 private key in memory; `generate` and `load` make one. It is a `Signer`."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key

    @property
    def public(self) -> PublicKey:
        encoding, form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        return PublicKey(self._key.public_key().public_bytes(encoding, form))

    def sign(self, message: bytes) -> bytes:
        """Sign the SHA-256 of `message` with ECDSA; the result is ASN.1 DER and differs at every call.

        If (r, s) is a valid signature, so is (r, order - s); this returns the one with lower s, see ADR 25.
        """
        return with_lower_s(self._key.sign(message, _ALGORITHM))

    def save(self, path: Path, password: bytes | None = None) -> None:
        """Write the key as PKCS #8 PEM with mode 0600, encrypted if a password is given.

        Raises:
            InputError: `path` exists already.
        """
        refuse_overwrite(path)
        encryption = (
            serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        )
        pem = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
        )
        files.write_bytes(path, pem, mode=0o600)

    @staticmethod
    def load(path: Path, password: bytes | None = None) -> SigningKey:
        """Read a private key file that only its owner can read.

        Raises:
            InputError: the file is missing, readable by others, not PEM, a public key, or not on P-256, or
                the password is wrong or missing.
        """
        return _parse_private(read_private(path, "a private key", "a new key"), password, path)


@dataclass(frozen=True)
class KeyFiles:
    """The files of a new key pair."""

    private: Path  # PKCS #8 PEM, mode 0600
    public: Path  # PEM
    fingerprint: str
    encrypted: bool

    def to_json(self) -> dict[str, str | bool]:
        return {
            "private_key": str(self.private),
            "public_key": str(self.public),
            "fingerprint": self.fingerprint,
            "encrypted": self.encrypted,
        }


def paths_of_pair(prefix: Path) -> tuple[Path, Path]:
    """The paths of the private and the public key: PREFIX.key and PREFIX.pub.

    Raises:
        InputError: one of the files exists already.
    """
    private, public = (prefix.with_name(f"{prefix.name}.{ending}") for ending in ("key", "pub"))
    for path in (private, public):
        refuse_overwrite(path)
    return private, public


def write_pair(prefix: Path, password: bytes | None = None) -> KeyFiles:
    """Make a new key pair and write it as PREFIX.key and PREFIX.pub.

    Args:
        prefix: the beginning of both paths; its folder is created if missing.
        password: encrypts the private key; None leaves it unencrypted.

    Raises:
        InputError: one of the files exists already.
    """
    private, public = paths_of_pair(prefix)
    private.parent.mkdir(parents=True, exist_ok=True)
    key = generate()
    key.save(private, password)
    key.public.save(public)
    return KeyFiles(private, public, key.public.fingerprint, password is not None)


@dataclass(frozen=True)
class NamedFingerprint:
    """A public key's file and its fingerprint."""

    path: Path
    fingerprint: str

    def to_json(self) -> dict[str, str]:
        return {"public_key": str(self.path), "fingerprint": self.fingerprint}


def read_fingerprint(path: Path) -> NamedFingerprint:
    """Read a public key file and compute its fingerprint.

    Raises:
        InputError: as `PublicKey.load`.
    """
    return NamedFingerprint(path, PublicKey.load(path).fingerprint)


def with_lower_s(signature: bytes) -> bytes:
    """The one of the two equivalent signatures (r, s) and (r, order - s) that has the lower s, in DER."""
    r, s = decode_dss_signature(signature)
    return encode_dss_signature(r, min(s, ORDER - s))


def is_encrypted(path: Path) -> bool:
    """Whether a private key file needs a password.

    Raises:
        InputError: the file cannot be read.
    """
    return b"ENCRYPTED" in files.read_bytes(path, max_bytes=MAX_KEY_BYTES)


def generate() -> SigningKey:
    """Make a new key with the operating system's random generator."""
    return SigningKey(ec.generate_private_key(ec.SECP256R1()))


def read_private(path: Path, what: str, fresh: str) -> bytes:
    """Read a private file of at most `MAX_KEY_BYTES` that only its owner can read.

    Args:
        path: the file.
        what: what it is, for the error, such as "a private key".
        fresh: what to make if others may have read it, such as "a new key".

    Raises:
        InputError: the file is missing, too long, or readable by others.
    """
    data = files.read_bytes(path, max_bytes=MAX_KEY_BYTES)
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise InputError(
            path,
            expected=f"{what} that only its owner can read (mode 0600)",
            found=f"mode {mode:04o}",
            next_step=f"chmod 600 {path}; if others may have read it, make {fresh}",
        )
    return data


def refuse_overwrite(path: Path) -> None:
    """Refuse a path that already exists.

    Raises:
        InputError: naming it.
    """
    if path.exists() or path.is_symlink():
        raise InputError(
            path,
            expected="a path that does not exist yet",
            found="something there",
            next_step="choose another path: a key is never overwritten",
        )


def _parse_private(data: bytes, password: bytes | None, path: Path) -> SigningKey:
    if b"PUBLIC KEY" in data:
        raise InputError(
            path,
            expected="a private key (PEM, PKCS #8)",
            found="a public key",
            next_step="name the .key file that belongs to it",
        )
    encrypted = b"ENCRYPTED" in data
    if encrypted and not password:
        raise InputError(
            path,
            expected="a password for this encrypted private key",
            found="none",
            next_step="give --ask-password, --password-file FILE or --password-env VARIABLE",
        )
    try:
        key = serialization.load_pem_private_key(data, password if encrypted else None)
    except (ValueError, UnsupportedAlgorithm):
        expected = "the right password" if encrypted else "a private key (PEM, PKCS #8)"
        raise _not_a_key(path, expected) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise _wrong_kind(path, key)
    return SigningKey(key)


def _not_a_key(item: object, expected: str) -> InputError:
    return InputError(
        item,
        expected=expected,
        found="something that does not decode as one",
        next_step="make a key with `sharekit keys new`, or fetch the file again",
    )


def _wrong_kind(item: object, key: object) -> InputError:
    curve = getattr(key, "curve", None)
    return InputError(
        item,
        expected="an elliptic curve key on P-256 (secp256r1)",
        found=f"curve {curve.name}" if curve is not None else type(key).__name__.lstrip("_"),
        next_step="make a key with `sharekit keys new`",
    )
