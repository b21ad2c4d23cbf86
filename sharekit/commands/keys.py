"""`sharekit keys`: make a key pair, and show the fingerprint that two people compare."""

from __future__ import annotations

import argparse
from pathlib import Path

from sharekit.program import password
from sharekit.program.command_line import add_output_options
from sharekit.program.output import Output

SUMMARY = "make a signing key pair, or show a public key's fingerprint"
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
    password.configure(new)
    fingerprint = actions.add_parser("fingerprint", help="print the fingerprint of a public key")
    fingerprint.add_argument("public_key", type=Path, metavar="PUB", help="public key, PEM")
    for action in (new, fingerprint):
        add_output_options(action, nested=True)


def run(args: argparse.Namespace, output: Output) -> None:
    if args.action == "new":
        _new(args, output)
    else:
        _fingerprint(args.public_key, output)


def _new(args: argparse.Namespace, output: Output) -> None:
    from sharekit.signing import keys

    prefix = args.out / DEFAULT_NAME if args.out.is_dir() else args.out
    private, public = (prefix.with_name(f"{prefix.name}.{ending}") for ending in ("key", "pub"))
    for path in (private, public):
        keys.refuse_overwrite(path)
    secret = password.from_args(args, confirm=True)
    prefix.parent.mkdir(parents=True, exist_ok=True)
    key = keys.generate()
    key.save(private, secret)
    key.public.save(public)
    output.result(
        {
            "private_key": str(private),
            "public_key": str(public),
            "fingerprint": key.public.fingerprint,
            "encrypted": secret is not None,
        },
        _line("private key", f"{private}  (keep it; mode 0600{'' if secret else ', not encrypted'})"),
        _line("public key", f"{public}  (give it to consumers)"),
        _line("fingerprint", key.public.fingerprint),
        "Let consumers confirm the fingerprint by another way than the key took: by telephone, on paper.",
    )


def _fingerprint(path: Path, output: Output) -> None:
    from sharekit.signing.keys import PublicKey

    fingerprint = PublicKey.load(path).fingerprint
    output.result({"public_key": str(path), "fingerprint": fingerprint}, fingerprint)


def _line(label: str, value: str) -> str:
    return f"{label:<13}{value}"
