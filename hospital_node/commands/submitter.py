"""`hospital-node submitter`: who may have segmenters evaluated on the hold-out, and how often."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from sharekit.program import shared_options
from sharekit.program.arguments import Parser, settings_in_words, whole_number
from sharekit.program.command_line import add_output_options
from sharekit.program.output import Output
from sharekit.program.phrases import counted

if TYPE_CHECKING:
    from hospital_node.evaluation.evaluation_policy import EvaluationPolicy
    from hospital_node.evaluation.overview import EvaluationOverview

SUMMARY = "register who may have segmenters evaluated on the hold-out; show or change budgets and limits"


def configure(parser: Parser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    add = actions.add_parser("add", help="register a submitter, or change its name and budget")
    add.add_argument("--key", type=Path, required=True, metavar="PUB", help="the submitter's public key")
    add.add_argument("--name", required=True, metavar="NAME", help="the submitter's name or office")
    add.add_argument(
        "--budget",
        type=whole_number(),
        metavar="N",
        help="evaluations over all time (left out: a known key keeps its own, a new one has the policy's); "
        "submitter_epsilon limits them, too",
    )
    show = actions.add_parser("list", help="show submitters, what they have spent, budgets and limits")
    change = actions.add_parser("set", help="change budgets and limits")
    change.add_argument("settings", nargs="+", metavar="KEY=NUMBER", help="settings to change, listed below")
    change.late_epilog = _settings
    for action in (add, show, change):
        shared_options.node(action)
        add_output_options(action, nested=True)


def _settings() -> str:
    from hospital_node.evaluation.evaluation_policy import SETTINGS, EvaluationPolicy

    value = EvaluationPolicy().to_json()
    return settings_in_words(SETTINGS, {**value, **value["limits"]})


def run(args: argparse.Namespace, output: Output) -> None:
    from hospital_node.evaluation.overview import change_policy, evaluation_overview
    from hospital_node.node.node import Node

    node = Node.open(args.node)
    if args.action == "list":
        overview = evaluation_overview(node)
    else:
        overview = change_policy(node, lambda policy: _changed(args, policy))
    output.result(overview.to_json(), *_describe(overview))


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


def _describe(overview: EvaluationOverview) -> list[str]:
    policy = overview.policy
    earlier = f", {overview.without_noise} more without noise" if overview.without_noise else ""
    return [
        f"{counted(overview.held_out, 'image')} held out",
        f"{overview.spent} of {counted(policy.hold_out_budget, 'evaluation')} spent",
        f"epsilon {overview.epsilon_spent:g} of {policy.hold_out_epsilon:g} spent{earlier}",
        *(
            f"  {one.name}  {one.fingerprint}  {one.spent} of {one.budget} spent, "
            f"epsilon {one.epsilon_spent:g} of {policy.submitter_epsilon:g}"
            for one in overview.submitters
        ),
        *([] if overview.submitters else ["  no submitter: nothing is evaluated"]),
        *(f"{name:<24}{value:g}" for name, value in overview.settings.items()),
    ]
