"""`hospital-node approve`: a person signs that audited generators may leave."""

from __future__ import annotations

import argparse
from pathlib import Path

from sharekit.program import password
from sharekit.program.command_line import Output

SUMMARY = "show what the audit found and sign, as a listed approver, that these generators may leave"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--node", type=Path, required=True, help="the node's folder")
    parser.add_argument("--key", type=Path, required=True, help="the approver's private key")
    parser.add_argument("--by", required=True, metavar="NAME", help="the approver's name or office")
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument("--all", action="store_true", help="everything that the audit lets leave")
    chosen.add_argument("--image", nargs="+", metavar="ID", help="identifiers of images")
    password.configure(parser)


def run(args: argparse.Namespace, output: Output) -> None:
    from hospital_node.node.node import Node
    from hospital_node.release.approve import give_approval, propose
    from hospital_node.release.audit_words import audit_table, limits_in_words
    from hospital_node.release.release_policy import load_policy
    from sharekit.signing.keys import SigningKey

    node = Node.open(args.node, read_only=True)
    policy = load_policy(node.policy_path)
    key = SigningKey.load(args.key, password.from_args(args))
    proposal = propose(node, policy, args.image)
    path = give_approval(node, policy, proposal, key, args.by)
    output.result(
        {
            "approval": str(path),
            "approver": args.by,
            "fingerprint": key.public.fingerprint,
            "approved": [
                {
                    "id": item.record.id,
                    "generator": item.candidate.generator_id,
                    "verdict": item.audit.verdict,
                }
                for item in proposal.items
            ],
            "refused": {name: list(reasons) for name, reasons in proposal.refused.items()},
        },
        audit_table(
            [(item.record.id, item.record.state, item.record.reason, item.audit) for item in proposal.items]
        ),
        limits_in_words(policy),
        f"approved by {args.by}: {len(proposal.items)} generators; not approved: {len(proposal.refused)}",
        f"signed approval: {path}",
    )
