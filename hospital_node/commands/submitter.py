"""`hospital-node submitter`: who may have segmenters evaluated on the hold-out, and how often."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from sharekit.program.command_line import Output, add_output_options

if TYPE_CHECKING:
    from hospital_node.evaluation.evaluation_policy import EvaluationPolicy
    from hospital_node.node.node import Node

SUMMARY = "register who may have segmenters evaluated on the hold-out; show or change budgets and limits"


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    add = actions.add_parser("add", help="register a submitter, or change one's name and budget")
    add.add_argument("--key", type=Path, required=True, metavar="PUB", help="the submitter's public key")
    add.add_argument("--name", required=True, help="the submitter's name or office")
    add.add_argument(
        "--budget",
        type=int,
        metavar="N",
        help="evaluations over all time; left out, a known key keeps its own and a new one has the policy's",
    )
    show = actions.add_parser("list", help="show submitters, what they have spent, budgets and limits")
    change = actions.add_parser("set", help="change budgets and limits")
    change.add_argument("settings", nargs="+", metavar="KEY=NUMBER", help="as `list` names them")
    for action in (add, show, change):
        action.add_argument("--node", type=Path, required=True, metavar="NODE", help="the node's folder")
        add_output_options(action, nested=True)


def run(args: argparse.Namespace, output: Output) -> None:
    from hospital_node.evaluation.evaluation_policy import NAME, load_policy, save_policy
    from hospital_node.node.node import Node

    node = Node.open(args.node)
    path = node.root / NAME
    if args.action == "list":
        policy = load_policy(path)
    else:
        with node.write_lock():
            policy = _changed(args, load_policy(path))
            save_policy(path, policy)
    _tell(node, policy, output)


def _changed(args: argparse.Namespace, policy: EvaluationPolicy) -> EvaluationPolicy:
    from hospital_node.evaluation.evaluation_policy import Submitter
    from sharekit.signing.keys import PublicKey

    if args.action == "add":
        key = PublicKey.load(args.key)
        known = policy.submitter(key)
        budget = known.budget if known is not None and args.budget is None else args.budget
        return policy.with_submitter(Submitter(args.name, key.pem().decode(), budget))
    for assignment in args.settings:
        policy = policy.with_setting(assignment)
    return policy


def _tell(node: Node, policy: EvaluationPolicy, output: Output) -> None:
    from rich.markup import escape

    from hospital_node.ledger.ledger import ImageState

    held_out, spent = node.ledger.counts()[ImageState.HELD_OUT], node.ledger.evaluations.count()
    submitters = [
        {
            "name": submitter.name,
            "fingerprint": submitter.fingerprint,
            "spent": node.ledger.evaluations.count(submitter.fingerprint),
            "budget": policy.budget_of(submitter),
        }
        for submitter in policy.submitters
    ]
    settings = {name: value for name, value in policy.to_json().items() if name != "submitters"}
    limits = settings.pop("limits")
    output.result(
        {**settings, "limits": limits, "held_out": held_out, "spent": spent, "submitters": submitters},
        f"{held_out} images held out, {spent} of {policy.hold_out_budget} evaluations spent",
        *(
            escape(f"  {one['name']}  {one['fingerprint']}  {one['spent']} of {one['budget']} spent")
            for one in submitters
        ),
        *([] if submitters else ["  no submitter: nothing is evaluated"]),
        *(f"{name:<17}{value}" for name, value in {**settings, **limits}.items() if name != "schema_version"),
    )
