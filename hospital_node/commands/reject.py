"""`hospital-node reject`: an approver says no to a generator, for good."""

from __future__ import annotations

import argparse

from sharekit.program import password, shared_options
from sharekit.program.output import Output

SUMMARY = "say no to a generator, signed by a listed approver: it never leaves"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "generator", nargs="*", metavar="GENERATOR", help="identifiers of generators, or their first digits"
    )
    shared_options.node(parser)
    parser.add_argument(
        "--image",
        nargs="+",
        default=(),
        metavar="IMAGE",
        help="images: the generators that learnt from them",
    )
    shared_options.private_key(parser, "the approver's")
    parser.add_argument(
        "--by", metavar="NAME", help="the approver's name, which must be the policy's for this key"
    )
    parser.add_argument(
        "--reason", required=True, metavar="TEXT", help="the reason, for the history; name no patient in it"
    )
    password.configure(parser)


def run(args: argparse.Namespace, output: Output) -> None:
    from hospital_node.node.find_generators import generator_named
    from hospital_node.node.node import Node
    from hospital_node.release.reject import reject, trained_on
    from sharekit.errors import UsageError
    from sharekit.trust.key_choice import private_key

    key = private_key(args)
    node = Node.open(args.node)
    chosen = [*(generator_named(node, one) for one in args.generator), *trained_on(node, args.image)]
    if not chosen:
        raise UsageError(
            "GENERATOR",
            expected="generators, or --image with images that a generator learnt from",
            found="neither",
            next_step="see `hospital-node status --all` for the identifiers",
        )
    done = [reject(node, one, key, reason=args.reason, by=args.by) for one in dict.fromkeys(chosen)]
    withdrawn = node.ledger.releases.withdrawn()
    output.result(
        {"rejected": [one.to_json() for one in done]},
        *(f"rejected by {one.approver}: {one.generator_id} never leaves" for one in done),
        *(
            f"release {number} holds it: it is outside already, so withdraw that release"
            for number in sorted({number for one in done for number in one.releases} - withdrawn)
        ),
    )
