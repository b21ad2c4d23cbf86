"""`hospital-node audit`: attack every trained generator; without it nothing leaves."""

from __future__ import annotations

import argparse
from pathlib import Path

from hospital_node.audit.audit_settings import AuditSettings
from sharekit.program.command_line import Output

SUMMARY = "build each trained generator's candidate, attack it, and put the verdict in words"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--node", type=Path, required=True, help="the node's folder")
    parser.add_argument(
        "--samples", type=int, default=AuditSettings.samples, help="samples drawn from every candidate"
    )
    parser.add_argument(
        "--seed", type=int, default=AuditSettings.seed, help="seed of samples, choice of controls, bootstrap"
    )
    parser.add_argument(
        "--again",
        action="store_true",
        help="audit also what was audited, withheld or released before, as after a change of the policy",
    )


def run(args: argparse.Namespace, output: Output) -> int:
    from hospital_node.audit.audit_node import audit_node
    from hospital_node.node.node import Node
    from hospital_node.release.audit_words import audit_table
    from hospital_node.release.release_policy import load_or_create_policy
    from sharekit.errors import PartialFailureError
    from sharekit.program.progress import reporter

    node = Node.open(args.node)
    limits = load_or_create_policy(node.policy_path).limits
    settings = AuditSettings(args.samples, args.seed, args.again)
    with reporter("audit", unit="generators") as on_progress:
        report = audit_node(node, limits, settings, on_progress=on_progress)
    rows = [(one.generator_id, one.images, one.state, one.reason, one.audit) for one in report.outcomes]
    following = "; next: `hospital-node approve`" if report.audited else ""
    output.result(
        report.to_json(),
        audit_table(rows),
        f"{report.audited} may be put forward, {report.withheld + report.failed} withheld{following}",
    )
    return PartialFailureError.exit_code if report.failed else 0
