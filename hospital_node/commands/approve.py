"""`hospital-node approve`: a person signs that audited generators may leave."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sharekit.program import password, shared_options
from sharekit.program.output import Output, ask, check_somebody_answers
from sharekit.program.phrases import counted, next_command

if TYPE_CHECKING:
    from rich.console import RenderableType

    from hospital_node.release.approve import Proposal
    from hospital_node.release.release_policy import Policy
    from hospital_node.release.together import Together

MOST_REASONS = 5
"""Reasons that are printed; `hospital-node status --all` shows every generator."""
SUMMARY = "show what the audit found, ask, and sign as a listed approver that these generators may leave"


def configure(parser: argparse.ArgumentParser) -> None:
    shared_options.node(parser)
    shared_options.private_key(parser, "the approver's")
    parser.add_argument(
        "--by", metavar="NAME", help="the approver's name, which must be the policy's for this key"
    )
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument("--all", action="store_true", help="everything that the audit lets leave")
    chosen.add_argument(
        "--generator", nargs="+", metavar="ID", help="identifiers of generators, or their first digits"
    )
    chosen.add_argument(
        "--image",
        nargs="+",
        default=(),
        metavar="IMAGE",
        help="identifiers, file names or stems of images: the generators that learnt from these",
    )
    parser.add_argument(
        "--features",
        type=Path,
        metavar="FILE",
        help="feature network for style statistics, as for `export` (left out: the node looks for one)",
    )
    parser.add_argument("--yes", action="store_true", help="sign without asking, for scripts")
    password.configure(parser)


def run(args: argparse.Namespace, output: Output) -> None:
    from hospital_node.node.node import Node
    from hospital_node.release.approve import approve
    from sharekit.trust.key_choice import private_key

    check_somebody_answers(args.yes, "read `hospital-node report`, then add --yes to the same command")
    node = Node.open(args.node)
    key = private_key(args)

    def confirm(policy: Policy, proposal: Proposal, together: Together) -> None:
        if args.yes:
            return
        ask(
            "Do you sign that these generators may leave?",
            *_shown(policy, proposal, together),
            next_step="`hospital-node reject GENERATOR` says no for good",
        )

    output.announce("attack everything that would leave together")
    given = approve(
        node,
        key,
        args.by,
        generators=args.generator,
        images=args.image,
        confirm=confirm,
        features_path=args.features,
    )
    # With a question on the terminal, the person has seen it.
    shown = _shown(given.policy, given.proposal, given.together) if args.yes else []
    items, refused = given.proposal.items, given.proposal.refused
    output.result(
        given.to_json(),
        *shown,
        f"approved by {given.approver}: {counted(len(items), 'generator')}; not approved: {len(refused)}",
        *_why_not(refused),
        f"signed approval: {given.path}",
        next_command("hospital-node", "export", "--node", args.node, "--out", "BUNDLE", "--key", "KEY"),
    )


def _why_not(refused: Mapping[str, Sequence[str]]) -> list[str]:
    """One line for each different reason, with the number of generators that it stops."""
    counts = Counter("; ".join(reasons) for reasons in refused.values())
    return [f"  {count} because: {reasons}" for reasons, count in counts.most_common(MOST_REASONS)]


def _shown(policy: Policy, proposal: Proposal, together: Together) -> list[RenderableType]:
    from hospital_node.release.audit_words import (
        audit_table,
        differences_in_words,
        proposal_in_words,
        together_in_words,
        together_table,
    )
    from hospital_node.release.policy_words import declaration_in_words, limits_in_words

    rows = [
        (one.record.id, len(one.record.images), one.record.state, one.record.reason, one.audit)
        for one in proposal.items
    ]
    return [
        audit_table(rows),
        *proposal_in_words(proposal.items),
        *together_in_words(together, len(proposal.approved)),
        *together_table(together),
        *differences_in_words(policy, proposal.items),
        limits_in_words(policy),
        *declaration_in_words(policy),
    ]
