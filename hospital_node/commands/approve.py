"""`hospital-node approve`: a person signs that audited generators may leave."""

from __future__ import annotations

import argparse

from sharekit.program import password, shared_options
from sharekit.program.output import Output
from sharekit.program.phrases import counted, next_command

SUMMARY = "show what the audit found and sign, as a listed approver, that these generators may leave"


def configure(parser: argparse.ArgumentParser) -> None:
    shared_options.node(parser)
    shared_options.private_key(parser, "the approver's")
    parser.add_argument("--by", required=True, metavar="NAME", help="the approver's name or office")
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument("--all", action="store_true", help="everything that the audit lets leave")
    chosen.add_argument("--generator", nargs="+", metavar="ID", help="identifiers of generators")
    chosen.add_argument(
        "--image", nargs="+", default=(), metavar="ID", help="identifiers of images: the generators of these"
    )
    password.configure(parser)


def run(args: argparse.Namespace, output: Output) -> None:
    from hospital_node.node.node import Node
    from hospital_node.release.approve import approve
    from hospital_node.release.audit_words import audit_table, limits_in_words
    from sharekit.trust.key_choice import private_key

    node = Node.open(args.node)
    key = private_key(args)
    given = approve(node, key, args.by, generators=args.generator, images=args.image)
    items, refused = given.proposal.items, given.proposal.refused
    output.result(
        given.to_json(),
        audit_table(
            [
                (one.record.id, len(one.record.images), one.record.state, one.record.reason, one.audit)
                for one in items
            ]
        ),
        limits_in_words(given.policy),
        f"approved by {given.approver}: {counted(len(items), 'generator')}; not approved: {len(refused)}",
        f"signed approval: {given.path}",
        next_command("hospital-node", "export", "--node", args.node, "--out", "BUNDLE", "--key", "KEY"),
    )
