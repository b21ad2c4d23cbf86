"""Signed envelopes: DSSE v1 (https://github.com/secure-systems-lab/dsse) around in-toto Statements v1."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from sharekit.errors import VerificationError
from sharekit.signing.keys import PublicKey, Signer
from sharekit.storage import files
from sharekit.storage.budget import Budget

IN_TOTO_PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
_SHA256_DIGITS = 64


@dataclass(frozen=True)
class Subject:
    """The subject of a statement: a file with its path and SHA-256 (lower-case hexadecimal)."""

    name: str
    sha256: str


@dataclass(frozen=True)
class Statement:
    """An in-toto Statement v1. Law: `from_json(to_json(x)) == x`.

    Source: https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md
    """

    subjects: tuple[Subject, ...]
    predicate_type: str
    predicate: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        return {
            "_type": STATEMENT_TYPE,
            "subject": [
                {"name": subject.name, "digest": {"sha256": subject.sha256}} for subject in self.subjects
            ],
            "predicateType": self.predicate_type,
            "predicate": dict(self.predicate),
        }

    @staticmethod
    def from_json(value: Any, item: object = "in-toto statement") -> Statement:
        """Read a statement that has exactly the fields above.

        Raises:
            VerificationError: naming `item`.
        """
        require_keys(value, {"_type", "subject", "predicateType", "predicate"}, item)
        if value["_type"] != STATEMENT_TYPE:
            raise refusal(item, f"_type {STATEMENT_TYPE}", f"{value['_type']!r:.100}")
        if not isinstance(value["predicateType"], str) or not isinstance(value["predicate"], dict):
            raise refusal(item, "a predicateType string and a predicate object", "something else")
        if not isinstance(value["subject"], list) or not value["subject"]:
            raise refusal(item, "a list of at least one subject", "none")
        subjects = tuple(_subject(subject, item) for subject in value["subject"])
        return Statement(subjects, value["predicateType"], value["predicate"])

    def to_bytes(self) -> bytes:
        """The payload that is signed."""
        return files.dump_json(self.to_json())

    @staticmethod
    def from_bytes(data: bytes, item: object = "in-toto statement") -> Statement:
        """`from_json` of a payload.

        Raises:
            VerificationError: naming `item`.
        """
        return Statement.from_json(files.parse_json(data, item), item)


@dataclass(frozen=True)
class Envelope:
    """A DSSE envelope with exactly one signature. Law: `from_json(to_json(x)) == x`."""

    payload: bytes
    payload_type: str
    signature: bytes

    def to_json(self) -> dict[str, Any]:
        return {
            "payload": base64.b64encode(self.payload).decode(),
            "payloadType": self.payload_type,
            "signatures": [{"keyid": "", "sig": base64.b64encode(self.signature).decode()}],
        }

    @staticmethod
    def from_json(value: Any, item: object = "DSSE envelope") -> Envelope:
        """Read an envelope with one signature, canonical base64 and no other field; `keyid` is ignored.

        Raises:
            VerificationError: naming `item`.
        """
        require_keys(value, {"payload", "payloadType", "signatures"}, item)
        signatures = value["signatures"]
        if not isinstance(signatures, list) or len(signatures) != 1:
            count = len(signatures) if isinstance(signatures, list) else "no list of"
            raise refusal(item, "exactly one signature", f"{count} signatures")
        require_keys(signatures[0], {"sig"}, item, optional={"keyid"})
        if not isinstance(value["payloadType"], str):
            raise refusal(item, "a payloadType string", type(value["payloadType"]).__name__)
        return Envelope(
            _base64(value["payload"], "payload", item),
            value["payloadType"],
            _base64(signatures[0]["sig"], "sig", item),
        )

    def to_bytes(self) -> bytes:
        """The envelope as a file."""
        return files.dump_json(self.to_json())

    @staticmethod
    def from_bytes(
        data: bytes, item: object = "DSSE envelope", budget: Budget = files.JSON_BUDGET
    ) -> Envelope:
        """`from_json` of a file.

        Raises:
            VerificationError: naming `item`.
        """
        return Envelope.from_json(files.parse_json(data, item, budget), item)


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE v1's pre-authentication encoding, the bytes that are signed."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign(payload: bytes, payload_type: str, key: Signer) -> Envelope:
    """Sign `payload` with `key` and put both into an envelope."""
    return Envelope(payload, payload_type, key.sign(pae(payload_type, payload)))


def verify(
    envelope: Envelope,
    keys: Sequence[PublicKey],
    *,
    payload_type: str = IN_TOTO_PAYLOAD_TYPE,
    item: object = "DSSE envelope",
) -> bytes:
    """Check that one of the `keys` signed an envelope, and return its payload.

    Raises:
        VerificationError: the payload type differs, or none of the keys made the signature.
    """
    return verify_with_signer(envelope, keys, payload_type=payload_type, item=item)[0]


def verify_with_signer(
    envelope: Envelope,
    keys: Sequence[PublicKey],
    *,
    payload_type: str = IN_TOTO_PAYLOAD_TYPE,
    item: object = "DSSE envelope",
) -> tuple[bytes, PublicKey]:
    """Like `verify`, but return the key that signed too."""
    if envelope.payload_type != payload_type:
        raise refusal(item, f"payload type {payload_type}", f"{envelope.payload_type!r:.100}")
    message = pae(envelope.payload_type, envelope.payload)
    for key in keys:
        if key.verify(envelope.signature, message):
            return envelope.payload, key
    pinned = ", ".join(key.fingerprint for key in keys) or "no key"
    raise VerificationError(
        item,
        expected=f"a signature by a pinned key ({pinned})",
        found="a signature by another key or over other content",
        next_step="do not use it; confirm the key's fingerprint with the hospital by another way",
    )


def sign_statement(statement: Statement, key: Signer) -> Envelope:
    """Sign an in-toto statement and put it into an envelope."""
    return sign(statement.to_bytes(), IN_TOTO_PAYLOAD_TYPE, key)


def verify_statement(
    envelope: Envelope, keys: Sequence[PublicKey], *, item: object = "DSSE envelope"
) -> Statement:
    """Check that one of the `keys` signed an envelope, and return its statement.

    Raises:
        VerificationError: as `verify`, or the payload is not an in-toto statement.
    """
    return Statement.from_bytes(verify(envelope, keys, item=item), item)


def require_keys(value: Any, required: Set[str], item: object, *, optional: Set[str] = frozenset()) -> None:
    """Refuse a value unless it is an object with exactly these keys.

    Raises:
        VerificationError: naming `item`.
    """
    if not isinstance(value, dict):
        raise refusal(item, f"an object with {', '.join(sorted(required))}", type(value).__name__)
    missing, unknown = required - value.keys(), value.keys() - required - optional
    if missing or unknown:
        found = [f"no {key}" for key in sorted(missing)] + [f"{key!r:.60}" for key in sorted(unknown)]
        raise refusal(item, f"exactly the fields {', '.join(sorted(required))}", ", ".join(found)[:200])


def refusal(item: object, expected: str, found: str) -> VerificationError:
    """The error for a malformed signed file."""
    return VerificationError(
        item, expected=expected, found=found, next_step="do not use it; fetch it again from its source"
    )


def _subject(value: Any, item: object) -> Subject:
    require_keys(value, {"name", "digest"}, item)
    require_keys(value["digest"], {"sha256"}, item)
    digest = value["digest"]["sha256"]
    if not isinstance(value["name"], str) or not value["name"]:
        raise refusal(item, "a subject with a name", "none")
    if not is_sha256(digest):
        raise refusal(item, "a SHA-256 in lower-case hexadecimal", f"{digest!r:.100}")
    return Subject(value["name"], digest)


def is_sha256(value: Any) -> bool:
    """Whether `value` is a SHA-256 digest in lower-case hexadecimal."""
    return (
        isinstance(value, str) and len(value) == _SHA256_DIGITS and not set(value) - set("0123456789abcdef")
    )


def _base64(value: Any, field: str, item: object) -> bytes:
    try:
        data = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise refusal(item, f"{field} in standard base64", "something else") from None
    # Unused bits and whitespace would allow several encodings of one signature.
    if not data or base64.b64encode(data).decode() != value:
        raise refusal(item, f"{field} in canonical base64", "another encoding of it")
    return data
