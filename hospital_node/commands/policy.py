"""`hospital-node policy`: show or change what may leave, and who may approve."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from sharekit.program import password, shared_options
from sharekit.program.arguments import Parser, settings_in_words
from sharekit.program.output import Output, warning_text

SUMMARY = "show or change the release policy: limits of the audit, approvers, privacy budget"


def configure(parser: Parser) -> None:
    from hospital_node.release.declaration import HELP

    shared_options.node(parser)
    parser.add_argument(
        "--approver", type=Path, metavar="PUB", help="public key of a person who may approve releases"
    )
    parser.add_argument("--name", metavar="NAME", help="name or office of that person")
    parser.add_argument(
        "--remove-approver",
        metavar="WHO",
        help="approver to remove: a name, or a key's fingerprint",
    )
    parser.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        dest="settings",
        help="settings to change, listed below",
    )
    for name, text in HELP.items():
        parser.add_argument(
            f"--{name.replace('_', '-')}", metavar="TEXT", help=f"{text}, for every bundle's card"
        )
    shared_options.private_key(
        parser, "an approver's", required=False, why=", which signs the change; needed once one is listed"
    )
    password.configure(parser)
    parser.late_epilog = _settings


def _settings() -> str:
    from hospital_node.release.release_policy import SETTINGS, Policy

    return settings_in_words(SETTINGS, Policy().settings)


def run(args: argparse.Namespace, output: Output) -> None:
    from hospital_node.node.node import Node
    from hospital_node.release.declaration import HELP
    from hospital_node.release.policy_change import change_policy
    from hospital_node.release.policy_words import policy_table, too_few_people
    from hospital_node.release.release_policy import Approver, Policy
    from sharekit.errors import UsageError
    from sharekit.signing.keys import PublicKey
    from sharekit.trust.key_choice import private_key

    if (args.approver is None) != (args.name is None):
        raise UsageError(
            "--approver",
            expected="--approver PUB together with --name NAME",
            found="one of them alone",
            next_step="give both",
        )

    def changed(policy: Policy) -> Policy:
        if args.remove_approver is not None:
            policy = policy.without_approver(args.remove_approver)
        if args.approver is not None:
            key = PublicKey.load(args.approver)
            policy = policy.with_approver(Approver(args.name, key.pem().decode()))
        for assignment in args.settings:
            policy = policy.with_setting(assignment)
        declaration = policy.declaration.with_({name: getattr(args, name) for name in HELP})
        return dataclasses.replace(policy, declaration=declaration)

    key = None if args.key is None else private_key(args)
    change = change_policy(Node.open(args.node), changed, key)
    output.result(
        change.to_json(),
        policy_table(change.policy),
        *(f"changed: {line}" for line in change.differences),
        *([f"signed by {change.signer.label}"] if change.signer else []),
        *(warning_text(line) for line in too_few_people(change.policy)),
    )
