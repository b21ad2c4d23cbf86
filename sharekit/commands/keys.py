"""`sharekit keys`: make a key pair, or show the fingerprint that two people compare."""

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
    from sharekit.signing.keys import paths_of_pair, write_pair

    prefix = args.out / DEFAULT_NAME if args.out.is_dir() else args.out
    paths_of_pair(prefix)  # refuse existing files before the user types a password
    written = write_pair(prefix, password.from_args(args, confirm=True))
    note = "" if written.encrypted else ", not encrypted"
    output.result(
        written.to_json(),
        _line("private key", f"{written.private}  (keep it; mode 0600{note})"),
        _line("public key", f"{written.public}  (give it to consumers)"),
        _line("fingerprint", written.fingerprint),
        "Let consumers confirm the fingerprint by another way than the key took: by telephone, on paper.",
    )


def _fingerprint(path: Path, output: Output) -> None:
    from sharekit.signing.keys import read_fingerprint

    found = read_fingerprint(path)
    output.result(found.to_json(), found.fingerprint)


def _line(label: str, value: str) -> str:
    return f"{label:<13}{value}"
