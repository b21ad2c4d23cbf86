"""`sharekit trust`: which keys this user trusts for which hospital."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from sharekit.errors import UsageError
from sharekit.program.command_line import add_output_options
from sharekit.program.output import Output
from sharekit.storage import files

if TYPE_CHECKING:
    from sharekit.signing.keys import PublicKey
    from sharekit.trust.trust_store import TrustedHospital

FINGERPRINT_DIGITS = 64
MAX_FINGERPRINT_BYTES = 1024
SUMMARY = "add, list, remove and revoke the keys of hospitals that you trust"


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    add = actions.add_parser("add", help="trust a hospital's key, once its fingerprint is confirmed")
    add.add_argument(
        "--valid-until", metavar="DATE", help="last day on which the key counts, such as 2027-12-31"
    )
    add.add_argument(
        "--handover",
        type=Path,
        metavar="FILE",
        help="hand-over by a key that you trust, in place of fingerprint and date",
    )
    show = actions.add_parser("list", help="show hospitals, their keys and whether these count now")
    remove = actions.add_parser("remove", help="forget a hospital")
    revoke = actions.add_parser("revoke", help="stop trusting a key for good, such as a stolen one")
    revoke.add_argument("--reason", required=True, metavar="TEXT", help="reason that errors will show")
    for action in (add, remove, revoke):
        action.add_argument("hospital", metavar="HOSPITAL", help="short name, such as st-olav")
    add.add_argument(
        "--key", type=Path, required=True, metavar="PUB", help="the hospital's public key, a file"
    )
    for action in (add, revoke):
        action.add_argument(
            "--fingerprint",
            required=action is revoke,
            metavar="HEX|FILE",
            help="the key's fingerprint, 64 digits or a file, as the hospital gave it over another way",
        )
    for action in (add, show, remove, revoke):
        add_output_options(action, nested=True)


def run(args: argparse.Namespace, output: Output) -> None:
    from sharekit.trust.trust_store import TrustStore

    store = TrustStore()
    if args.action == "remove":
        store.remove(args.hospital)
    elif args.action == "revoke":
        found = store.require(args.hospital).changed(_digits(args.fingerprint), revoked=args.reason)
        store.save(found)
    elif args.action == "add":
        store.save(_added(args))
    hospitals = store.hospitals()
    now = datetime.now(UTC)
    output.result(
        {"hospitals": [_with_states(one, now) for one in hospitals]},
        *(line for one in hospitals for line in _lines(one, now)),
        *([] if hospitals else ["no hospital is trusted"]),
    )


def _added(args: argparse.Namespace) -> TrustedHospital:
    from sharekit.signing.keys import PublicKey
    from sharekit.trust.handover import accept_handover
    from sharekit.trust.trust_store import TrustedHospital, TrustedKey, TrustStore, end_of

    key = PublicKey.load(args.key)
    store = TrustStore()
    now = datetime.now(UTC).replace(microsecond=0)
    if args.handover is not None:
        return accept_handover(store.require(args.hospital), key, args.handover, now)
    if args.valid_until is None:
        raise UsageError(
            "--valid-until",
            expected="the last day on which the key counts",
            found="none",
            next_step="give a day such as 2027-12-31, a year ahead or two",
        )
    until = end_of(args.valid_until)
    if until <= now:
        raise UsageError(
            "--valid-until", expected="a day to come", found=args.valid_until, next_step="give a later day"
        )
    how = _confirm(key, args.fingerprint)
    hospital = store.get(args.hospital) or TrustedHospital(args.hospital)
    return hospital.with_key(TrustedKey(key, now, until, how))


def _confirm(key: PublicKey, given: str | None) -> str:
    """Compare the key's fingerprint with the one that the user has; how it was confirmed, in words.

    Raises:
        UsageError: they differ, or there is neither option nor terminal.
    """
    how = "fingerprint given"
    if given is None:
        if not sys.stdin.isatty():
            raise UsageError(
                "--fingerprint",
                expected="the fingerprint that the hospital gave you",
                found="no option, and no terminal to ask on",
                next_step="give --fingerprint HEX; not the one that came with the key",
            )
        how = "fingerprint typed"
        sys.stderr.write("Type the fingerprint that the hospital gave you over another way: ")
        sys.stderr.flush()
        given = sys.stdin.readline()
    if _digits(given) != key.fingerprint:
        raise UsageError(
            "--fingerprint",
            expected="the fingerprint of this key",
            found="another one",
            next_step="do not trust the key; ask the hospital which one is right",
        )
    return how


def _digits(text: str) -> str:
    """A fingerprint, or a file's, without the spaces and colons that people group it with."""
    digits = _compact(text)
    if len(digits) != FINGERPRINT_DIGITS and Path(text).is_file():
        return _compact(
            files.read_bytes(Path(text), max_bytes=MAX_FINGERPRINT_BYTES).decode(errors="replace")
        )
    return digits


def _compact(text: str) -> str:
    return "".join(text.split()).replace(":", "").lower()


def _with_states(hospital: TrustedHospital, now: datetime) -> dict[str, object]:
    value = hospital.to_json()
    states = [key.state(now) for key in hospital.keys]
    return {
        **value,
        "keys": [{**key, "state": state} for key, state in zip(value["keys"], states, strict=True)],
    }


def _lines(hospital: TrustedHospital, now: datetime) -> list[str]:
    return [
        hospital.name,
        *(
            f"  {key.fingerprint}  {key.state(now)}, {key.valid_from:%Y-%m-%d} to {key.valid_until:%Y-%m-%d},"
            f" {key.confirmed}"
            for key in hospital.keys
        ),
    ]
