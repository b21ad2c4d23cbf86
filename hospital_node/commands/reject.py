"""`hospital-node reject`: an approver says no to a generator, for good."""

from __future__ import annotations

import argparse

from sharekit.program import password, shared_options
from sharekit.program.output import Output

SUMMARY = "say no to a generator, signed by a listed approver: it never leaves"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("generator", metavar="GENERATOR", help="identifier of the generator")
    shared_options.node(parser)
    shared_options.private_key(parser, "the approver's")
    parser.add_argument(
        "--by", metavar="NAME", help="the approver's name, which must be the policy's for this key"
    )
    parser.add_argument(
        "--reason", required=True, metavar="TEXT", help="the reason, for the history; name no patient in it"
    )
    password.configure(parser)


def run(args: argparse.Namespace, output: Output) -> None:
    from hospital_node.node.node import Node
    from hospital_node.release.reject import reject
    from sharekit.signing.keys import SigningKey

    key = SigningKey.load(args.key, password.from_args(args))
    done = reject(Node.open(args.node), args.generator, key, reason=args.reason, by=args.by)
    output.result(
        done.to_json(),
        f"rejected by {done.approver}: {done.generator_id} never leaves",
        *(
            f"release {number} holds it: it is outside already, so withdraw that release"
            for number in done.releases
        ),
    )
