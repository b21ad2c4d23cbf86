"""Envelopes: one form, one signature, over exactly the payload and its type."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharekit.errors import VerificationError
from sharekit.signing import dsse, keys
from sharekit.signing.dsse import Envelope, Statement, Subject

KEY, OTHER = keys.generate(), keys.generate()
TYPE = dsse.IN_TOTO_PAYLOAD_TYPE
STATEMENT = Statement((Subject("a", "0" * 64), Subject("b", "1" * 64)), "urn:test", {"x": [1, None]})


def test_pre_authentication_encoding_is_that_of_the_specification() -> None:
    # The example of the DSSE v1 protocol document.
    expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert dsse.pae("http://example.com/HelloWorld", b"hello world") == expected


@given(st.binary(min_size=1, max_size=200))
def test_signed_payload_is_verified(payload: bytes) -> None:
    envelope = dsse.sign(payload, TYPE, KEY)
    assert dsse.verify(envelope, [OTHER.public, KEY.public]) == payload
    assert dsse.verify_with_signer(envelope, [OTHER.public, KEY.public])[1] == KEY.public


@given(st.binary(min_size=1), st.text(max_size=40), st.binary(min_size=1))
def test_envelope_round_trips(payload: bytes, payload_type: str, signature: bytes) -> None:
    envelope = Envelope(payload, payload_type, signature)
    assert Envelope.from_json(envelope.to_json()) == envelope
    assert Envelope.from_bytes(envelope.to_bytes()) == envelope


def test_statement_round_trips_also_through_an_envelope() -> None:
    assert Statement.from_json(STATEMENT.to_json()) == STATEMENT
    assert Statement.from_bytes(STATEMENT.to_bytes()) == STATEMENT
    assert dsse.verify_statement(dsse.sign_statement(STATEMENT, KEY), [KEY.public]) == STATEMENT


@pytest.mark.parametrize("pinned", [[], [OTHER.public]], ids=["no key", "another key"])
def test_signature_by_no_pinned_key_is_refused(pinned: list[keys.PublicKey]) -> None:
    with pytest.raises(VerificationError, match="another key"):
        dsse.verify(dsse.sign(b"x", TYPE, KEY), pinned)


def test_signature_over_another_payload_is_refused() -> None:
    envelope = dataclasses.replace(dsse.sign(b"x", TYPE, KEY), payload=b"y")
    with pytest.raises(VerificationError):
        dsse.verify(envelope, [KEY.public])


def test_payload_type_is_signed_too() -> None:
    envelope = dsse.sign(b"x", "application/other", KEY)
    with pytest.raises(VerificationError, match="payload type"):
        dsse.verify(envelope, [KEY.public])
    with pytest.raises(VerificationError, match="other content"):
        dsse.verify(dataclasses.replace(envelope, payload_type=TYPE), [KEY.public])


def _change(field: str, value: Any) -> Any:
    envelope = dsse.sign(b"\xfb\xff\xfeab", TYPE, KEY).to_json()  # "+//+YWI=" in base64
    if field == "sig":
        envelope["signatures"][0]["sig"] = value(envelope["signatures"][0]["sig"])
    else:
        envelope[field] = value(envelope[field])
    return envelope


@pytest.mark.parametrize(
    "envelope",
    [
        pytest.param(_change("signatures", lambda found: []), id="zero signatures"),
        pytest.param(_change("signatures", lambda found: found * 2), id="two signatures"),
        pytest.param(_change("signatures", lambda found: found[0]), id="signatures no list"),
        pytest.param(_change("signatures", lambda found: [found[0] | {"cert": ""}]), id="extra field"),
        pytest.param(_change("payload", lambda found: found + "\n"), id="newline after base64"),
        pytest.param(_change("payload", lambda found: found.rstrip("=")), id="no padding"),
        pytest.param(_change("payload", lambda found: found[:-2] + "J="), id="unused bits set"),
        pytest.param(
            _change("payload", lambda found: found.replace("+", "-").replace("/", "_")), id="other alphabet"
        ),
        pytest.param(_change("payload", lambda found: 5), id="payload no string"),
        pytest.param(_change("sig", lambda found: ""), id="empty signature"),
        pytest.param(_change("payloadType", lambda found: None), id="no payload type"),
        pytest.param([], id="no object"),
        pytest.param({}, id="empty object"),
    ],
)
def test_another_form_of_envelope_is_refused(envelope: Any) -> None:
    with pytest.raises(VerificationError):
        Envelope.from_json(envelope)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("_type", "https://in-toto.io/Statement/v0.1"),
        ("subject", []),
        ("subject", [{"name": "a", "digest": {"sha256": "0" * 63}}]),
        ("subject", [{"name": "a", "digest": {"sha256": "A" * 64}}]),
        ("subject", [{"name": "a", "digest": {"sha1": "0" * 40}}]),
        ("subject", [{"name": "", "digest": {"sha256": "0" * 64}}]),
        ("predicate", None),
        ("predicateType", 5),
        ("extra", 1),
    ],
)
def test_another_form_of_statement_is_refused(field: str, value: Any) -> None:
    with pytest.raises(VerificationError) as caught:
        Statement.from_json(STATEMENT.to_json() | {field: value}, "the file")
    assert caught.value.item == "the file"
