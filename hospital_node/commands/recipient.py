"""`hospital-node recipient`: who may get releases under controlled access, under which agreement."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from sharekit.program import shared_options
from sharekit.program.command_line import add_output_options
from sharekit.program.output import Output

if TYPE_CHECKING:
    from hospital_node.release.recipients import Recipient

SUMMARY = "register recipients of releases under controlled access, or list them"


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    add = actions.add_parser("add", help="register a recipient, or change its agreement")
    add.add_argument("--name", required=True, metavar="NAME", help="the recipient's name")
    add.add_argument("--agreement", required=True, metavar="TEXT", help="the agreement, such as its number")
    add.add_argument("--date", required=True, metavar="DATE", help="day of the agreement, such as 2026-12-31")
    add.add_argument(
        "--encryption-key",
        metavar="FILE",
        help="public key for encrypted releases: a file, or age1… (left out: none)",
    )
    show = actions.add_parser("list", help="show the register")
    for action in (add, show):
        shared_options.node(action)
        add_output_options(action, nested=True)


def run(args: argparse.Namespace, output: Output) -> None:
    from hospital_node.node.node import Node
    from hospital_node.release.recipients import Recipient, add_recipient, recipients
    from sharekit.signing.encryption import read_recipient
    from sharekit.trust.trust_store import end_of

    if args.action == "add":
        end_of(args.date)  # refuses what is no day
        node = Node.open(args.node)
        key = None if args.encryption_key is None else read_recipient(args.encryption_key)
        register = add_recipient(node, Recipient(args.name, args.agreement, args.date, key))
    else:
        register = recipients(Node.open(args.node, read_only=True))
    output.result(
        {"recipients": [one.to_json() for one in register]},
        *(_line(one) for one in register),
        *([] if register else ["no recipient is registered"]),
    )


def _line(one: Recipient) -> str:
    key = "" if one.encryption_key is None else f", encryption key {one.encryption_key}"
    return f"{one.name}: {one.agreement}, {one.date}{key}"
