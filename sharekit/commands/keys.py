"""`sharekit keys`: make a key pair, show the fingerprint that two people compare, hand over to a new key."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path

from sharekit.program import password, shared_options
from sharekit.program.arguments import whole_number
from sharekit.program.command_line import add_output_options
from sharekit.program.output import Output

SUMMARY = "make a key pair or an identity for encrypted bundles, show a fingerprint, hand over to a new key"
DEFAULT_NAME = "signing"


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    new = actions.add_parser(
        "new",
        help="write NAME.key (private) and NAME.pub (public)",
    )
    new.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR|PREFIX",
        help=f"a folder, for {DEFAULT_NAME}.key and {DEFAULT_NAME}.pub, or the beginning of both paths",
    )
    new.add_argument(
        "--token",
        metavar="ID[@LABEL]",
        help="identifier of a key that a PKCS#11 token already holds, and the token's label; NAME.key gets "
        "its address",
    )
    password.configure(new, new=True)
    fingerprint = actions.add_parser("fingerprint", help="print the fingerprint of a public key")
    fingerprint.add_argument("public_key", type=Path, metavar="PUB", help="public key, PEM")
    fingerprint.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="file to hand over by another way (left out: none)",
    )
    handover = actions.add_parser("handover", help="let the old key sign the new one, for consumers")
    shared_options.private_key(handover, "the old")
    handover.add_argument("--to", type=Path, required=True, metavar="PUB", help="the new public key")
    handover.add_argument("--hospital", required=True, metavar="NAME", help="the hospital's short name")
    handover.add_argument(
        "--valid-until", required=True, metavar="DATE", help="last day on which the new key counts"
    )
    handover.add_argument(
        "--overlap-until", required=True, metavar="DATE", help="last day on which the old key counts too"
    )
    handover.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="file to publish with the key"
    )
    password.configure(handover)
    identity = actions.add_parser(
        "identity", help="write PREFIX.identity and PREFIX.recipient, for bundles encrypted for you"
    )
    identity.add_argument(
        "--out", type=Path, required=True, metavar="PREFIX", help="the beginning of both paths"
    )
    for action in (new, fingerprint, handover, identity):
        add_output_options(action, nested=True)


def run(args: argparse.Namespace, output: Output) -> None:
    if args.action == "new":
        _new(args, output)
    elif args.action == "identity":
        _identity(args.out, output)
    elif args.action == "handover":
        _handover(args, output)
    else:
        _fingerprint(args.public_key, args.out, output)


def _new(args: argparse.Namespace, output: Output) -> None:
    from sharekit.signing.keys import paths_of_pair, write_pair

    prefix = args.out / DEFAULT_NAME if args.out.is_dir() else args.out
    paths_of_pair(prefix)  # refuse existing files before the user types a password
    if args.token is not None:
        _import(args, prefix, output)
        return
    written = write_pair(prefix, password.for_new_key(args))
    note = "" if written.encrypted else ", not encrypted"
    output.result(
        written.to_json(),
        _line("private key", f"{written.private}  (keep it; mode 0600{note})"),
        _line("public key", f"{written.public}  (give it to consumers)"),
        _line("fingerprint", written.fingerprint),
        "Let consumers confirm the fingerprint by another way than the key took: by telephone, on paper.",
    )


def _import(args: argparse.Namespace, prefix: Path, output: Output) -> None:
    from sharekit.signing.external_key import import_token_key

    number, _, label = args.token.partition("@")
    given = password.from_args(args)
    key = import_token_key(
        prefix, whole_number()(number), label or None, lambda: given or password.ask("the token")
    )
    output.result(
        {"private_key": key.address, "public_key": f"{prefix}.pub", "fingerprint": key.public.fingerprint},
        _line("private key", f"{key.address}  (stays on the token; {prefix}.key holds this address)"),
        _line("public key", f"{prefix}.pub  (give it to consumers)"),
        _line("fingerprint", key.public.fingerprint),
    )


def _handover(args: argparse.Namespace, output: Output) -> None:
    from sharekit.signing.keys import PublicKey, refuse_overwrite
    from sharekit.storage import files
    from sharekit.trust.handover import Handover, sign_handover
    from sharekit.trust.key_choice import private_key
    from sharekit.trust.trust_store import checked_name, end_of

    refuse_overwrite(args.out)
    now = datetime.now(UTC).replace(microsecond=0)
    new, old = PublicKey.load(args.to), private_key(args)
    handover = Handover(
        checked_name(args.hospital), new, now, end_of(args.valid_until), end_of(args.overlap_until)
    )
    files.write_bytes(args.out, sign_handover(handover, old))
    output.result(
        {"handover": str(args.out), "from": old.public.fingerprint, "to": new.fingerprint},
        f"hand-over: {args.out}, from {old.public.fingerprint} to {new.fingerprint}",
        f"consumers: sharekit trust add {args.hospital} --key {args.to} --handover {args.out}",
    )


def _fingerprint(path: Path, out: Path | None, output: Output) -> None:
    from sharekit.signing.keys import read_fingerprint
    from sharekit.storage import files

    found = read_fingerprint(path)
    if out is not None:
        files.write_text(out, f"{found.fingerprint}\n")
    output.result(found.to_json(), found.fingerprint)


def _identity(prefix: Path, output: Output) -> None:
    from sharekit.signing.encryption import write_identity

    written = write_identity(prefix)
    output.result(
        written.to_json(),
        _line("identity", f"{written.private}  (keep it; mode 0600)"),
        _line("recipient", f"{written.public}  (give it to hospitals): {written.recipient}"),
    )


def _line(label: str, value: str) -> str:
    return f"{label:<13}{value}"
