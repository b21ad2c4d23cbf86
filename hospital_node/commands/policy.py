"""`hospital-node policy`: show or change what may leave, and who may approve."""

from __future__ import annotations

import argparse
from pathlib import Path

from sharekit.program import shared_options
from sharekit.program.arguments import Parser, settings_in_words
from sharekit.program.output import Output

SUMMARY = "show or change the release policy: limits of the audit, approvers, privacy budget"


def configure(parser: Parser) -> None:
    shared_options.node(parser)
    parser.add_argument(
        "--approver", type=Path, metavar="PUB", help="public key of a person who may approve releases"
    )
    parser.add_argument("--name", metavar="NAME", help="name or office of that person")
    parser.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        dest="settings",
        help="settings to change, listed below",
    )
    parser.late_epilog = _settings


def _settings() -> str:
    from hospital_node.release.release_policy import SETTINGS, Policy

    value = Policy().to_json()
    return settings_in_words(SETTINGS, {**value, **value["limits"]})


def run(args: argparse.Namespace, output: Output) -> None:
    from hospital_node.node.node import Node
    from hospital_node.release.audit_words import policy_table
    from hospital_node.release.release_policy import Approver, load_or_create_policy, save_policy
    from sharekit.errors import UsageError
    from sharekit.signing.keys import PublicKey

    node = Node.open(args.node)
    policy = load_or_create_policy(node.policy_path)
    if (args.approver is None) != (args.name is None):
        raise UsageError(
            "--approver",
            expected="--approver PUB together with --name NAME",
            found="one of them alone",
            next_step="give both",
        )
    changed = policy
    if args.approver is not None:
        key = PublicKey.load(args.approver)
        changed = changed.with_approver(Approver(args.name, key.pem().decode()))
    for assignment in args.settings:
        changed = changed.with_setting(assignment)
    if changed != policy:
        with node.write_lock():
            save_policy(node.policy_path, changed)
    output.result({**changed.to_json(), "sha256": changed.digest}, policy_table(changed))
