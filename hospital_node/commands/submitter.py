"""`hospital-node submitter`: who may have segmenters evaluated on the hold-out, and how often."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from sharekit.program import options
from sharekit.program.arguments import Parser, settings_in_words
from sharekit.program.command_line import add_output_options
from sharekit.program.output import Output
from sharekit.program.phrases import counted

if TYPE_CHECKING:
    from hospital_node.evaluation.evaluation_policy import EvaluationPolicy
    from hospital_node.evaluation.overview import Overview

SUMMARY = "register who may have segmenters evaluated on the hold-out; show or change budgets and limits"


def configure(parser: Parser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    add = actions.add_parser("add", help="register a submitter, or change one's name and budget")
    add.add_argument("--key", type=Path, required=True, metavar="PUB", help="the submitter's public key")
    add.add_argument("--name", required=True, metavar="NAME", help="the submitter's name or office")
    add.add_argument(
        "--budget",
        type=int,
        metavar="N",
        help="evaluations over all time; left out, a known key keeps its own and a new one has the policy's",
    )
    show = actions.add_parser("list", help="show submitters, what they have spent, budgets and limits")
    change = actions.add_parser("set", help="change budgets and limits")
    change.add_argument(
        "settings", nargs="+", metavar="KEY=NUMBER", help="settings to change; their names stand below"
    )
    change.late_epilog = _settings
    for action in (add, show, change):
        options.node(action)
        add_output_options(action, nested=True)


def _settings() -> str:
    from hospital_node.evaluation.evaluation_policy import SETTINGS, EvaluationPolicy

    value = EvaluationPolicy().to_json()
    return settings_in_words(SETTINGS, {**value, **value["limits"]})


def run(args: argparse.Namespace, output: Output) -> None:
    from hospital_node.evaluation.evaluation_policy import NAME, load_policy, save_policy
    from hospital_node.evaluation.overview import overview
    from hospital_node.node.node import Node

    node = Node.open(args.node)
    path = node.root / NAME
    if args.action == "list":
        policy = load_policy(path)
    else:
        with node.training_lock():
            policy = _changed(args, load_policy(path))
            save_policy(path, policy)
    found = overview(node, policy)
    output.result(found.to_json(), *_lines(found))


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


def _lines(found: Overview) -> list[str]:
    from hospital_node.evaluation.evaluation_policy import SETTINGS

    policy = found.policy.to_json()
    settings = {**policy, **policy["limits"]}
    spent = f"{found.spent} of {counted(found.policy.hold_out_budget, 'evaluation')} spent"
    return [
        f"{counted(found.held_out, 'image')} held out, {spent}",
        *(f"  {one.name}  {one.fingerprint}  {one.spent} of {one.budget} spent" for one in found.accounts),
        *([] if found.accounts else ["  no submitter: nothing is evaluated"]),
        *(f"{name:<17}{settings[name]}" for name in SETTINGS),
    ]
