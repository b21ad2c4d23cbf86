"""`sharekit repository`: the steward's work on a repository, a static folder for any web server."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from sharekit.errors import PartialFailureError
from sharekit.program import password, shared_options
from sharekit.program.arguments import Parser, whole_number
from sharekit.program.command_line import add_output_options
from sharekit.program.output import Output, warning_text

if TYPE_CHECKING:
    from sharekit.repository.metadata_folder import Staged
    from sharekit.signing.keys import PublicKey, Signer

SUMMARY = "make and keep a repository of releases: hospitals, snapshots, withdrawals, its page"


def configure(parser: Parser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    init = actions.add_parser("init", help="make a repository with two of three offline root keys")
    add = actions.add_parser("add-hospital", help="admit a hospital, or replace its people's keys")
    refresh = actions.add_parser(
        "refresh", help="take in what hospitals signed; write snapshot and timestamp"
    )
    withdraw = actions.add_parser("withdraw", help="withdraw a release in its hospital's stead")
    rotate = actions.add_parser("rotate", help="replace root keys or the online key")
    sign = actions.add_parser("sign", help="add root signatures to changes that wait for them")
    renew = actions.add_parser("renew", help="sign the hospitals' list again: yearly, or after `rotate`")
    page = actions.add_parser("page", help="write index.html: what is offered, and how to verify it")
    every = (init, add, refresh, withdraw, rotate, sign, renew, page)
    for action in every:
        action.add_argument("folder", type=Path, metavar="DIR", help="the repository's folder")
    for action in (add, withdraw):
        action.add_argument("hospital", metavar="HOSPITAL", help="short name, such as st-olav")
    for action in (init, rotate):
        action.add_argument(
            "--root-key",
            type=Path,
            action="append",
            required=action is init,
            default=None if action is init else [],
            metavar="KEY",
            help="offline key: private of those who sign now, .pub of the others; repeat it, three in all",
        )
        action.add_argument(
            "--online-key",
            type=Path,
            required=action is init,
            metavar="KEY",
            help="private key of snapshot and timestamp",
        )
    for action in (add, withdraw, rotate, sign, renew):
        shared_options.signers(action, "the holders of root keys", required=True)
    shared_options.private_key(refresh, "the online")
    add.add_argument("--name", required=True, metavar="NAME", help="the hospital's name, as in its bundles")
    add.add_argument(
        "--hospital-key",
        type=Path,
        action="append",
        required=True,
        metavar="PUB",
        help="public key of a person who signs for the hospital; repeat it, at least two",
    )
    refresh.add_argument(
        "--from",
        dest="source",
        type=Path,
        metavar="DIR",
        help="medium from a hospital, with its signed metadata (left out: what lies in the repository)",
    )
    refresh.add_argument(
        "--days",
        type=whole_number(1),
        default=1,
        metavar="N",
        help="days until clients refuse the repository, unless it is refreshed again",
    )
    withdraw.add_argument("release", type=whole_number(1), metavar="RELEASE", help="number of the release")
    withdraw.add_argument("--reason", required=True, metavar="TEXT", help="reason that every consumer reads")
    page.add_argument(
        "--public-address", metavar="URL", help="the repository's address, for the commands on the page"
    )
    for action in every:
        if action is not page:
            password.configure(action)
        add_output_options(action, nested=True)


def run(args: argparse.Namespace, output: Output) -> int:
    if args.action == "init":
        _init(args, output)
    elif args.action == "refresh":
        return _refresh(args, output)
    elif args.action == "page":
        _page(args, output)
    else:
        found = _changed(args)
        output.result(
            {"metadata": [one.to_json() for one in found]},
            *(one.in_words() for one in found),
            *(["next: sharekit repository refresh"] if all(one.complete for one in found) else []),
        )
    return 0


def _init(args: argparse.Namespace, output: Output) -> None:
    from sharekit.repository.steward import init
    from sharekit.trust.key_choice import private_keys

    publics, signers = _halves(args)
    made = init(args.folder, publics, signers, private_keys([args.online_key], args)[0])
    output.result(
        made.to_json(),
        f"repository        {made.folder}",
        f"root fingerprint  {made.root_fingerprint}",
        "Let consumers confirm the fingerprint by another way than the repository: they give it with --root.",
    )


def _refresh(args: argparse.Namespace, output: Output) -> int:
    from sharekit.repository.steward import refresh
    from sharekit.trust.key_choice import private_key

    done = refresh(args.folder, private_key(args), source=args.source, days=args.days)
    versions = ", ".join(f"{name} {version}" for name, version in done.versions.items())
    output.result(
        done.to_json(),
        f"snapshot {done.snapshot}: {versions}",
        f"timestamp {done.timestamp}: clients accept it until {done.expires:%Y-%m-%d %H:%M} UTC",
        *(warning_text(f"left out: {name}: {why}") for name, why in done.refused.items()),
    )
    return PartialFailureError.exit_code if done.refused else 0


def _changed(args: argparse.Namespace) -> list[Staged]:
    from sharekit.repository import steward
    from sharekit.signing.keys import PublicKey
    from sharekit.trust.key_choice import private_keys

    keys = private_keys(args.key, args)
    if args.action == "sign":
        return steward.sign(args.folder, keys)
    if args.action == "renew":
        return steward.renew_targets(args.folder, keys)
    if args.action == "withdraw":
        return [steward.withdraw(args.folder, args.hospital, args.release, args.reason, keys)]
    if args.action == "rotate":
        publics, signers = _halves(args)
        online = private_keys([args.online_key], args)[0].public if args.online_key else None
        return [steward.rotate(args.folder, publics, online, [*keys, *signers])]
    people = [PublicKey.load(path) for path in args.hospital_key]
    return [steward.add_hospital(args.folder, args.hospital, args.name, people, keys)]


def _halves(args: argparse.Namespace) -> tuple[list[PublicKey], list[Signer]]:
    """The root keys of the command line, and those of them that are private and sign."""
    from sharekit.signing.keys import PublicKey
    from sharekit.trust.key_choice import private_keys

    signers = private_keys([path for path in args.root_key if path.suffix != ".pub"], args)
    publics = [PublicKey.load(path) for path in args.root_key if path.suffix == ".pub"]
    return [*(signer.public for signer in signers), *publics], signers


def _page(args: argparse.Namespace, output: Output) -> None:
    from sharekit.repository.repository_page import write_page

    path = write_page(args.folder, args.public_address)
    output.result({"page": str(path)}, f"page: {path}")
