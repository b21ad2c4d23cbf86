"""A hospital's old key signs its new one, so that consumers need no second telephone call.

The hand-over is an in-toto statement in a DSSE envelope. Its subject is the new public key's file; its
predicate says from when the new key counts and until when the old one does.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sharekit.errors import InputError
from sharekit.signing import dsse
from sharekit.signing.keys import PublicKey, Signer
from sharekit.storage import files, schema
from sharekit.trust.trust_store import TrustedHospital, TrustedKey, parse_time

PREDICATE_TYPE = "urn:sharekit:handover:v1"
_TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True)
class Handover:
    """What the old key says of the new one. Law: `from_statement(to_statement(x)) == x`."""

    hospital: str
    public: PublicKey
    """The new key."""
    valid_from: datetime
    valid_until: datetime
    old_until: datetime
    """End of the old key, and of the overlap."""

    def to_statement(self) -> dsse.Statement:
        pem = self.public.pem()
        subject = dsse.Subject("new.pub", hashlib.sha256(pem).hexdigest())
        predicate = {
            "hospital": self.hospital,
            "public_key": pem.decode(),
            "valid_from": self.valid_from.strftime(_TIME),
            "valid_until": self.valid_until.strftime(_TIME),
            "old_until": self.old_until.strftime(_TIME),
        }
        return dsse.Statement((subject,), PREDICATE_TYPE, predicate)

    @staticmethod
    def from_statement(statement: dsse.Statement, item: object = "hand-over") -> Handover:
        """Read a statement.

        Raises:
            VerificationError: it is no hand-over, or is about another key than it says.
        """
        value: Mapping[str, Any] = statement.predicate
        schema.validate("handover", {"predicate_type": statement.predicate_type, **value}, item)
        pem = value["public_key"].encode()
        if [subject.sha256 for subject in statement.subjects] != [hashlib.sha256(pem).hexdigest()]:
            raise dsse.refusal(item, "the new key as the only subject", "another")
        return Handover(
            value["hospital"],
            PublicKey.from_pem(pem, item),
            parse_time(value["valid_from"]),
            parse_time(value["valid_until"]),
            parse_time(value["old_until"]),
        )


def sign_handover(handover: Handover, old: Signer) -> bytes:
    """The file that a hospital publishes with its new key."""
    return dsse.sign_statement(handover.to_statement(), old).to_bytes()


def accept_handover(hospital: TrustedHospital, new: PublicKey, path: Path, now: datetime) -> TrustedHospital:
    """The hospital with its new key, once a key that counts now has signed it over.

    Raises:
        VerificationError: no key that counts signed the hand-over, or it is malformed.
        InputError: it is about another hospital or key.
    """
    envelope = dsse.Envelope.from_bytes(files.read_bytes(path, max_bytes=files.MAX_JSON_BYTES), path)
    payload, old = dsse.verify_with_signer(envelope, hospital.counting(now), item=path)
    handover = Handover.from_statement(dsse.Statement.from_bytes(payload, path), path)
    found = (handover.hospital, handover.public.fingerprint)
    if found != (hospital.name, new.fingerprint):
        raise InputError(
            path,
            expected=f"a hand-over of {hospital.name} to {new.fingerprint}",
            found=f"one of {found[0]} to {found[1]}",
            next_step="ask the hospital for the hand-over that belongs to this key",
        )
    before = next(key for key in hospital.keys if key.public == old)
    confirmed = f"handed over by {old.fingerprint}"
    # A hand-over may shorten the old key's time, never lengthen it.
    ended = dataclasses.replace(before, valid_until=min(before.valid_until, handover.old_until))
    return hospital.with_key(ended).with_key(
        TrustedKey(new, handover.valid_from, handover.valid_until, confirmed)
    )
